"""What a crystallographer asks of a structure: its cell in other settings, sites by symmetry, its powder pattern."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure

from core.data.bonding import Neighbours
from core.data.rows import symbol
from core.data.symmetry import crystal_system_of, point_group_of, symbol_of

CELLS = ("stored", "primitive", "conventional")
WAVELENGTH = 1.54184  # Å, copper Kα: the mean of Kα₁ and Kα₂
APART = 0.1  # degrees of 2θ: reflections nearer to the one before are the same line, as to a diffractometer
_BROADEST = 0.3  # degrees from the first reflection of a line to its last
_MOST_SITES = 400  # of a cell whose powder pattern is computed


@dataclass(frozen=True)
class Site:
    """Equivalent sites of the conventional cell: "4a" is multiplicity 4, letter a; x, y, z of one of them."""

    element: str
    multiplicity: int
    letter: str
    site_symmetry: str
    x: float
    y: float
    z: float


@dataclass(frozen=True)
class SymmetryFacts:
    """What spglib finds within a tolerance, in words, and the occupied Wyckoff positions by letter."""

    number: int
    symbol: str
    system: str
    point_group: str
    hall: str
    sites: tuple[Site, ...]


@dataclass(frozen=True)
class PairDistances:
    """Bonds from atoms of one element to another; Å. fewest, most: neighbours of that kind that one atom has."""

    centre: str
    other: str
    shortest: float
    mean: float
    longest: float
    fewest: int
    most: int
    average: float


@dataclass(frozen=True)
class Peak:
    """One line: 2θ in degrees, relative intensity up to 100, d in Å, its planes h k l and how many of them.

    planes: families separated by commas, the strongest first
    """

    two_theta: float
    intensity: float
    d: float
    planes: str
    multiplicity: int


@dataclass(frozen=True)
class Powder:
    """The lines of a powder pattern by 2θ. group: whose symmetry the cell was refined onto; "" for the stored cell."""

    peaks: tuple[Peak, ...]
    group: str


def problem_of(lattice: np.ndarray, frac: np.ndarray) -> str:
    """Why a cell (3, 3) Å with sites (n, 3) cannot be drawn or described, as a sentence; "" where it can."""
    if not len(frac):
        return "The cell holds no atom."
    if not (np.isfinite(lattice).all() and np.isfinite(frac).all()):
        return "The cell or a coordinate is not a finite number: there is nothing to draw."
    lengths = np.linalg.norm(lattice, axis=1)
    if lengths.min() < 0.1 or abs(np.linalg.det(lattice / lengths[:, None])) < 1e-4:
        return "The cell is flat: it encloses no volume."
    if lengths.max() > 1000:
        return "The cell is longer than 1000 Å."
    return ""


def cell_as(structure: Structure, kind: str, symprec: float) -> Structure:
    """The same crystal in its primitive or conventional cell (spglib's setting, nothing moved), or as it is stored.

    Raises ValueError where no symmetry is found within `symprec` Å.
    """
    if kind == "stored":
        return structure
    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    try:
        found = spglib.standardize_cell(cell, to_primitive=kind == "primitive", no_idealize=True, symprec=symprec)
    except Exception as error:  # spglib raises its own kinds for cells it cannot handle
        raise ValueError(f"no symmetry is found within {symprec:g} Å") from error
    if found is None:
        raise ValueError(f"no symmetry is found within {symprec:g} Å")
    lattice, frac, numbers = found
    return Structure(Lattice(lattice), np.asarray(numbers).tolist(), frac)


def symmetry_of(structure: Structure, symprec: float) -> SymmetryFacts:
    """Space group and occupied Wyckoff positions within `symprec` Å, sites in spglib's standard setting.

    Raises ValueError where no symmetry is found.
    """
    found = _dataset((structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers), symprec)
    standard = _dataset((found.std_lattice, found.std_positions, found.std_types), symprec)
    orbits: dict[int, list[int]] = {}
    for i, first in enumerate(np.asarray(standard.crystallographic_orbits).tolist()):
        orbits.setdefault(first, []).append(i)
    sites = [
        Site(
            symbol(int(found.std_types[first])),
            len(members),
            str(standard.wyckoffs[first]),
            str(standard.site_symmetry_symbols[first]),
            *(float(v) for v in _first_of(np.asarray(found.std_positions)[members])),
        )
        for first, members in orbits.items()
    ]
    number = int(found.number)
    return SymmetryFacts(
        number,
        symbol_of(number),
        crystal_system_of(number),
        point_group_of(number),
        str(found.hall),
        tuple(sorted(sites, key=lambda s: (s.letter, s.element, s.x, s.y, s.z))),
    )


def _dataset(cell: Any, symprec: float) -> Any:
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except Exception as error:  # spglib raises its own kinds for cells it cannot handle
        raise ValueError(f"no symmetry is found within {symprec:g} Å") from error
    if found is None:
        raise ValueError(f"no symmetry is found within {symprec:g} Å")
    return found


def _first_of(positions: np.ndarray) -> np.ndarray:
    """The one of an orbit's positions that stands first when sorted, wrapped into [0, 1)."""
    wrapped = np.round(positions % 1.0, 6) % 1.0
    return wrapped[np.lexsort(wrapped.T[::-1])[0]]


def pair_distances(structure: Structure, neighbours: Neighbours) -> list[PairDistances]:
    """Bond lengths and coordination numbers by pair of elements, from each element's own point of view."""
    numbers = np.array(structure.atomic_numbers)
    rows = []
    for a in sorted(set(numbers.tolist())):
        sites = np.flatnonzero(numbers == a)
        for b in sorted(set(numbers.tolist())):
            chosen = (numbers[neighbours.site] == a) & (numbers[neighbours.other] == b)
            if not chosen.any():
                continue
            lengths = neighbours.distance[chosen]
            counts = np.bincount(neighbours.site[chosen], minlength=len(numbers))[sites]
            rows.append(
                PairDistances(
                    symbol(a),
                    symbol(b),
                    float(lengths.min()),
                    float(lengths.mean()),
                    float(lengths.max()),
                    int(counts.min()),
                    int(counts.max()),
                    float(counts.mean()),
                )
            )
    return sorted(rows, key=lambda row: row.shortest)


def powder_pattern(structure: Structure, symprec: float) -> Powder:
    """The X-ray powder pattern with copper Kα from 5° to 90°, by pymatgen; planes are those of the conventional cell.

    The cell is first refined onto the space group that it has within `symprec` Å, as `symmetry_of` finds it: atoms a
    few thousandths of an Å off would split every line. Where that fails, or the refined cell is too large, the cell is
    taken as it is. Reflections within `APART` degrees are one line either way.
    Raises ValueError for a cell of more than 400 sites, which takes too long.
    """
    cell, group = _refined(structure, symprec)
    if len(cell) > _MOST_SITES:
        cell, group = structure, ""
    if len(cell) > _MOST_SITES:
        raise ValueError(
            f"A powder pattern is computed for cells of up to {_MOST_SITES} atoms; this one has {len(cell)}."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pattern = XRDCalculator(wavelength=WAVELENGTH).get_pattern(cell, scaled=False, two_theta_range=(5, 90))
    rows = sorted(zip(pattern.x, pattern.y, pattern.d_hkls, pattern.hkls, strict=True), key=lambda row: float(row[0]))
    lines: list[list[Any]] = []
    for row in rows:
        if lines and row[0] - lines[-1][-1][0] < APART and row[0] - lines[-1][0][0] < _BROADEST:
            lines[-1].append(row)
        else:
            lines.append([row])
    strongest = max((sum(row[1] for row in line) for line in lines), default=1.0)
    return Powder(tuple(_line(line, float(strongest)) for line in lines), group)


def _refined(structure: Structure, symprec: float) -> tuple[Structure, str]:
    """The conventional cell moved onto its group, and "P6/mmm (191)"; the cell as it is and "" where it has none."""
    try:
        found = _dataset((structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers), symprec)
    except ValueError:
        return structure, ""
    number = int(found.number)
    if number == 1:  # nothing to be moved onto
        return structure, ""
    cell = Structure(Lattice(found.std_lattice), np.asarray(found.std_types).tolist(), found.std_positions)
    return cell, f"{symbol_of(number)} ({number})"


def _line(rows: list[Any], strongest: float) -> Peak:
    """Reflections (2θ, intensity, d, planes) as one line at their weighted middle."""
    weights = np.array([float(row[1]) for row in rows])
    families = sorted(
        (-round(float(row[1]) / weights.max(), 1), sum(v < 0 for v in hkl), [-v for v in hkl], _words(hkl))
        for row in rows
        for hkl in (_indices(plane["hkl"]) for plane in row[3])
    )
    return Peak(
        float(np.average([float(row[0]) for row in rows], weights=weights)),
        100 * float(weights.sum()) / strongest,
        float(np.average([float(row[2]) for row in rows], weights=weights)),
        ", ".join(list(dict.fromkeys(words for *_, words in families))[:4]),
        int(sum(plane["multiplicity"] for row in rows for plane in row[3])),
    )


def _indices(plane: Sequence[int]) -> tuple[int, int, int]:
    """h k l; of h k i l, whose first three may stand in any order, those of an equal family with h ≥ k ≥ 0."""
    if len(plane) == 4:
        k, h, _ = sorted(abs(int(v)) for v in plane[:3])
        return h, k, abs(int(plane[3]))
    return int(plane[0]), int(plane[1]), int(plane[2])


def _words(hkl: tuple[int, int, int]) -> str:
    """(1, 1, 1) -> "111", (1, -1, 10) -> "1 −1 10"."""
    gap = "" if all(0 <= v < 10 for v in hkl) else " "
    return gap.join(str(v).replace("-", "−") for v in hkl)
