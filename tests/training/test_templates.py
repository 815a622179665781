"""Starting from templates: what a batch holds, and that a network learns it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from core.crystals import Crystals
from core.models.checkpoint import write_tensor_file
from core.models.registry import build_network, configure
from core.models.transformer import Transformer
from core.samplers.drawing import draw_crystals
from core.samplers.flow import FlowMatching
from core.training.data import GenerationSource
from core.training.loop import Training
from core.training.presets import TrainConfig
from core.training.templates import TemplateSource, TemplateStarts
from tests.models.test_learning import generator, some_crystals


def starts_of(crystals: Crystals, rows: list[int]) -> TemplateStarts:
    """Two starts for each of these rows: the crystal with its cell 10 % longer and its atoms 0.02 and 0.04 away."""
    twice = torch.tensor(rows).repeat_interleave(2)
    found = crystals[twice]
    natoms = found.natoms
    blur = torch.tensor([0.02, 0.04]).repeat(len(rows))[:, None, None]
    return TemplateStarts(
        twice,
        natoms,
        found.numbers[found.mask].to(torch.uint8),
        (found.frac + blur)[found.mask],
        found.lattice * 1.1,
        found.frac[found.mask],
        found.lattice,
    )


def test_half_of_the_batches_start_from_a_template_that_changes(tmp_path: Path) -> None:
    crystals = some_crystals(12, 6)
    rows = torch.arange(12)
    path = tmp_path / "starts.safetensors"
    write_tensor_file(path, starts_of(crystals, [0, 1, 2, 3, 7]).tensors())
    source = TemplateSource.of(GenerationSource(crystals, rows), TemplateStarts.read(path), seed=0)
    assert source.chosen.ge(0).nonzero().flatten().tolist() == [0, 1, 2, 3, 7]

    from_noise = source[torch.tensor([1, 2])]
    assert from_noise.conditions.start is None
    assert len(source[torch.tensor([8, 10])]) == 2, "without a template they start from noise"
    batch = source[torch.tensor([0, 3, 5, 2])]
    start = batch.conditions.start
    assert start is not None
    assert len(batch) == 3, "the one without a template is left out"
    assert torch.equal(batch.conditions.numbers[0][batch.target.mask[0]], crystals.numbers[0][crystals.mask[0]])
    shift = (start.frac - batch.target.frac)[batch.target.mask]
    assert all(abs(float(value) - 0.02) < 1e-4 or abs(float(value) - 0.04) < 1e-4 for value in shift.flatten())
    assert bool((start.lattice.diagonal(dim1=1, dim2=2) > batch.target.lattice.diagonal(dim1=1, dim2=2)).all())
    seen = {tuple(source.at(epoch).chosen.tolist()) for epoch in range(6)}
    assert len(seen) > 1, "another epoch, another template"
    assert torch.equal(source.at(3).chosen, source.at(3).chosen)


def test_a_network_learns_what_its_templates_lack(tmp_path: Path) -> None:
    """Every template is 10 % too long: after training, what is drawn from one is not."""
    crystals = some_crystals(8, 4)
    starts = starts_of(crystals, list(range(8)))
    source = TemplateSource.of(GenerationSource(crystals, torch.arange(8)), starts, seed=0)
    torch.manual_seed(0)
    network = build_network("transformer", vars(configure("transformer", "quick", templates=True)))
    sampler = FlowMatching(path="stored", noise=0.01)
    config = TrainConfig(steps=150, batch=8, learning_rate=3e-3, warmup=10, ema=0.9, samples=0)
    run = Training(network, sampler, source, None, config, tmp_path)
    run.run(lambda _: None, lambda: False)
    network.load_state_dict(run.weights())
    index = next(torch.tensor(i) for i in ([0, 1, 3, 4, 6], [0, 1, 2, 3]) if sum(i) % 2 == 0)
    batch = source[index]
    drawn = draw_crystals(network.eval(), sampler, batch.conditions, range(len(batch)), 10)
    lengths = (drawn.volume / crystals[index].volume) ** (1 / 3)
    assert float((lengths - 1).abs().max()) < 0.05, lengths


def test_without_templates_nothing_changes() -> None:
    """A network that may start from templates answers as another one where there is none."""
    torch.manual_seed(0)
    config = configure("transformer", "quick", templates=True)
    network = Transformer(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator(1))
    plain = Transformer(replace(config, templates=False))
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if k in plain.state_dict()})
    examples = GenerationSource(some_crystals(3, 5), torch.arange(3))[torch.arange(3)]
    t = torch.tensor([0.1, 0.5, 0.9])
    a, b = (n(examples.target, t, examples.conditions) for n in (network, plain))
    assert torch.allclose(a.frac, b.frac)
    told = replace(examples.conditions, start=examples.target)
    assert not torch.allclose(network(examples.target, t, told).frac, a.frac)


def test_a_template_is_not_told_beside_the_place_between() -> None:
    """Both together would give the way away: it is (x_t − start) / t, and nothing would be learned of crystals."""
    torch.manual_seed(0)
    network = Transformer(configure("transformer", "quick", templates=True))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator(1))
    examples = GenerationSource(some_crystals(3, 5), torch.arange(3))[torch.arange(3)]
    t = torch.tensor([0.1, 0.5, 0.9])
    one, other = (
        network(examples.target, t, replace(examples.conditions, start=start))
        for start in (examples.target, replace(examples.target, frac=examples.target.frac + 0.1))
    )
    assert torch.equal(one.frac, other.frac)
    assert torch.equal(one.lattice, other.lattice)
