"""Cells as pymatgen's StructureMatcher reduces them, kept as arrays: Niggli, then primitive.

The arithmetic is pymatgen's own (`StructureMatcher._get_reduced_structure`); what is saved is its bookkeeping of sites,
and the search for a smaller cell where it can be shown that there is none.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from core.evaluation.lattices import QuickLattice

TOLERANCE = 0.25  # Å: pymatgen's for primitive cells
_SLACK = 1 + 1e-9  # a quick test may pass what pymatgen then refuses, never the other way round
_FLAT = 100_000.0  # longest axis cubed over volume: beyond it the search of the lattice takes minutes and gigabytes
_CACHE = 5_000  # reduced cells kept by a process
_CORNERS = np.array([v for v in itertools.product((-1, 0, 1), repeat=3) if v > (0, 0, 0)], dtype=float)


@dataclass(frozen=True, eq=False)
class Cell:
    """A crystal as plain arrays: matrix (3, 3) rows in Å, frac (N, 3), numbers (N,) int64 atomic numbers."""

    matrix: np.ndarray
    frac: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True, eq=False)
class Reduced(Cell):
    """A reduced cell. volume in Å³; minima: (3,) lengths of the shortest lattice vectors that span it in Å, rising;
    None where the cell is not seen to be Minkowski-reduced.
    """

    volume: float
    minima: np.ndarray | None


def cell_of(structure: Structure) -> Cell | None:
    """The arrays of a structure, or None where it holds more than plain elements (disorder, oxidation states)."""
    species = [site.species for site in structure]
    if not all(len(s) == 1 and type(next(iter(s))) is Element and next(iter(s.values())) == 1 for s in species):
        return None
    numbers = np.array([next(iter(s)).Z for s in species], dtype=np.int64)
    return Cell(np.array(structure.lattice.matrix), np.array(structure.frac_coords), numbers)


def content(numbers: np.ndarray) -> tuple[tuple[int, int], ...]:
    """The reduced composition: ((atomic number, atoms per formula unit), …) by atomic number."""
    kinds, counts = np.unique(numbers, return_counts=True)
    divisor = math.gcd(*counts.tolist())
    return tuple((int(z), int(n) // divisor) for z, n in zip(kinds, counts, strict=True))


def is_hopeless(cell: Cell) -> bool:
    """Is it no crystal at all? Nothing in it, something not finite, or no volume."""
    if not len(cell.numbers) or not (np.isfinite(cell.matrix).all() and np.isfinite(cell.frac).all()):
        return True
    return not volume_of(cell.matrix) > 0


def reduce_cell(cell: Cell) -> Reduced | None:
    """The reduced cell, remembered; None for a hopeless one, or one too flat to be searched.

    Raises ValueError where pymatgen finds no Niggli cell.
    """
    if is_hopeless(cell):
        return None
    arrays = (cell.matrix.astype(np.float64), cell.frac.astype(np.float64), cell.numbers.astype(np.int64))
    return _reduce(*(a.tobytes() for a in arrays))


@lru_cache(maxsize=_CACHE)
def _reduce(matrix_: bytes, frac_: bytes, numbers_: bytes) -> Reduced | None:
    matrix = np.frombuffer(matrix_).reshape(3, 3)
    frac, numbers = np.frombuffer(frac_).reshape(-1, 3), np.frombuffer(numbers_, dtype=np.int64)
    lattice = QuickLattice(matrix)
    longest = float(np.linalg.norm(lattice.lll_matrix, axis=1).max())
    if longest**3 > _FLAT * lattice.volume:
        return None
    niggli = lattice.get_niggli_reduced_lattice()
    if niggli != lattice:
        frac = np.mod(niggli.get_fractional_coords(np.dot(frac, matrix)), 1)
        matrix = niggli.matrix
    if not is_primitive(matrix, frac, numbers):
        symbols = [Element.from_Z(z) for z in numbers.tolist()]
        smaller = Structure(Lattice(matrix), symbols, frac).get_primitive_structure()
        matrix, frac = np.array(smaller.lattice.matrix), np.array(smaller.frac_coords)
        numbers = np.array(smaller.atomic_numbers, dtype=np.int64)
    return Reduced(matrix, frac, numbers, volume_of(matrix), _minima(matrix))


def volume_of(matrix: np.ndarray) -> float:
    """(3, 3) -> Å³."""
    a, b, c = matrix.tolist()
    cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return abs(cross[0] * c[0] + cross[1] * c[1] + cross[2] * c[2])


def is_primitive(matrix: np.ndarray, frac: np.ndarray, numbers: np.ndarray) -> bool:
    """Is it sure that pymatgen finds no smaller cell? False says only that it must be asked.

    The conditions are those of `IStructure.get_primitive_structure`, a hair wider.
    """
    kinds, counts = np.unique(numbers, return_counts=True)
    units = math.gcd(*counts.tolist())
    if units == 1:
        return True
    tolerance = TOLERANCE / np.linalg.norm(matrix, axis=1) * _SLACK
    groups = [frac[numbers == kinds[k]] for k in np.argsort(counts, kind="stable")]
    fewest = int(counts.min())
    vectors = np.concatenate([g - g[0] for g in groups if len(g) == fewest])  # of whichever of the rarest it takes
    for group in groups:
        delta = group[:, None] - group[None]  # (to, from, 3)
        off = np.abs(_nearest(vectors[:, None, None] - delta))
        vectors = vectors[(off < 2 * tolerance).all(-1).any(1).all(1)]
    if len(vectors) and tolerance.max() <= 1 / units and not np.abs(_nearest(vectors)).max() > 0:
        return True  # a smaller cell has an edge that is no lattice vector, by 1 / units at least
    inverses = _inverse_cells(units)
    close = np.zeros(inverses.shape[:2], dtype=bool)
    for vector in vectors:
        close |= (np.abs(_nearest(inverses - vector)) < tolerance).all(-1)
    return not bool(close.all(1).any())


@lru_cache(maxsize=64)
def _inverse_cells(units: int) -> np.ndarray:
    """(K, 3, 3): the edges of every smaller cell that may hold a divisor of `units` formula units."""
    found = []
    for size in (n for n in range(2, units + 1) if units % n == 0):
        for a in (n for n in range(1, size + 1) if size % n == 0):
            rest = size // a
            for e in (n for n in range(1, rest + 1) if rest % n == 0):
                found += [
                    [[a, b, c], [0, e, f], [0, 0, rest // e]]
                    for b, c, f in itertools.product(range(a), range(a), range(e))
                ]
    inverses: np.ndarray = np.linalg.inv(np.array(found, dtype=float))
    return inverses


def _minima(matrix: np.ndarray) -> np.ndarray | None:
    """Lengths of the edges, rising, if no combination of edges is shorter than the longest that it holds."""
    edges = matrix[np.argsort(np.linalg.norm(matrix, axis=1))]
    lengths: np.ndarray = np.linalg.norm(edges, axis=1)
    longest = np.where(_CORNERS[:, 2] != 0, lengths[2], np.where(_CORNERS[:, 1] != 0, lengths[1], lengths[0]))
    combined = np.linalg.norm(_CORNERS @ edges, axis=1)
    return lengths if bool((combined > longest * (1 - 1e-3)).all()) else None


def _nearest(delta: np.ndarray) -> np.ndarray:
    return delta - np.rint(delta)
