"""A disordered crystal as ordered ones: which atom stands on which of its shared sites.

A model moves whole atoms. Where a site is shared (Na 0.5 / K 0.5) or partly empty, a cell is taken in which every share
is a whole number of sites, the ways to fill it are listed, those that symmetry makes the same are left out, and the
rest is put in order by electrostatics where the elements have charges that add up to nothing. `pymatgen`'s
OrderDisorderedStructureTransformation does the same without leaving out copies, and without an end in sight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any

import numpy as np
import spglib
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Element, Structure

MAX_WAYS = 5_000  # that are looked at
MAX_CELLS = 12  # supercells of one size that are looked at
MAX_SITES = 128  # of the cell, empty ones included
_WHOLE = 0.06  # of an atom: shares are written with two or three digits
_SYMPREC = 0.01  # Å


class OrderingError(ValueError):
    """It cannot be ordered; the message is a sentence."""


@dataclass(frozen=True)
class Ordering:
    """One way to fill the sites. electrostatic: eV/atom above the lowest by Ewald's sum, None without charges."""

    structure: Structure
    electrostatic: float | None


@dataclass(frozen=True)
class Orderings:
    """found: lowest first; ways: to fill the cells; looked: at so many of them; distinct: by symmetry, of those.

    charges: element -> charge that the order is by, {} where there are none; notes: what was rounded, in sentences
    """

    found: list[Ordering]
    ways: int
    looked: int
    distinct: int
    charges: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def orderings(disordered: Structure, most: int = 12, max_atoms: int = 64, seed: int = 0) -> Orderings:
    """The orderings of a crystal in the smallest cells that its shares allow, all of their shapes together.

    most: so many are returned; max_atoms: in their cell; seed: of the draw where there are more than `MAX_WAYS`.
    Raises OrderingError where no cell so small will do.
    """
    structure = disordered.copy()
    structure.remove_oxidation_states()
    cells, notes = _cells(_with_orbits(structure), max_atoms)
    groups = _groups(cells[0])
    ways = math.prod(_count(wanted) for _, wanted in groups)  # the same in each: they hold the same atoms
    charges = _charges(_content(groups, cells[0]))
    rng = np.random.default_rng(seed)
    looked = distinct = 0
    made: list[tuple[float, int, int, Ordering]] = []
    for number, cell in enumerate(cells):
        filled, different, energies = _filled(cell, ways, charges, rng)
        looked, distinct = looked + len(filled), distinct + len(different)
        for rank, i in enumerate(np.argsort(energies, kind="stable")[:most].tolist()):
            one = Ordering(_structure(cell, different[i]), float(energies[i]) if charges else None)
            made.append((float(energies[i]), rank, number, one))
    listed = [one for *_, one in sorted(made, key=lambda m: (round(m[0], 7), *m[1:3]))]
    found = _merged(listed, most) if len(cells) > 1 else listed[:most]
    if len(found) < most:
        distinct = len(found)  # all are listed, and what two cells share is one of them
    lowest = found[0].electrostatic or 0.0
    found = [o if o.electrostatic is None else replace(o, electrostatic=o.electrostatic - lowest) for o in found]
    return Orderings(found, ways * len(cells), looked, distinct, charges, notes)


