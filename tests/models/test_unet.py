"""The paper's network: its size, shapes and what it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from core.data.features import PROPERTIES, element_features
from core.data.matrix import ROWS, element_table
from core.models.registry import as_values, build_network, configure, known_tables
from core.models.state import Conditions, State
from core.models.unet import PRESETS, Tables, UNet
from core.training.data import generation_examples, modification_examples
from tests.models.test_learning import network_inputs, some_crystals


def empty_tables() -> Tables:
    return Tables(torch.empty(119, 125), torch.empty(231, 192, 4, 4))


def drawn_network(**changes: object) -> nn.Module:
    """Every weight drawn, so that the zero-initialised ends say something."""
    torch.manual_seed(0)
    network = build_network("unet", as_values(configure("unet", "quick", **changes)))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network.eval()


def test_the_paper_s_preset_has_its_size() -> None:
    """304.8 M parameters with its conditioning, of which 300.0 M are the U-Net; 6.5 GFLOP a structure and step."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = UNet(PRESETS["paper"], empty_tables())
        with FlopCounterMode(display=False) as counter:
            network.body(torch.empty(1, 3, ROWS), torch.empty(1, 512))
    total = sum(p.numel() for p in network.parameters())
    assert round(total / 1e6, 1) == 304.8
    assert counter.get_total_flops() == pytest.approx(6.5e9, rel=0.01)
    assert network.asked.out.in_features == 513
    with torch.device("meta"):
        palette = UNet(replace(PRESETS["paper"], sees_start=True), empty_tables())
    assert palette.asked.out.in_features == 769
    sizes = {name: sum(p.numel() for p in UNet(c, empty_tables()).parameters()) for name, c in PRESETS.items() if
             name != "paper"}  # fmt: skip
    assert sizes["quick"] < 1e6 < sizes["small"] < 1e7


def test_attention_stands_at_every_level_and_the_output_begins_at_zero() -> None:
    with torch.device("meta"):
        network = UNet(PRESETS["paper"], empty_tables())
    attending = [m for m in network.body.modules() if type(m).__name__ == "_Attention"]
    assert len(attending) == 4 * 7 + 1 + 4 * 8
    fresh = build_network("unet", as_values(configure("unet", "quick")))
    state, t, conditions = network_inputs()
    assert float(fresh(state, t, conditions).frac.detach().abs().max()) == 0


@torch.no_grad()
def test_padding_and_shapes() -> None:
    network = drawn_network()
    state, t, conditions = network_inputs()
    found = network(state, t, conditions)
    assert (found.frac.shape, found.lattice.shape) == (state.frac.shape, state.lattice.shape)
    assert float((found.frac * ~state.mask[:, :, None]).abs().max()) == 0
    wide = State(nn.functional.pad(state.frac, (0, 0, 0, 9)), state.lattice, nn.functional.pad(state.mask, (0, 9)))
    numbers = nn.functional.pad(conditions.numbers, (0, 9))
    padded = network(wide, t, replace(conditions, numbers=numbers))
    torch.testing.assert_close(padded.frac[:, :6], found.frac)
    torch.testing.assert_close(padded.lattice, found.lattice)
    with pytest.raises(ValueError, match="60 sites, not 61"):
        network(
            State(torch.zeros(1, 61, 3), torch.zeros(1, 3, 3), torch.ones(1, 61, dtype=torch.bool)), t[:1], conditions
        )


@torch.no_grad()
def test_conditions_are_encoded_once_per_distinct_one_with_the_same_result() -> None:
    network = drawn_network()
    state, t, conditions = network_inputs()
    index = torch.tensor([0, 1, 0, 2, 1, 0])
    whole = network(state[index], t[index], conditions[index])
    for place, i in enumerate(index.tolist()):
        alone = network(state[[i]], t[[i]], conditions[torch.tensor([i])])
        torch.testing.assert_close(whole.frac[place], alone.frac[0], atol=1e-5, rtol=1e-4)
    asked = network.asked  # type: ignore[attr-defined]
    seen: list[int] = []
    hooks = [m.register_forward_hook(lambda *a: seen.append(len(a[1][0]))) for m in (asked.elements, asked.group)]
    network(state[index], t[index], conditions[index])
    assert seen == [3, 3]
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_every_condition_matters_where_given_and_only_there() -> None:
    network = drawn_network()
    state, t, conditions = network_inputs()
    given = replace(conditions, present=torch.ones_like(conditions.present))
    found = network(state, t, given).frac
    for change in (
        {"group": given.group % 230 + 1},
        {"energy": given.energy + 1},
        {"numbers": torch.where(given.numbers > 0, given.numbers % 90 + 1, 0)},
    ):
        assert not torch.allclose(network(state, t, replace(given, **change)).frac, found), change
    silent = replace(given, present=torch.zeros_like(given.present))
    other = replace(silent, group=silent.group % 230 + 1, energy=silent.energy + 1)
    torch.testing.assert_close(network(state, t, silent).frac, network(state, t, other).frac)


@torch.no_grad()
def test_the_start_is_seen_where_the_method_needs_it() -> None:
    network, crystals = drawn_network(sees_start=True), some_crystals()
    examples = modification_examples(crystals, crystals, "vectors")
    t = torch.zeros(len(crystals))
    found = network(examples.target, t, examples.conditions).frac
    start = examples.conditions.start
    assert start is not None
    moved = replace(examples.conditions, start=State(start.frac + 0.3, start.lattice, start.mask))
    assert not torch.allclose(network(examples.target, t, moved).frac, found)
    with pytest.raises(ValueError, match="there is none"):
        network(examples.target, t, generation_examples(crystals).conditions)


@torch.no_grad()
def test_coordinates_wrap_unless_they_are_plain() -> None:
    state, t, conditions = network_inputs()
    shifted = State(
        state.frac + torch.randint(-2, 3, state.frac.shape) * state.mask[:, :, None], state.lattice, state.mask
    )
    around = drawn_network(plain=False, cell="log")
    torch.testing.assert_close(
        around(shifted, t, conditions).frac, around(state, t, conditions).frac, atol=1e-3, rtol=1e-3
    )
    lattice = around(state, t, conditions).lattice
    torch.testing.assert_close(lattice, lattice.mT)
    plain = drawn_network(plain=True)
    assert not torch.allclose(plain(shifted, t, conditions).frac, plain(state, t, conditions).frac, atol=1e-3)


def test_tables_are_the_paper_s_features() -> None:
    tables = known_tables()
    assert tables.features.shape == (119, 125)
    assert tables.features[26, :103].argmax() == 25
    torch.testing.assert_close(tables.features[:, 103:], element_features())
    assert float(tables.features[0].abs().max()) == 0
    assert float(tables.features[104:, :103].abs().max()) == 0
    assert tables.features.shape[1] == 103 + len(PROPERTIES)
    torch.testing.assert_close(element_table(element_features()), tables.features)


def test_conditions_without_anything_given_are_finite() -> None:
    network = drawn_network()
    state, t, conditions = network_inputs()
    nothing = Conditions(
        conditions.numbers, conditions.group * 0, conditions.energy * torch.nan, conditions.present & False
    )
    assert bool(torch.isfinite(network(state, t, nothing).frac).all())
