"""Pairs for modification: from a polymorph down in energy to another one of its formula (the paper, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.crystals import Crystals, wrap
from core.data.tensors import TensorData


@dataclass(frozen=True)
class PairRules:
    """What makes pairs.

    min_polymorphs: smaller groups make none; per_group: pairs of a formula in an epoch, at most
    balanced: groups are drawn so that every cell size is seen alike: `per_group` of a group on average, 4 times at most
    min_gap: groups whose largest gap between neighbouring energies is smaller (eV per cell) make none
    lowest: how many of the lowest count as targets of lowest-energy pairs (the paper's text 1, its code 2)
    same_size: start and target have one number of atoms, so that their atoms can stand side by side
    """

    min_polymorphs: int = 2
    per_group: int = 8
    balanced: bool = False
    min_gap: float = 0.0
    lowest: int = 1
    same_size: bool = True


PAPER_TEXT = PairRules(min_polymorphs=7, per_group=1)
PAPER_CODE = PairRules(min_polymorphs=2, per_group=1, balanced=True, min_gap=0.01, lowest=2)
PAIRS = {"all": PairRules(), "paper": PAPER_TEXT, "paper-code": PAPER_CODE}


@dataclass(frozen=True, eq=False)
class PairGroups:
    """Structures of a part in groups that pair among themselves, each by rising energy.

    rows: (R,) row numbers, group after group; starts: (G,) where each group begins; sizes: (G,) structures;
    natoms: (G,) of its lowest structure
    """

    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    natoms: np.ndarray
    rules: PairRules


def pair_groups(data: TensorData, rows: Tensor, rules: PairRules = PairRules()) -> PairGroups:
    """The groups of `rows`: one formula (and one number of atoms, if the rules say so), with known energies."""
    energy = data.crystals.energy.numpy()
    natoms, formula = data.crystals.natoms.numpy(), data.formula.numpy()
    chosen = rows.numpy()[np.isfinite(energy[rows.numpy()])]
    sizes = natoms[chosen] if rules.same_size else np.zeros(len(chosen), dtype=np.int64)
    chosen = chosen[np.lexsort((energy[chosen], sizes, formula[chosen]))]
    sizes = natoms[chosen] if rules.same_size else np.zeros(len(chosen), dtype=np.int64)
    edges = np.flatnonzero((np.diff(formula[chosen]) != 0) | (np.diff(sizes) != 0)) + 1
    starts = np.concatenate([[0], edges]) if len(chosen) else np.zeros(0, dtype=np.int64)
    counts = np.diff(np.concatenate([starts, [len(chosen)]]))
    polymorphs = np.bincount(formula[chosen], minlength=len(data.formulas))
    good = (counts > 1) & (polymorphs[formula[chosen][starts]] >= max(2, rules.min_polymorphs))
    if rules.min_gap > 0 and len(chosen):
        gaps = np.diff(energy[chosen] * natoms[chosen], append=0.0)
        gaps[starts + counts - 1] = 0.0  # the last of a group has no neighbour above
        good &= np.maximum.reduceat(gaps, starts) >= rules.min_gap
    return PairGroups(chosen, starts[good], counts[good], natoms[chosen[starts[good]]], rules)


def lowest_energy_pairs(groups: PairGroups) -> Tensor:
    """(P, 2) rows (S_i, S_0) of every structure above the lowest of its group: what validation looks at."""
    starts = np.repeat(groups.starts, groups.sizes - 1)
    place = np.concatenate([np.arange(1, n) for n in groups.sizes]) if len(groups.sizes) else np.zeros(0, dtype=int)
    return torch.from_numpy(np.stack([groups.rows[starts + place], groups.rows[starts]], 1).astype(np.int64))


def draw_pairs(groups: PairGroups, seed: int, epoch: int) -> Tensor:
    """(P, 2) rows of one epoch's pairs, higher energy first; the same for the same seed and epoch.

    Half are lowest-energy pairs (S_i, S_0), half others (S_i, S_j), i > j > 0, none twice; surplus ones of the kind
    that has more are left out. Groups too small for others give lowest-energy pairs only.
    """
    rng = np.random.default_rng([seed, epoch])
    rules, sizes = groups.rules, groups.sizes
    if not len(sizes):
        return torch.zeros(0, 2, dtype=torch.int64)
    group = _drawn_groups(groups, rng)
    low = np.minimum(rules.lowest, sizes - 1)[group]  # how many count as targets of lowest-energy pairs
    rest = sizes[group] - low
    other = (rng.random(len(group)) < 0.5) & (rest >= 2)
    a, b = _below(rng, rest), _below(rng, np.maximum(rest - 1, 1))
    b += b >= a
    target = np.where(other, low + np.minimum(a, b), _below(rng, low))
    above = target + 1 + _below(rng, sizes[group] - 1 - np.where(other, 0, target))
    start = np.where(other, low + np.maximum(a, b), above)
    drawn, index = np.unique(np.stack([group, start, target], 1), axis=0, return_index=True)
    halves = [rng.permutation(np.flatnonzero(part)) for part in (other[index], ~other[index])]
    count = min(map(len, halves)) or len(drawn)
    chosen = drawn[rng.permutation(np.concatenate([half[:count] for half in halves]))]
    base = groups.starts[chosen[:, 0]]
    found = np.stack([groups.rows[base + chosen[:, 1]], groups.rows[base + chosen[:, 2]]], 1)
    return torch.from_numpy(found.astype(np.int64))


def _drawn_groups(groups: PairGroups, rng: np.random.Generator) -> np.ndarray:
    """A group for each pair of the epoch."""
    count, per_group = len(groups.sizes), groups.rules.per_group
    if not groups.rules.balanced:
        return np.repeat(np.arange(count), per_group)
    _, size, alike = np.unique(groups.natoms, return_inverse=True, return_counts=True)
    weight = 1.0 / alike[size]
    times = rng.multinomial(count * per_group, weight / weight.sum())
    return np.repeat(np.arange(count), np.minimum(times, 4 * per_group))


def _below(rng: np.random.Generator, high: np.ndarray) -> np.ndarray:
    """An integer in [0, high) for each; 0 where nothing is below."""
    drawn: np.ndarray = (rng.random(len(high)) * high).astype(np.int64)
    return drawn


def align(moved: Crystals, fixed: Crystals) -> Crystals:
    """`moved` with atoms reordered and origins shifted to lie closest to `fixed`, species by species.

    In training the target is moved to its start, never the start: a start that knew where its target lies would give
    away what has to be learned, and nobody has one to modify.
    """
    frac, numbers = fixed.frac.clone(), fixed.numbers
    for i in range(len(moved)):
        mask = fixed.mask[i].numpy()
        frac[i, mask] = torch.as_tensor(
            _closest(
                moved.frac[i].double().numpy()[moved.mask[i].numpy()],
                moved.numbers[i].numpy()[moved.mask[i].numpy()],
                fixed.frac[i].double().numpy()[mask],
                numbers[i].numpy()[mask],
            ),
            dtype=frac.dtype,
        )
    return Crystals(frac, moved.lattice, numbers, moved.group, moved.energy)


def _closest(frac: np.ndarray, numbers: np.ndarray, wanted: np.ndarray, species: np.ndarray) -> np.ndarray:
    """Coordinates of the first crystal in the order of the second: minimum-cost matching over a few origins."""
    from scipy.optimize import linear_sum_assignment  # generation trains without scipy

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
