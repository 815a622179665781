"""Pairs of polymorphs in common cells: how many there are, how short the ways become, how fast they are fitted.

python -m benchmarks.common_cells DATASET [--pairs 300]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from core.data.common_cells import Cell, Fit, fit_to, in_basis, start_matrix
from core.data.fitted_pairs import PairCells, cells_of, fit_pairs
from core.data.pairs import PairRules, draw_pairs, lowest_energy_pairs, pair_groups, too_large
from core.data.supercells import metric_of, supercells
from core.data.tensors import TRAIN, VALIDATION, TensorData
from core.workflows.datasets import get_dataset, load_tensors

_SUPERCELLS = 13  # of a start, at most, that are looked at for the best one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--pairs", type=int, default=300)
    asked = parser.parse_args()
    data = load_tensors(get_dataset(asked.dataset))
    for name, rows in (("training", data.part(TRAIN)), ("validation, every second formula", _choosing(data))):
        count(data, rows, name)
    pairs = draw_pairs(pair_groups(data, data.part(TRAIN)), 0, 0)[: asked.pairs]
    ways(data, pairs)
    speed(data, pairs)


def _choosing(data: TensorData) -> Tensor:
    """The half of the validation part that choices are made on."""
    rows = data.part(VALIDATION)
    return rows[data.formula[rows] % 2 == 0]


def count(data: TensorData, rows: Tensor, name: str) -> None:
    """Lowest-energy pairs of one energy source: of one size, and with common cells of 64 sites."""
    every = pair_groups(data, rows, PairRules(most_sites=10**9))
    pairs = lowest_energy_pairs(every)
    natoms = data.crystals.natoms
    same = int((natoms[pairs[:, 0]] == natoms[pairs[:, 1]]).sum())
    groups = pair_groups(data, rows)
    met = lowest_energy_pairs(groups)
    sizes = PairCells(data.crystals).sizes(met).double()
    own = len(lowest_energy_pairs(pair_groups(data, rows, PairRules(same_size=True))))
    print(
        f"{name}: {len(pairs):,} pairs with the lowest of their formula; {same:,} of one size "
        f"({100 * same / len(pairs):.1f} %), {len(met):,} in common cells ({100 * len(met) / len(pairs):.1f} %), "
        f"{too_large(groups)} too large; {sizes.mean():.1f} sites on average\n"
        f"  before: {own:,} pairs with the lowest of their formula and size"
    )


def ways(data: TensorData, pairs: Tensor) -> None:
    """Strain and displacement of pairs with cells as stored, fitted, and with other supercells of the start."""
    rng = np.random.default_rng(0)
    found: dict[str, list[Fit]] = {}
    starts, targets = (cells_of(data.crystals[pairs[:, side]]) for side in (0, 1))
    for start, target in zip(starts, targets, strict=True):
        size = int(np.lcm(len(start.numbers), len(target.numbers)))
        times = size // len(start.numbers)
        fitted = fit_to(in_basis(start, start_matrix(start, times)), target)
        if len(start.numbers) == len(target.numbers):
            found.setdefault("one size, cells as stored", []).append(fit_to(start, target, np.eye(3, dtype=int)[None]))
            found.setdefault("one size, fitted", []).append(fitted)
        elif times == 1:
            found.setdefault("target grown, fitted", []).append(fitted)
        else:
            others = _others(start, target, times, rng)
            found.setdefault("start grown, most compact", []).append(fitted)
            found.setdefault("start grown, at random", []).append(others[0])
            found.setdefault("start grown, best for the target", []).append(min([fitted, *others], key=_cost))
    print("case | pairs | strain | displacement | strain² + displacement²")
    for name, fits in found.items():
        strain, moved = (np.array([getattr(f, key) for f in fits]) for key in ("strain", "moved"))
        print(f"{name} | {len(fits)} | {strain.mean():.3f} | {moved.mean():.3f} | {(strain**2 + moved**2).mean():.3f}")


def _others(start: Cell, target: Cell, times: int, rng: np.random.Generator) -> list[Fit]:
    """Fits to other supercells of the start, in random order."""
    matrices = supercells(metric_of(start.lattice), times)
    chosen = matrices[rng.permutation(len(matrices))[:_SUPERCELLS]]
    return [fit_to(in_basis(start, matrix), target) for matrix in chosen]


def _cost(fit: Fit) -> float:
    return fit.strain**2 + fit.moved**2


def speed(data: TensorData, pairs: Tensor) -> None:
    """Pairs per second of processor time, one core: fitted anew, remembered, and from what a file holds."""
    torch.set_num_threads(1)
    fits = fit_pairs(data.crystals, pairs)
    cells = PairCells(data.crystals)
    for name, source in (("anew", cells), ("remembered", cells), ("from a file", PairCells(data.crystals, fits))):
        started = time.process_time()
        for part in pairs.split(64):
            source(part)
        print(f"{name}: {len(pairs) / (time.process_time() - started):,.0f} pairs/s")


if __name__ == "__main__":
    main()
