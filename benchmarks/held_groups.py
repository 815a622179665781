"""The share of candidates with the space group asked for, held and free: `python -m benchmarks.held_groups [OPTIONS]`.

For validation structures of a dataset (those in P1 apart) a generator is told the cell's content, the space group and
the energy, and draws once freely and once held on the group. Reached is what spglib finds at 0.1 or at 0.01 Å.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch

from core.crystals import Crystals, concatenate
from core.data.symmetry import detect_groups
from core.data.tensors import VALIDATION
from core.data.wyckoff_starts import random_start
from core.evaluation.matching import cell_distances
from core.evaluation.pool import cells_of
from core.evaluation.report import wilson
from core.evaluation.validity import judge, published_verdicts
from core.models.state import Conditions
from core.samplers.drawing import draw_crystals
from core.training.data import generation_examples
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.held import REACHED, draw_held
from core.workflows.models import load_model

_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter-generator")
    parser.add_argument("--dataset", default="starter")
    parser.add_argument("--limit", type=int, default=200, help="structures, drawn by the seed")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--even", action="store_true", help="formulas with an even number alone: the rest stays unseen")
    parser.add_argument("--starts", action="store_true", help="only how many contents a start is found for")
    asked = parser.parse_args()
    target = targets(asked.dataset, asked.limit, asked.seed, asked.even)
    print(f"{len(target)} validation structures of {asked.dataset}, P1 apart")
    if asked.starts:
        return tell_starts(target)
    print("| drawn | group reached | match, paper | match, field | valid, published | valid, ours | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name in ("free", "held"):
        started = time.monotonic()
        drawn = drawn_by(name == "held", asked.model, target, asked.steps, asked.device)
        tell(name, drawn, target, time.monotonic() - started)
    return None


def targets(dataset: str, limit: int, seed: int, even: bool = False) -> Crystals:
    """Validation structures by size; `even`: of formulas with an even number alone, so that the rest stays unseen."""
    data = load_tensors(get_dataset(dataset))
    rows = data.part(VALIDATION)
    rows = rows[data.formula[rows] % 2 == 0] if even else rows
    rows = rows[data.crystals[rows].group > 1]
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))][:limit]
    crystals = data.crystals[rows]
    return crystals[crystals.natoms.argsort(stable=True)]


def drawn_by(held: bool, name: str, target: Crystals, steps: int, device: str) -> Crystals:
    """One crystal for each, in the order of the targets."""
    model = load_model(name)
    network, parts = model.network.to(device).eval(), []
    for start in range(0, len(target), _BATCH):
        batch = target[start : start + _BATCH].trim()
        conditions: Conditions = generation_examples(batch, model.cell).conditions
        seeds = range(start, start + len(batch))
        parts.append((draw_held if held else draw_crystals)(network, model.sampler, conditions, seeds, steps))
    return concatenate(parts)


def tell(name: str, drawn: Crystals, target: Crystals, seconds: float) -> None:
    reached = sum((detect_groups(drawn, symprec) == target.group).int() for symprec in REACHED)
    pairs = list(zip(cells_of(drawn), cells_of(target), strict=True))
    shares = [
        [bool(r) for r in reached],  # type: ignore[union-attr]
        *([d is not None for d in cell_distances(pairs, matcher)] for matcher in ("paper", "field")),
        [v.valid for v in published_verdicts(drawn)],
        [v.valid for v in judge(drawn)],
    ]
    print(f"| {name} | {' | '.join(share(s) for s in shares)} | {seconds:.0f} |", flush=True)


def share(found: Sequence[bool]) -> str:
    low, high = wilson(sum(found), len(found))
    return f"{100 * sum(found) / len(found):.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def tell_starts(target: Crystals) -> None:
    started = time.monotonic()
    found = []
    for i in range(len(target)):
        numbers = target.numbers[i][target.mask[i]].tolist()
        found.append(random_start(numbers, int(target.group[i]), np.random.default_rng(i)) is not None)
        if not found[-1]:
            print(target.formula(i), int(target.group[i]))
    each = (time.monotonic() - started) / len(found)
    print(f"a start for {share(found)}, {1000 * each:.1f} ms each")


if __name__ == "__main__":
    main()
