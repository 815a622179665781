"""Is a generated crystal one at all? Shortest distance, volume, and the space group that spglib finds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from core.crystals import Crystals
from core.data.symmetry import detect_group
from core.energy.potential import shortest_distances

MIN_DISTANCE = 0.5  # Å: the usual criterion (Xie et al., CDVAE, ICLR 2022)
MIN_VOLUME_PER_ATOM, MAX_VOLUME_PER_ATOM = 2.0, 200.0  # Å³
SYMPREC = (0.01, 0.1)  # Å


@dataclass(frozen=True)
class Verdict:
    """min_distance in Å, volume in Å³ per atom, NaN where the cell is broken; problem: "" or why it is not valid.

    groups: symprec in Å -> space group found, 0 where none
    """

    min_distance: float
    volume: float
    problem: str
    groups: dict[float, int]

    @property
    def valid(self) -> bool:
        return not self.problem


def judge(crystals: Crystals, symmetry: bool = True) -> list[Verdict]:
    """A verdict on every crystal of the batch; a broken one gets its reason and stops nothing.

    symmetry: find space groups too, which takes most of the time
    """
    finite = torch.isfinite(crystals.lattice).flatten(1).all(1) & torch.isfinite(crystals.frac).flatten(1).all(1)
    volumes = crystals.volume / crystals.natoms
    tolerances = SYMPREC if symmetry else ()
    return [_judge_one(crystals, i, bool(finite[i]), float(volumes[i]), tolerances) for i in range(len(crystals))]


def _judge_one(crystals: Crystals, i: int, finite: bool, volume: float, tolerances: tuple[float, ...]) -> Verdict:
    if not finite or not math.isfinite(volume):
        return Verdict(math.nan, math.nan, "its cell is not finite", {})
    if not MIN_VOLUME_PER_ATOM <= volume <= MAX_VOLUME_PER_ATOM:
        bounds = f"{MIN_VOLUME_PER_ATOM:g} to {MAX_VOLUME_PER_ATOM:g}"
        return Verdict(math.nan, volume, f"its volume is {volume:.1f} Å³ per atom, outside {bounds}", {})
    distance = float(shortest_distances(crystals[[i]])[0])
    groups = {symprec: detect_group(crystals, i, symprec) for symprec in tolerances}
    problem = f"two atoms are {distance:.2f} Å apart, less than {MIN_DISTANCE:g} Å" if distance < MIN_DISTANCE else ""
    return Verdict(distance, volume, problem, groups)


def group_reached(verdict: Verdict, asked: int | None) -> tuple[int | None, float | None]:
    """(space group, symprec in Å): at the tightest tolerance that gives the one asked, else at the widest."""
    if not verdict.groups:
        return None, None
    for symprec, group in sorted(verdict.groups.items()):
        if asked is not None and group == asked:
            return group, symprec
    widest = max(verdict.groups)
    return verdict.groups[widest] or None, widest
