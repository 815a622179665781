"""Every method learns structures by heart: `python -m benchmarks.learn_by_heart [--count 32] [--method …]`.

Structures of 4 to 8 atoms, of as many formulas, from the starter dataset; for modification the starts are the same
structures with their atoms moved and their cells stretched. Prints how many come out as themselves again (both
matchers) when they are drawn after some minutes of training, and what that took.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from core.crystals import Crystals, to_structures, wrap
from core.evaluation.pool import match_pairs
from core.models.registry import as_values, build_network, configure
from core.samplers.drawing import draw_crystals
from core.samplers.protocol import needs
from core.samplers.registry import METHODS, STEPS, sampler_for
from core.training.data import Examples, generation_examples, modification_examples
from core.training.loop import TrainConfig, Training

SHIFT, STRETCH = 0.08, 1.05  # of starts: deviation in cell edges, factor of the cell


def learn(crystals: Crystals, task: str, method: str, steps: int, width: int = 96) -> Crystals:
    """The crystals drawn again by a small network that has seen nothing else for `steps` steps of 64."""
    if task == "modification":
        noise = torch.randn(crystals.frac.shape, generator=torch.Generator().manual_seed(1))
        moved = wrap(crystals.frac + SHIFT * noise) * crystals.mask[:, :, None]
        start = replace(crystals, frac=moved, lattice=STRETCH * crystals.lattice)
        examples = modification_examples(start, crystals)
    else:
        examples = generation_examples(crystals)
    index = torch.arange(len(crystals)).repeat(-(-128 // len(crystals)))
    torch.manual_seed(0)
    sampler = sampler_for(task, method)
    config = configure("transformer", "quick", width=width, depth=3, **needs(sampler))
    network = build_network("transformer", as_values(config))
    budget = TrainConfig(
        steps=steps, batch=64, learning_rate=4e-3, warmup=50, drop=0.0, ema=0.99, samples=0, checkpoint_s=1e9
    )
    many = Examples(examples.target[index], examples.conditions[index])
    run = Training(network, sampler, many, None, budget, Path(os.devnull))
    run.save = lambda: None  # type: ignore[method-assign]  # nothing goes on from here
    run.run(lambda _: None, lambda: False)
    network.load_state_dict(run.average)
    return draw_crystals(network.eval(), sampler, examples.conditions, range(len(crystals)), STEPS[method])


def came_back(drawn: Crystals, real: Crystals, matcher: str = "field") -> list[bool]:
    """For each crystal: is what was drawn the same structure?"""
    return [d is not None for d in match_pairs(to_structures(drawn), to_structures(real), matcher, processes=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--method", nargs="*", default=[], help="all by default")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    crystals = starter_crystals(asked.count)
    for task in METHODS:
        for method in METHODS[task]:
            if not asked.method or method in asked.method:
                started = time.monotonic()
                drawn = learn(crystals, task, method, asked.steps, asked.width)
                took = time.monotonic() - started
                hits = {m: sum(came_back(drawn, crystals, m)) for m in ("field", "paper")}
                print(task, method, f"{hits} of {len(crystals)}, {took:.0f} s", flush=True)


def starter_crystals(count: int) -> Crystals:
    """The lowest structure of 4 to 8 atoms of each of `count` formulas."""
    from core.workflows.datasets import get_dataset, load_tensors
    from core.workflows.starter import install

    install()
    data = load_tensors(get_dataset("starter"))
    natoms, energy = data.crystals.natoms, data.crystals.energy
    rows = torch.nonzero((natoms >= 4) & (natoms <= 8) & torch.isfinite(energy)).flatten()
    lowest: dict[int, int] = {}
    for row in rows[energy[rows].argsort()].tolist():
        lowest.setdefault(int(data.formula[row]), row)
    return data.crystals[torch.tensor(sorted(lowest.values())[:count])]


if __name__ == "__main__":
    main()
