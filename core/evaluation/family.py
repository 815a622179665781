"""Crystals of one formula, and whether another is among them: what is unique, and what is new against a dataset.

The verdict is that of the paper's matcher on every pair. Pairs that cannot match are left out by array operations
(`pairing.cannot_match`, which rejects no match), and those of like volume come first, so that a repeat is found early.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from core.evaluation.matching import TOLERANCES, first_reduced
from core.evaluation.pairing import MINIMA_SLACK
from core.evaluation.pool import MatchPool
from core.evaluation.reduction import Cell, Reduced, reduce_cell, volume_of

LEAST = 0.1  # Å³ per atom: in less, pymatgen's reduction does not end
MANY = 2_000  # pairs from which processes beside this one are asked


class Family:
    """Crystals of one reduced formula; their cells may hold different numbers of formula units."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self._members: list[Reduced] = []
        self._natoms: list[int] = []
        self._volumes: list[float] = []  # Å³ per atom
        self._edges: list[np.ndarray] = []
        for cell in cells:
            self.add(cell)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, cell: Cell) -> None:
        """One more; a broken cell, or one too flat to be compared, is left out."""
        reduced = reduced_or_none(cell)
        if reduced is not None:
            self._members.append(reduced)
            self._natoms.append(len(reduced.numbers))
            self._volumes.append(reduced.volume / len(reduced.numbers))
            edges = np.linalg.norm(reduced.matrix, axis=1) / reduced.volume ** (1 / 3)
            self._edges.append(np.sort(edges))

    def holds(self, cell: Cell, pool: MatchPool | None = None) -> bool:
        """Is this crystal among them? Never raises for a crystal: one that cannot be compared is not."""
        reduced = reduced_or_none(cell)
        if reduced is None or not self._members:
            return False
        others = [self._members[i] for i in self.possible(reduced)]
        if pool is not None and len(others) >= MANY:
            return pool.find(reduced, others)
        return first_reduced(reduced, others) is not None

    def possible(self, reduced: Reduced) -> list[int]:
        """Which members may match, by likeness in volume: the test of `cannot_match` for all at once."""
        keep = np.array(self._natoms) == len(reduced.numbers)
        if reduced.minima is not None:
            shortest = reduced.minima / reduced.volume ** (1 / 3)
            longest = np.array(self._edges) * (1 + TOLERANCES["paper"]["ltol"]) * MINIMA_SLACK
            keep &= ~(shortest > longest).any(1)
        rows = np.flatnonzero(keep)
        unlike = np.abs(np.array(self._volumes)[rows] - reduced.volume / len(reduced.numbers))
        order: list[int] = rows[np.argsort(unlike, kind="stable")].tolist()
        return order


def reduced_or_none(cell: Cell) -> Reduced | None:
    """The reduced cell, None for one that cannot be reduced."""
    if not volume_of(cell.matrix) > LEAST * len(cell.numbers):  # not a number too
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reduce_cell(cell)
    except Exception:  # pymatgen finds no Niggli cell for some
        return None


def repeats(cells: Sequence[Cell], family: Family, pool: MatchPool | None = None) -> list[bool]:
    """Is each in the family or a copy of one before it? Those that are not join the family."""
    found = []
    for cell in cells:
        known = family.holds(cell, pool)
        if not known:
            family.add(cell)
        found.append(known)
    return found
