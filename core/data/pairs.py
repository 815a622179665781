"""Pairs for modification: from a polymorph to the lowest one of its formula, atoms in one order."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from core.crystals import Crystals, wrap
from core.data.tensors import TensorData


def lowest_energy_pairs(data: TensorData, rows: torch.Tensor) -> list[tuple[int, int]]:
    """(row of S_i, row of S_0) for every structure of `rows` above the lowest of its formula and number of atoms.

    Structures without an energy make no pairs. (The paper pairs any cell sizes; this takes pairs of one cell content.)
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    natoms = data.crystals.natoms
    for row in rows.tolist():
        if torch.isfinite(data.crystals.energy[row]):
            groups[int(data.formula[row]), int(natoms[row])].append(row)
    pairs = []
    for members in groups.values():
        lowest = min(members, key=lambda row: float(data.crystals.energy[row]))
        pairs += [(row, lowest) for row in members if row != lowest]
    return pairs


def align(start: Crystals, target: Crystals) -> Crystals:
    """The starts with atoms reordered and origins shifted to lie closest to their targets, species by species."""
    frac, numbers = target.frac.clone(), target.numbers
    for i in range(len(start)):
        mask = target.mask[i].numpy()
        frac[i, mask] = torch.as_tensor(
            _closest(
                start.frac[i].double().numpy()[start.mask[i].numpy()],
                start.numbers[i].numpy()[start.mask[i].numpy()],
                target.frac[i].double().numpy()[mask],
                numbers[i].numpy()[mask],
            ),
            dtype=frac.dtype,
        )
    return Crystals(frac, start.lattice, numbers, start.group, start.energy)


def _closest(frac: np.ndarray, numbers: np.ndarray, wanted: np.ndarray, species: np.ndarray) -> np.ndarray:
    """Coordinates of the first crystal in the order of the second: minimum-cost matching over a few origins."""
    kinds, counts = np.unique(species, return_counts=True)
    rarest = kinds[counts.argmin()]
    anchor = wanted[species == rarest][0]
    best, result = np.inf, frac
    for origin in frac[numbers == rarest]:
        shifted = frac - origin + anchor
        placed, total = np.empty_like(wanted), 0.0
        for kind in kinds:
            mine, theirs = shifted[numbers == kind], wanted[species == kind]
            delta = mine[:, None] - theirs[None]
            delta -= np.rint(delta)
            rows, columns = linear_sum_assignment((delta**2).sum(-1))
            total += float((delta[rows, columns] ** 2).sum())
            order = np.empty(len(mine), dtype=int)
            order[columns] = rows
            placed[species == kind] = mine[order]
        if total < best:
            best, result = total, placed
    return wrap(torch.from_numpy(result)).numpy()