def _filled(
    cell: Structure, ways: int, charges: dict[str, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(M, N) ways to fill a cell that were looked at, (K, N) those that differ, (K,) Ewald's eV/atom or 0."""
    groups = _groups(cell)
    filled = _all(cell, groups) if ways <= MAX_WAYS else _drawn(cell, groups, rng)
    different = filled[_first_of_each(filled, _permutations(cell), rng)]
    return filled, different, _electrostatic(cell, different, charges) if charges else np.zeros(len(different))


def _merged(listed: Sequence[Ordering], most: int) -> list[Ordering]:
    """The first of each that the matcher takes for one crystal: several supercells hold what repeats in a smaller."""
    fits = StructureMatcher(ltol=0.05, stol=0.05, angle_tol=1, scale=False)
    found: list[Ordering] = []
    for one in listed:
        if len(found) == most:
            break
        if not any(_near(one, other) and fits.fit(one.structure, other.structure) for other in found):
            found.append(one)
    return found


def _near(one: Ordering, other: Ordering) -> bool:
    """May they be the same, by their energies?"""
    return (
        one.electrostatic is None or other.electrostatic is None or abs(one.electrostatic - other.electrostatic) < 1e-4
    )


def _with_orbits(structure: Structure) -> Structure:
    """Every site with the number of its orbit, and what stands there, as properties."""
    kinds = _kinds(structure)
    data = _dataset(structure, kinds)
    orbits = kinds if data is None else np.asarray(data.equivalent_atoms)
    return structure.copy(site_properties={"orbit": [int(o) for o in orbits]})


def _kinds(structure: Structure) -> np.ndarray:
    """(N,) a number for each different occupation, from 1."""
    names = [site.species.formula for site in structure]
    known = {name: i for i, name in enumerate(dict.fromkeys(names), 1)}
    return np.array([known[name] for name in names])


def _dataset(structure: Structure, kinds: np.ndarray) -> spglib.SpglibDataset | None:
    try:
        cell: Any = (structure.lattice.matrix, structure.frac_coords, kinds)
        return spglib.get_symmetry_dataset(cell, symprec=_SYMPREC)
    except Exception:  # spglib 2.8 raises where earlier releases returned None
        return None


def _cells(structure: Structure, max_atoms: int) -> tuple[list[Structure], list[str]]:
    """The cell as it is, or the supercells of the smallest size in which shares are whole or, else, nearly are."""
    bases = [structure]
    primitive = structure.get_primitive_structure(use_site_props=True)
    bases += [primitive] if len(primitive) < len(structure) else []
    tried: list[tuple[float, float, int, Structure, tuple[int, int, int]]] = []
    for rank, base in enumerate(bases):
        for shape in _shapes(base, max_atoms):
            off, atoms = _off(base, math.prod(shape))
            if atoms <= max_atoms and off < 0.5:
                tried.append((round(off, 6), atoms if math.prod(shape) > 1 else rank, rank, base, shape))
    if not tried:
        fewest = min(sum(s.species.num_atoms for s in b) for b in bases)
        raise OrderingError(
            f"Its cell holds {fewest:.3g} atoms, and no cell of at most {max_atoms} atoms has its shares whole."
        )
    off, _, _, base, shape = min(tried, key=lambda t: t[:3])
    cells, notes = [base.copy()], []
    if math.prod(shape) > 1:
        cells, note = _supercells(base, shape)
        notes.append(note)
    if off:
        notes.append(f"Shares were rounded to whole sites: the farthest is off by {off:.2f}.")
    return cells, notes


def _supercells(base: Structure, shape: tuple[int, int, int]) -> tuple[list[Structure], str]:
    """Supercells of one size that symmetry leaves different, the shape first, and what was looked at, in a sentence.

    Every sublattice of the size is one of the Hermite normal forms (Hart and Forcade, Phys. Rev. B 77, 224115 (2008));
    those along the axes come before oblique ones. There are as many as `MAX_WAYS` fillings allow, `MAX_CELLS` at most.
    """
    size = math.prod(shape)
    forms = [
        np.diag(shape),
        *sorted(_hermite(size), key=lambda h: (np.count_nonzero(h - np.diag(np.diag(h))), h.max())),
    ]
    data = _dataset(base, np.array(base.site_properties["orbit"]) + 1)
    # spglib's rotations turn columns of fractional coordinates; rows of a form are vectors of the sublattice
    rotations = [np.eye(3), *([] if data is None else data.rotations)]
    known: set[tuple[int, ...]] = set()
    different = []
    for form in forms:
        if tuple(_normal(form).ravel()) not in known:
            different.append(form)
            known |= {tuple(_normal(np.rint(form @ r.T).astype(int)).ravel()) for r in rotations}
    cells = [base.copy().make_supercell(form.tolist(), in_place=False) for form in different[:1]]
    ways = max(1, math.prod(_count(wanted) for _, wanted in _groups(cells[0])))
    taken = different[: max(1, min(MAX_CELLS, MAX_WAYS // ways))]
    for form in taken[1:]:
        cell = base.copy().make_supercell(form.tolist(), in_place=False)
        cells.append(cell if np.array_equal(form, np.diag(np.diag(form))) else cell.get_reduced_structure("LLL"))
    straight = [" × ".join(map(str, np.diag(f))) for f in taken if np.array_equal(f, np.diag(np.diag(f)))]
    oblique = len(taken) - len(straight)
    named = ", ".join(straight) + (f" and {oblique} oblique" if oblique else "")
    left = len(different) - len(taken)
    what = f"Looked at: the cell repeated {named}"
    if left:
        return cells, f"{what}. Left out as too many: {left} of the {len(different)} different supercells of that size."
    return cells, f"{what}: every supercell of {size} cells that symmetry leaves different."


def _hermite(size: int) -> Iterator[np.ndarray]:
    """Every lower triangular Hermite normal form of a determinant, (3, 3) int."""
    for a in range(1, size + 1):
        for c in range(1, size // a + 1):
            if size % (a * c) == 0:
                f = size // (a * c)
                for b, d, e in product(range(a), range(a), range(c)):
                    yield np.array([[a, 0, 0], [b, c, 0], [d, e, f]])


def _normal(rows: np.ndarray) -> np.ndarray:
    """The lower triangular Hermite normal form of the lattice that integer rows span: equal lattices, equal forms."""
    m = rows.copy()
    for column in (2, 1, 0):
        while np.count_nonzero(m[: column + 1, column]) > 1 or m[column, column] == 0:
            upper = m[: column + 1]
            least = min((i for i in range(column + 1) if upper[i, column]), key=lambda i: abs(upper[i, column]))
            m[[least, column]] = m[[column, least]]
            for i in range(column):
                m[i] -= (m[i, column] // m[column, column]) * m[column]
        m[column] *= np.sign(m[column, column])
    for i in (1, 2):
        for j in range(i - 1, -1, -1):
            m[i] -= (m[i, j] // m[j, j]) * m[j]
    return m


def _shapes(base: Structure, max_atoms: int) -> Iterator[tuple[int, int, int]]:
    """Repeats along a, b, c, one for each number of cells: the one whose longest edge is shortest."""
    most = max(1, int(MAX_SITES / len(base)), 1) if len(base) <= MAX_SITES else 0
    for n in range(1, min(most, max_atoms) + 1):
        shapes = [
            (i, j, n // i // j) for i in range(1, n + 1) if n % i == 0 for j in range(1, n + 1) if n // i % j == 0
        ]
        yield min(shapes, key=lambda s: max(k * length for k, length in zip(s, base.lattice.abc, strict=True)))


def _off(base: Structure, cells: int) -> tuple[float, int]:
    """How far the shares of a supercell of so many cells are from what whole sites make of them, and its atoms.

    0 where they are as near as two or three digits can say, 1 where an element would be lost.
    """
    off, atoms = 0.0, 0
    for orbit in set(base.site_properties["orbit"]):
        sites = [s for s in base if s.properties["orbit"] == orbit]
        count = len(sites) * cells
        for share in sites[0].species.values():
            whole = round(count * share)
            wide = abs(count * share - whole)
            off = max(off, 0.0 if wide < _WHOLE else wide / count if whole else 1.0)
            atoms += whole
    return off, atoms


def _groups(cell: Structure) -> list[tuple[list[int], dict[int, int]]]:
    """Per disordered orbit: its sites, and {atomic number: sites that it takes}; 0 stands for an empty site."""
    groups = []
    for orbit in dict.fromkeys(cell.site_properties["orbit"]):
        sites = [i for i, s in enumerate(cell) if s.properties["orbit"] == orbit]
        if cell[sites[0]].is_ordered:
            continue
        wanted = {Element(str(e)).Z: round(len(sites) * share) for e, share in cell[sites[0]].species.items()}
        wanted = {z: n for z, n in wanted.items() if n}
        empty = len(sites) - sum(wanted.values())
        if empty < 0:  # two halves of an odd number were both rounded up
            wanted[max(wanted, key=lambda z: wanted[z])] += empty
        groups.append((sites, wanted | ({0: empty} if empty > 0 else {})))
    return groups


def _count(wanted: dict[int, int]) -> int:
    """In how many ways so many of each stand on their sites."""
    return math.factorial(sum(wanted.values())) // math.prod(math.factorial(n) for n in wanted.values())


def _plain(cell: Structure) -> np.ndarray:
    """(N,) atomic numbers, 0 at shared sites."""
    return np.array([site.specie.Z if site.is_ordered else 0 for site in cell], dtype=np.int64)


def _all(cell: Structure, groups: Sequence[tuple[list[int], dict[int, int]]]) -> np.ndarray:
    """(M, N) atomic numbers, each way once."""
    parts = [list(_ways(sites, list(wanted.items()))) for sites, wanted in groups]
    filled = np.repeat(_plain(cell)[None], math.prod(len(p) for p in parts), 0)
    for row, chosen in zip(filled, product(*parts), strict=True):
        for part in chosen:
            for site, number in part:
                row[site] = number
    return filled


def _ways(sites: list[int], wanted: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Each way to put so many of each kind on these sites, as (site, atomic number)."""
    (number, count), rest = wanted[0], wanted[1:]
    if not rest:
        yield [(site, number) for site in sites]
        return
    for taken in combinations(sites, count):
        left = [s for s in sites if s not in taken]
        for more in _ways(left, rest):
            yield [(site, number) for site in taken] + more


def _drawn(cell: Structure, groups: Sequence[tuple[list[int], dict[int, int]]], rng: np.random.Generator) -> np.ndarray:
    """(M, N) ways drawn at random, none twice."""
    filled = np.repeat(_plain(cell)[None], MAX_WAYS, 0)
    for sites, wanted in groups:
        atoms = np.repeat(list(wanted), list(wanted.values()))
        filled[:, sites] = rng.permuted(np.repeat(atoms[None], MAX_WAYS, 0), axis=1)
    return np.unique(filled, axis=0)


def _permutations(cell: Structure) -> np.ndarray:
    """(K, N): where each operation of the average crystal's space group takes each site; at least the identity."""
    count = len(cell)
    data = _dataset(cell, np.array(cell.site_properties["orbit"]) + 1)
    found = [np.arange(count)]
    frac = np.array(cell.frac_coords)
    for rotation, translation in zip(data.rotations, data.translations, strict=True) if data else []:
        image = frac @ rotation.T + translation
        delta = image[:, None] - frac[None]
        off = ((delta - np.rint(delta)) @ cell.lattice.matrix) ** 2
        place = off.sum(-1).argmin(1)
        if len(set(place.tolist())) == count:
            found.append(place)
    return np.array(found)


def _first_of_each(filled: np.ndarray, permutations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of which no earlier one is a copy by symmetry: the least of random sums over all copies is the same."""
    codes: Any = rng.normal(size=120)
    weights: Any = rng.normal(size=filled.shape[1])
    least = (codes[filled] @ weights[permutations].T).min(1)
    _, first = np.unique(least.round(8), return_index=True)
    return np.sort(first)


def _content(groups: Sequence[tuple[list[int], dict[int, int]]], cell: Structure) -> dict[int, int]:
    """Atomic number -> atoms in the filled cell."""
    content: dict[int, int] = {}
    for number in _plain(cell).tolist():
        content[number] = content.get(number, 0) + 1
    for _, wanted in groups:
        for number, count in wanted.items():
            content[number] = content.get(number, 0) + count
    content.pop(0, None)
    return content


def _charges(content: dict[int, int]) -> dict[str, int]:
    """A usual charge for each element so that the cell is neutral, the more electronegative ones negative; or {}."""
    elements = [Element.from_Z(z) for z in content]
    if not 2 <= len(elements) <= 8:
        return {}
    for states in product(*(e.common_oxidation_states for e in elements)):
        if sum(q * n for q, n in zip(states, content.values(), strict=True)):
            continue
        positive = [e.X for e, q in zip(elements, states, strict=True) if q > 0]
        negative = [e.X for e, q in zip(elements, states, strict=True) if q < 0]
        if positive and negative and max(positive) < min(negative):
            return {e.symbol: int(q) for e, q in zip(elements, states, strict=True)}
    return {}


def _electrostatic(cell: Structure, filled: np.ndarray, charges: dict[str, int]) -> Any:
    """(M,) eV per atom by Ewald's sum, of which one matrix for unit charges serves all."""
    ones = Structure(cell.lattice, ["H"] * len(cell), cell.frac_coords)
    ones.add_oxidation_state_by_site([1] * len(cell))
    matrix: Any = EwaldSummation(ones).total_energy_matrix
    table = np.zeros(120, dtype=float)
    for name, charge in charges.items():
        table[Element(name).Z] = charge
    q = table[filled]
    energies: np.ndarray = ((q @ matrix) * q).sum(1) / (filled > 0).sum(1)
    return energies


def _structure(cell: Structure, numbers: np.ndarray) -> Structure:
    keep = numbers > 0
    return Structure(cell.lattice, numbers[keep].tolist(), np.array(cell.frac_coords)[keep]).get_sorted_structure()


def shares(disordered: Structure) -> list[str]:
    """The shared sites in words, one line for each kind: "4 sites: Na 0.5, K 0.5"."""
    kinds: dict[str, int] = {}
    for site in disordered:
        if not site.is_ordered:
            words = _words(site.species)
            kinds[words] = kinds.get(words, 0) + 1
    return [f"{count} site{'s' if count > 1 else ''}: {words}" for words, count in kinds.items()]


def _words(species: Composition) -> str:
    parts = [f"{e.symbol} {share:.3g}" for e, share in species.items()]
    empty = 1 - species.num_atoms
    return ", ".join([*parts, f"empty {empty:.3g}"] if empty > 1e-3 else parts)
