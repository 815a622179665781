"""A crystal moved onto the space group that was asked for, where it nearly has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.crystals import Crystals
from core.data.symmetry import detect_group
from core.data.symmetry_operations import find_operations
from core.energy.symmetry import symmetrize

EXACT = 1e-3  # Å: within this spglib has to find the group afterwards
TRIED = (0.001, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)  # Å


@dataclass(frozen=True)
class Symmetrised:
    """crystals: one, in the cell it had, on the group; symprec: Å, where the group was found in what was there.

    moved: Å, the farthest that a site moved within the cell or the end of an edge, whichever is more
    """

    crystals: Crystals
    symprec: float
    moved: float


def symmetrise(crystals: Crystals, group: int, known: Mapping[float, int] | None = None) -> Symmetrised | None:
    """One crystal averaged over the operations of its space group; None where spglib does not find that group.

    Atoms, their order and the setting of the cell stay. Taken is the tightest tolerance of `TRIED` within which the
    group is found and after which spglib finds it within 0.001 Å.

    known: symprec in Å -> space group, where that was looked up before
    """
    for symprec in TRIED:
        found = known[symprec] if known and symprec in known else detect_group(crystals, 0, symprec)
        if found != group:
            continue
        operations = find_operations(crystals, symprec)
        if operations[0].number != group:
            continue
        even = symmetrize(crystals, operations)
        if detect_group(even, 0, EXACT) == group:
            return Symmetrised(even, symprec, farthest_moved(crystals, even))
    return None


def farthest_moved(before: Crystals, after: Crystals) -> float:
    """Å: how far a site moved within the cell, or the end of an edge, at most; a common shift of all sites is none."""
    lattice = after.lattice[0].double()
    mask = before.mask[0]
    step = after.frac[0][mask].double() - before.frac[0][mask].double()
    step = step - step.round()
    sites = _longest((step - step.mean(0)) @ lattice)
    return max(sites, _longest(lattice - before.lattice[0].double()))


def _longest(vectors: Tensor) -> float:
    return float(torch.linalg.vector_norm(vectors, dim=1).max())
