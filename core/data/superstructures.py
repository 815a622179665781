"""Ordered superstructures of a parent lattice: every way to colour its sites that repeats after so many of them.

Hart and Forcade, Algorithm for generating derivative structures, Phys. Rev. B 77, 224115 (2008): the superlattices of
index n are the Hermite normal forms of determinant n. AFLOW's binary and ternary alloy libraries consist of those of
fcc and bcc with up to four sites; their space groups with A, B and two C are those of the paper's dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
import spglib
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Element, Lattice, Structure

PARENTS = {  # rows are vectors, in edges of the cubic cell
    "fcc": np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
    "bcc": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
}
_SYMPREC = 1e-4  # Å, of cells whose coordinates are exact
_VOLUME = 20.0  # Å³ per site


@dataclass(frozen=True)
class Superstructure:
    """family: those that differ only by who takes which of the sites with equal counts share one, "fcc4-ABC2-3"."""

    family: str
    group: int
    structure: Structure


def superstructures(parent: str, counts: Sequence[int], elements: Sequence[str]) -> list[Superstructure]:
    """The distinct ones with counts[i] sites of elements[i], primitive, 20 Å³ per site.

    Raises KeyError for a parent that is not in `PARENTS`.
    """
    numbers = [Element(e).Z for e in elements]
    colours = sorted(z for z, count in zip(numbers, counts, strict=True) for _ in range(count))
    same = StructureMatcher(ltol=0.02, stol=0.05, angle_tol=1)
    swaps = _swaps(counts, elements)
    kind = "".join(f"{letter}{n if n > 1 else ''}" for letter, n in zip("ABCDEF", counts, strict=False))
    found: list[Superstructure] = []
    families = 0
    for lattice, sites in _cells(PARENTS[parent], sum(counts)):
        for coloured in sorted(set(permutations(colours))):
            group = _group_if_primitive(lattice, sites, coloured)
            if not group:
                continue
            structure = Structure(Lattice(lattice), list(coloured), sites)
            alike = [f for f in found if f.group == group]
            if any(same.fit(structure, f.structure) for f in alike):
                continue
            family = next((f.family for f in alike if _swapped_fits(structure, f.structure, swaps, same)), "")
            families += not family
            name = family or f"{parent}{sum(counts)}-{kind}-{families}"
            found.append(Superstructure(name, group, structure))
    return found


def _cells(parent: np.ndarray, index: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(lattice (3, 3) Å, fractional coordinates (index, 3)) of every superlattice of that index."""
    steps = np.array(list(product(range(index), repeat=3)), dtype=float)
    for form in hermite_forms(index):
        lattice = form @ parent
        lattice *= (_VOLUME * index / abs(np.linalg.det(lattice))) ** (1 / 3)
        frac = np.round(steps @ np.linalg.inv(form), 9) % 1
        yield lattice, np.unique(np.round(frac, 9) % 1, axis=0)


def hermite_forms(index: int) -> Iterator[np.ndarray]:
    """Lower triangular integer matrices of this determinant, one for each superlattice (rows are vectors)."""
    for a in (n for n in range(1, index + 1) if index % n == 0):
        for c in (n for n in range(1, index // a + 1) if (index // a) % n == 0):
            for b, d, e in product(range(a), range(a), range(c)):
                yield np.array([[a, 0, 0], [b, c, 0], [d, e, index // a // c]], dtype=float)


def _group_if_primitive(lattice: np.ndarray, sites: np.ndarray, numbers: Sequence[int]) -> int:
    """Its space group, 0 where a smaller cell holds it."""
    cell: Any = (lattice, sites, list(numbers))
    primitive = spglib.find_primitive(cell, symprec=_SYMPREC)
    if primitive is None or len(primitive[2]) < len(numbers):
        return 0
    dataset = spglib.get_symmetry_dataset(cell, symprec=_SYMPREC)
    return int(dataset.number) if dataset is not None else 0


def _swaps(counts: Sequence[int], elements: Sequence[str]) -> list[dict[str, str]]:
    """Every exchange of elements whose counts are equal, but for none."""
    mine = list(zip(elements, counts, strict=True))
    swaps = [
        dict(zip(elements, order, strict=True))
        for order in permutations(elements)
        if all(dict(mine)[new] == count for new, (_, count) in zip(order, mine, strict=True))
    ]
    return [s for s in swaps if any(a != b for a, b in s.items())]


def _swapped_fits(a: Structure, b: Structure, swaps: list[dict[str, str]], same: StructureMatcher) -> bool:
    for swap in swaps:
        copy = a.copy()
        copy.replace_species({Element(old): Element(new) for old, new in swap.items()})
        if same.fit(copy, b):
            return True
    return False
