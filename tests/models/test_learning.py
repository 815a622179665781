"""Network, flow and training against closed forms, invariances and an uninterrupted run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.crystals import Crystals
from core.data.encoding import encode
from core.models.checkpoint import CheckpointError, load_weights, read_config, read_tensor_file, save_model
from core.models.registry import as_values, build_network, configure
from core.models.state import Conditions, State, conditions_for
from core.samplers.flow import FlowMatching
from core.samplers.geometry import displacement
from core.samplers.noise import Noise
from core.training.data import Examples, batches, generation_examples
from core.training.loop import CHECKPOINT, TrainConfig, Training, TrainingError
from core.training.losses import squared


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_crystals(count: int = 12, sites: int = 6, seed: int = 0) -> Crystals:
    g = generator(seed)
    natoms = torch.randint(3, sites + 1, (count,), generator=g)
    mask = torch.arange(sites) < natoms[:, None]
    numbers = torch.randint(3, 80, (count, sites), generator=g) * mask
    lattice = torch.diag_embed(torch.rand(count, 3, generator=g) * 3 + 3) + torch.rand(count, 3, 3, generator=g) * 0.6
    frac = torch.rand(count, sites, 3, generator=g) * mask[:, :, None]
    return Crystals(
        frac, lattice, numbers, torch.randint(1, 231, (count,), generator=g), torch.randn(count, generator=g)
    )


def random_network(preset: str = "quick") -> nn.Module:
    """With every weight drawn, so that the zero-initialised ends say something."""
    torch.manual_seed(0)
    network = build_network("transformer", as_values(configure("transformer", preset)))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.08)
    return network.eval()


def network_inputs(seed: int = 0) -> tuple[State, Tensor, Conditions]:
    crystals = some_crystals(seed=seed)
    examples = generation_examples(crystals)
    return examples.target, torch.rand(len(crystals), generator=generator(seed)), examples.conditions


@torch.no_grad()
def test_the_network_is_periodic_blind_to_order_and_to_padding() -> None:
    network = random_network()
    state, t, conditions = network_inputs()
    found = network(state, t, conditions)
    shifted = network(replace(state, frac=state.frac + torch.randint(-3, 4, state.frac.shape)), t, conditions)
    torch.testing.assert_close(shifted.frac, found.frac, atol=1e-4, rtol=1e-3)

    order = torch.randperm(6, generator=generator(3))
    swapped_conditions = replace(conditions, numbers=conditions.numbers[:, order])
    swapped = network(State(state.frac[:, order], state.lattice, state.mask[:, order]), t, swapped_conditions)
    torch.testing.assert_close(swapped.frac, found.frac[:, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(swapped.lattice, found.lattice, atol=1e-5, rtol=1e-4)

    wide = State(
        torch.cat([state.frac, torch.rand(12, 3, 3)], 1),
        state.lattice,
        torch.cat([state.mask, torch.zeros(12, 3, dtype=torch.bool)], 1),
    )
    numbers = torch.cat([conditions.numbers, torch.zeros(12, 3, dtype=torch.int64)], 1)
    padded = network(wide, t, replace(conditions, numbers=numbers))
    torch.testing.assert_close(padded.frac[:, :6], found.frac, atol=1e-5, rtol=1e-4)
    assert (padded.frac[:, 6:] == 0).all()


@torch.no_grad()
def test_conditions_matter_where_given_and_only_there() -> None:
    network = random_network()
    state, t, conditions = network_inputs()
    found = network(state, t, conditions).frac
    other = replace(conditions, group=conditions.group % 230 + 1, energy=conditions.energy + 1)
    assert not torch.allclose(network(state, t, other).frac, found)
    silent = replace(conditions, present=torch.zeros_like(conditions.present))
    quiet = replace(other, present=silent.present)
    torch.testing.assert_close(network(state, t, silent).frac, network(state, t, quiet).frac)


def test_the_path_is_straight_shortest_and_without_drift() -> None:
    flow, target = FlowMatching(), encode(some_crystals())
    conditions = generation_examples(some_crystals()).conditions
    x0 = flow.start(conditions, Noise(conditions.mask, generator(1)))
    for share in (0.0, 0.3, 1.0):
        t = torch.full((12,), share)
        state, velocity = flow.training_target(x0, target, t)
        torch.testing.assert_close(state.frac, x0.frac + share * velocity.frac)
        torch.testing.assert_close(state.lattice, (1 - share) * x0.lattice + share * target.lattice)
    keep = target.mask[:, :, None]
    assert float((velocity.frac * keep).sum(1).abs().max()) < 1e-5
    end = (state.frac - target.frac) * keep
    relative = end - (end.sum(1, keepdim=True) / keep.sum(1, keepdim=True))
    away = torch.where(keep, end - end[:, :1], 0.0)
    assert float((away - away.round()).abs().max()) < 1e-5, "x1 is reached up to one common shift"
    assert relative.isfinite().all()
    assert float(displacement(target, target).frac.abs().max()) == 0


class Towards:
    """The exact velocity of a flow to one point: (x1 − x_t) / (1 − t)."""

    def __init__(self, target: State) -> None:
        self.target = target

    def __call__(self, state: State, t: Tensor, conditions: Conditions) -> State:
        left = (1 - t)[:, None, None]
        way = displacement(state, self.target)
        return State(way.frac / left, way.lattice / left, state.mask)


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_sampling_with_the_exact_velocity_ends_at_the_target(steps: int) -> None:
    crystals = some_crystals()
    target, conditions = encode(crystals), generation_examples(crystals).conditions
    seen: list[int] = []
    flow = FlowMatching()
    end = flow.sample(
        Towards(target), flow.start(conditions, Noise(conditions.mask, generator(2))), conditions, steps, seen.append
    )
    torch.testing.assert_close(end.lattice, target.lattice, atol=1e-4, rtol=1e-4)
    assert float(displacement(end, target).frac.abs().max()) < 1e-4
    assert seen == list(range(1, steps + 1))


def test_sampling_repeats_under_a_seed_and_stops_when_asked() -> None:
    network, conditions = random_network(), network_inputs()[2]
    flow = FlowMatching()
    first, second, other = (
        flow.sample(network, flow.start(conditions, Noise(conditions.mask, generator(s))), conditions, 3).frac
        for s in (5, 5, 6)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    steps: list[int] = []
    flow.sample(
        network,
        flow.start(conditions, Noise(conditions.mask, generator(5))),
        conditions,
        50,
        lambda s: steps.append(s) or s == 4,
    )
    assert steps == [1, 2, 3, 4]


def test_padding_never_counts_in_the_loss() -> None:
    target = encode(some_crystals())
    wrong = State(target.frac + (~target.mask)[:, :, None] * 99.0, target.lattice, target.mask)
    assert float(squared(wrong, target)["loss"]) == 0
    off = State(target.frac + 0.5 * target.mask[:, :, None], target.lattice, target.mask)
    assert float(squared(off, target)["loss_frac"]) == pytest.approx(0.25)


def test_an_epoch_shows_every_example_once() -> None:
    sizes = torch.randint(1, 20, (1000,), generator=generator())
    drawn = list(batches(sizes, 32, seed=1, epoch=2))
    assert sorted(torch.cat(drawn).tolist()) == list(range(1000))
    assert [d.tolist() for d in drawn] == [d.tolist() for d in batches(sizes, 32, 1, 2)]
    assert [d.tolist() for d in drawn] != [d.tolist() for d in batches(sizes, 32, 1, 3)]


def training(folder: Path, examples: Examples, **changes: object) -> Training:
    config = TrainConfig(**{"steps": 30, "batch": 4, "checkpoint_s": 0.0, **changes})  # type: ignore[arg-type]
    torch.manual_seed(1)
    network = build_network("transformer", as_values(configure("transformer", "quick")))
    return Training(network, FlowMatching(), examples, examples, config, folder)


@pytest.mark.parametrize("cut", [11, 10])  # within an epoch, and between two
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, cut: int) -> None:
    examples = generation_examples(some_crystals(20))
    whole = training(tmp_path / "whole", examples)
    whole.run(lambda _: None, lambda: False)
    stops = iter([False] * cut + [True])
    training(tmp_path / "cut", examples).run(lambda _: None, lambda: next(stops))
    resumed = training(tmp_path / "cut", examples)
    assert resumed.step == cut
    resumed.run(lambda _: None, lambda: False)
    assert resumed.step == whole.step == 30
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
        assert torch.equal(resumed.average[name], whole.average[name]), name


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    examples = generation_examples(some_crystals(8))
    run = training(tmp_path, examples, steps=5)
    run.run(lambda _: None, lambda: False)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    broken = training(tmp_path, examples, steps=50, learning_rate=1e30, warmup=1)
    with pytest.raises(TrainingError, match="no longer a number"):
        broken.run(lambda _: None, lambda: False)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept


def test_a_training_without_examples_or_budget_is_refused(tmp_path: Path) -> None:
    examples = generation_examples(some_crystals(4))
    with pytest.raises(TrainingError, match="empty"):
        training(tmp_path, examples[torch.arange(4)].__class__(examples.target[:0], examples.conditions[:0]))
    with pytest.raises(TrainingError, match="how long"):
        training(tmp_path, examples, steps=None)


def test_models_on_disk_come_back_and_what_is_no_model_is_refused(tmp_path: Path) -> None:
    network = random_network()
    config = {"task": "generation", "method": "cfm-uniform", "network": "transformer"}
    config |= {"network_config": as_values(configure("transformer", "quick"))}
    save_model(tmp_path, network.state_dict(), config, {})
    again = load_weights(build_network("transformer", read_config(tmp_path)["network_config"]), tmp_path)
    state, t, conditions = network_inputs()
    with torch.no_grad():
        torch.testing.assert_close(
            again(state, t, conditions).frac, network(state, t, conditions).frac, atol=0.05, rtol=0.1
        )

    with pytest.raises(CheckpointError, match="do not fit"):
        load_weights(build_network("transformer", as_values(configure("transformer", "small"))), tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load_weights(again, tmp_path)
    torch.save({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_tensor_file(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"task": "generation"}))
    with pytest.raises(CheckpointError, match="lacks"):
        read_config(tmp_path)
    for values in ({"width": 10**9}, {"width": 64, "heads": 7}, {"nonsense": 1}, {"depth": "x"}):
        with pytest.raises(ValueError, match="cannot be read"):
            build_network("transformer", values)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose transformer"):
        configure("unet3d", "small")
    with pytest.raises(ValueError, match="choose quick or small"):
        configure("transformer", "huge")
    assert len(conditions_for([[73, 5, 5]], [191], [None])) == 1
