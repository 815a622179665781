"""Pairs for modification: from a polymorph down in energy to another one of its formula (the paper, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.data.common_cells import common_size
from core.data.fitted_pairs import Fits, fit_pairs
from core.data.tensors import TRAIN, VALIDATION, TensorData

_AHEAD = 100_000  # pairs of a part that are fitted ahead


@dataclass(frozen=True)
class PairRules:
    """What makes pairs.

    min_polymorphs: smaller groups make none; per_group: pairs of a formula in an epoch, at most
    balanced: groups are drawn so that every cell size is seen alike: `per_group` of a group on average, 4 times at most
    min_gap: groups whose largest gap between neighbouring energies is smaller (eV per cell) make none
    lowest: how many of the lowest count as targets of lowest-energy pairs (the paper's text 1, its code 2)
    same_size: start and target have one number of atoms, else they meet in common cells (`core.data.common_cells`)
    most_sites: of such common cells; pairs that need more are left out
    """

    min_polymorphs: int = 2
    per_group: int = 8
    balanced: bool = False
    min_gap: float = 0.0
    lowest: int = 1
    same_size: bool = False
    most_sites: int = 64


PAPER_TEXT = PairRules(min_polymorphs=7, per_group=1, same_size=True)
PAPER_CODE = PairRules(min_polymorphs=2, per_group=1, balanced=True, min_gap=0.01, lowest=2, same_size=True)
PAIRS = {"all": PairRules(), "paper": PAPER_TEXT, "paper-code": PAPER_CODE}


@dataclass(frozen=True, eq=False)
class PairGroups:
    """Structures of a part in groups that pair among themselves, each by rising energy.

    rows: (R,) row numbers, group after group; starts: (G,) where each group begins; sizes: (G,) structures;
    natoms: (G,) of its lowest structure; sites: (R,) of each row
    """

    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    natoms: np.ndarray
    sites: np.ndarray
    rules: PairRules

    def fits(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Have these of `rows` common cells that are small enough? bool, of any shape."""
        sites = self.sites[first], self.sites[second]
        found: np.ndarray = (sites[0] == sites[1]) | (common_size(*sites) <= self.rules.most_sites)
        return found


def pair_groups(data: TensorData, rows: Tensor, rules: PairRules = PairRules()) -> PairGroups:
    """The groups of `rows`: one formula (one number of atoms, if the rules say so), known energies of one source."""
    energy = data.crystals.energy.numpy()
    natoms, kind = data.crystals.natoms.numpy(), data.formula.numpy()
    if data.source is not None:
        kind = kind * (int(data.source.max()) + 1 if len(data) else 1) + data.source.numpy()
    chosen = rows.numpy()[np.isfinite(energy[rows.numpy()])]
    sizes = natoms if rules.same_size else np.zeros_like(natoms)
    chosen = chosen[np.lexsort((energy[chosen], sizes[chosen], kind[chosen]))]
    edges = np.flatnonzero((np.diff(kind[chosen]) != 0) | (np.diff(sizes[chosen]) != 0)) + 1
    starts = np.concatenate([[0], edges]) if len(chosen) else np.zeros(0, dtype=np.int64)
    counts = np.diff(np.concatenate([starts, [len(chosen)]]))
    polymorphs = np.bincount(kind[chosen])
    good = (counts > 1) & (polymorphs[kind[chosen][starts]] >= max(2, rules.min_polymorphs))
    if rules.min_gap > 0 and len(chosen):
        gaps = np.diff(energy[chosen] * natoms[chosen], append=0.0)
        gaps[starts + counts - 1] = 0.0  # the last of a group has no neighbour above
        good &= np.maximum.reduceat(gaps, starts) >= rules.min_gap
    return PairGroups(chosen, starts[good], counts[good], natoms[chosen[starts[good]]], natoms[chosen], rules)


def lowest_energy_pairs(groups: PairGroups) -> Tensor:
    """(P, 2) rows (S_i, S_0) of every structure above the lowest of its group: what validation looks at."""
    above, lowest = _to_lowest(groups)
    return _rows(groups, above, lowest)[torch.from_numpy(groups.fits(above, lowest))]


def too_large(groups: PairGroups) -> int:
    """Lowest-energy pairs that are left out, since no common cell is small enough."""
    return int((~groups.fits(*_to_lowest(groups))).sum())


def every_pair(groups: PairGroups, most: int) -> Tensor:
    """(P, 2) rows of all pairs that may be drawn, higher energy first; of more than `most` those of the first epochs.

    The epochs are those of seed 0; of some datasets all pairs would be millions.
    """
    if int((groups.sizes * (groups.sizes - 1) // 2).sum()) > most:
        drawn, count = [draw_pairs(groups, 0, 0)], 0
        while len(drawn) < 100 and sum(map(len, drawn)) < most and len(drawn[-1]):
            count += 1
            drawn.append(draw_pairs(groups, 0, count))
        return torch.unique(torch.cat(drawn), dim=0)[:most]
    parts = [np.stack(np.tril_indices(int(n), -1)) + s for s, n in zip(groups.starts, groups.sizes, strict=True)]
    above, below = np.concatenate(parts, 1) if parts else np.zeros((2, 0), dtype=np.int64)
    return _rows(groups, above, below)[torch.from_numpy(groups.fits(above, below))]


def fits_ahead(data: TensorData, processes: int = 1) -> Fits:
    """How start and target of every pair that a training may draw lie beside one another, validation included."""
    parts = [every_pair(pair_groups(data, data.part(part)), _AHEAD) for part in (TRAIN, VALIDATION)]
    return fit_pairs(data.crystals, torch.cat(parts), processes)


def _to_lowest(groups: PairGroups) -> tuple[np.ndarray, np.ndarray]:
    """Places in `groups.rows` of every structure above the lowest of its group, and of that one."""
    starts = np.repeat(groups.starts, groups.sizes - 1)
    place = np.concatenate([np.arange(1, n) for n in groups.sizes]) if len(groups.sizes) else np.zeros(0, dtype=int)
    return starts + place, starts


def _rows(groups: PairGroups, first: np.ndarray, second: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([groups.rows[first], groups.rows[second]], 1).astype(np.int64))


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
    base = groups.starts[drawn[:, 0]]
    fits = groups.fits(base + drawn[:, 1], base + drawn[:, 2])
    halves = [rng.permutation(np.flatnonzero(part & fits)) for part in (other[index], ~other[index])]
    count = min(map(len, halves)) or len(drawn)
    chosen = rng.permutation(np.concatenate([half[:count] for half in halves]))
    return _rows(groups, base[chosen] + drawn[chosen, 1], base[chosen] + drawn[chosen, 2])


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
