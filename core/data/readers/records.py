"""What a reader gives: records ready for the store, and problems in words."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from pymatgen.core import Composition, Element, Structure

from core.crystals import Crystals, lattice_from_parameters, pack_cells, wrap
from core.data.arrays import SPLITS
from core.data.formulas import parse_formula
from core.data.rows import cell_content, describe_composition, finite
from core.data.symmetry import detect_group

MAX_SITES = 1000
CLOSE = 1e-3  # Å: two atoms nearer than this are the same atom twice
NAMES = {element.symbol: element.Z for element in Element}


Energies = dict[str, tuple[float | None, float | None]]  # method -> (total, formation), eV/atom


@dataclass(eq=False)  # raised, so neither frozen nor compared
class Problem(Exception):
    """A row that is not taken. reason: a short word to count by; detail: a sentence.

    structure: what pymatgen read, where it is only its atoms that cannot be used
    """

    reason: str
    detail: str
    place: str = ""
    structure: Structure | None = None


@dataclass(frozen=True)
class Record:
    """One structure ready for the store.

    energies: {method: (total, formation)} in eV/atom; volume: Å³ per atom; closest: shortest distance in Å
    split: "train", "val" or "test" where the row says so
    """

    place: str
    label: str
    formula: str
    chemical_system: str
    natoms: int
    space_group: int
    cell: bytes
    energies: Energies = field(default_factory=dict)
    volume: float = math.nan
    closest: float = math.nan
    split: str = ""


def from_row(row: Any, place: str, method: str) -> Record:
    """A row with AFLOW's keys (JSON lines, CSV). Raises Problem.

    species, composition, geometry and positions_fractional are required; `method` names the energy where the row
    does not (`energy_source`), and `energies` may hold more.
    """
    if not isinstance(row, dict):
        raise Problem("malformed", "it is no JSON object with keys")
    row = with_species(row)
    missing = [k for k in ("species", "composition", "geometry", "positions_fractional") if row.get(k) is None]
    if missing:
        raise Problem("missing keys", f"it has no {', '.join(missing)}")
    numbers = _numbers(row["species"], row["composition"])
    frac = _floats(row["positions_fractional"], "positions_fractional", (len(numbers), 3))
    geometry = _floats(row["geometry"], "geometry", (6,))
    try:
        lattice = lattice_from_parameters(torch.from_numpy(geometry)[None])
    except ValueError as error:
        shown = ", ".join(f"{v:g}" for v in geometry)
        raise Problem("impossible cell", f"no cell has the geometry {shown}") from error
    label = str(row.get("auid") or row.get("material_id") or row.get("id") or "")[:200]
    group = row.get("spacegroup_relax")
    record = _record(place, label, numbers, frac, lattice[0].numpy(), group, energies_of(row, method))
    return replace(record, split=split_of(row))


def from_structure(structure: Structure, place: str, label: str, energies: Energies) -> Record:
    """A pymatgen structure (from a CIF). Raises Problem, in words, where it is disordered."""
    for number, site in enumerate(structure, 1):
        if not site.is_ordered:
            raise Problem("disordered", _disorder(number, site.species), structure=structure)
    try:
        numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
    except (AttributeError, TypeError) as error:
        raise Problem("unknown element", "it holds a site that is no element") from error
    frac, lattice = np.array(structure.frac_coords), np.array(structure.lattice.matrix)
    try:
        return _record(place, label, numbers, frac, lattice, None, energies)
    except Problem as problem:
        problem.structure = structure
        raise


def is_possible(volume: float) -> bool:
    """May a cell hold so many Å³?"""
    return 0.1 < volume < 1e7


def _record(
    place: str,
    label: str,
    numbers: np.ndarray,
    frac: np.ndarray,
    lattice: np.ndarray,
    group: Any,
    energies: Energies,
) -> Record:
    if not len(numbers):
        raise Problem("empty", "it holds no atom")
    if len(numbers) > MAX_SITES:
        raise Problem("too large", f"it has {len(numbers)} atoms, more than {MAX_SITES}")
    if not (np.isfinite(frac).all() and np.isfinite(lattice).all()):
        raise Problem("not a number", "a coordinate is not a finite number")
    volume = abs(float(np.linalg.det(lattice)))
    if not is_possible(volume):
        raise Problem("impossible cell", f"its cell holds {volume:.3g} Å³")
    wrapped = wrap(torch.from_numpy(frac))
    closest = _check_distances(wrapped.numpy(), lattice)
    crystals = Crystals(
        wrapped[None],
        torch.from_numpy(lattice)[None],
        torch.from_numpy(numbers)[None],
        torch.zeros(1, dtype=torch.int64),
        torch.full((1,), math.nan, dtype=torch.float64),
    )
    cell = pack_cells(crystals)[0]
    formula, system, _ = describe_composition(cell_content(numbers))
    known = isinstance(group, (int, float)) and not isinstance(group, bool) and 1 <= group <= 230
    found = int(group) if known else detect_group(crystals, 0)
    label = label or f"sha1:{hashlib.sha1(cell).hexdigest()[:16]}"
    return Record(place, label, formula, system, len(numbers), found, cell, energies, volume / len(numbers), closest)


def _disorder(number: int, species: Composition) -> str:
    shares = [(s.symbol, amount) for s, amount in sorted(species.items())]
    if len(shares) == 1:
        what = f"only {shares[0][1]:g} occupied by {shares[0][0]}"
    else:
        what = "occupied by " + " / ".join(f"{symbol} {amount:g}" for symbol, amount in shares)
    return f"site {number} is {what}: disordered structures cannot be used here"


def closest_approach(frac: np.ndarray, lattice: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(B, N, 3) in [0, 1), (B, 3, 3) Å, (B, N) bool -> (B,) shortest distance in Å between two atoms or to an image.

    Images are the nearest in fractional coordinates: exact for distances below half the spacing of the cell's planes.
    """
    shortest = np.linalg.norm(lattice, axis=2).min(1)
    first, second = np.triu_indices(frac.shape[1], 1)
    if not len(first):
        return shortest
    small = frac.astype(np.float32)
    delta = small[:, first] - small[:, second]
    delta -= np.rint(delta)
    squared = ((delta @ lattice.astype(np.float32)) ** 2).sum(-1)
    squared[~(mask[:, first] & mask[:, second])] = np.inf
    closest: np.ndarray = np.minimum(shortest, np.sqrt(squared.min(1)))
    return closest


def _check_distances(frac: np.ndarray, lattice: np.ndarray) -> float:
    """The shortest distance in Å. Raises Problem where two atoms stand at the same place."""
    count = len(frac)
    closest = float(closest_approach(frac[None], lattice[None], np.ones((1, count), dtype=bool))[0])
    if closest < CLOSE and count > 1:
        delta = frac[:, None] - frac[None]
        delta -= np.rint(delta)
        squared = ((delta @ lattice) ** 2).sum(-1) + np.diag(np.full(count, np.inf))
        i, j = sorted(divmod(int(squared.argmin()), count))
        raise Problem("same place", f"atoms {i + 1} and {j + 1} stand at the same place")
    return closest


def _numbers(species: Any, composition: Any) -> np.ndarray:
    """Atomic number per site from AFLOW's species and counts."""
    if not isinstance(species, list) or not isinstance(composition, list) or len(species) != len(composition):
        raise Problem("malformed", "species and composition are not two lists of one length")
    unknown = [str(s) for s in species if not isinstance(s, str) or s not in NAMES]
    if unknown:
        raise Problem("unknown element", f"{unknown[0][:20]!r} is no element")
    try:
        counts = [int(c) for c in composition]
    except (TypeError, ValueError, OverflowError) as error:
        raise Problem("malformed", "composition holds something that is no number") from error
    if not counts or min(counts) < 1 or sum(counts) > MAX_SITES:
        raise Problem("malformed", f"composition holds {sum(counts)} atoms; 1 to {MAX_SITES} can be used")
    return np.repeat([NAMES[s] for s in species], counts).astype(np.int64)


def _floats(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Problem("malformed", f"{name} holds something that is no number") from error
    if array.shape != shape:
        wanted, got = " × ".join(map(str, shape)), " × ".join(map(str, array.shape))
        raise Problem("malformed", f"{name} is {got or 'one number'}, expected {wanted}")
    if not np.isfinite(array).all():
        raise Problem("not a number", f"{name} holds a value that is not a finite number")
    return array


def with_species(row: dict[str, Any]) -> dict[str, Any]:
    """A row that names its content by formula alone, as the paper's files do: species in AFLOW's order, alphabetical.

    Raises Problem where the formula does not fit the number of positions.
    """
    positions, formula = row.get("positions_fractional"), row.get("compound") or row.get("pretty_formula")
    if row.get("species") or not isinstance(positions, list) or not isinstance(formula, str):
        return row
    try:
        counts = parse_formula(formula)
    except ValueError as error:
        raise Problem("unknown element", f"its formula {formula[:40]!r} cannot be read") from error
    units, rest = divmod(len(positions), sum(counts.values()))
    if rest or not units:
        raise Problem("malformed", f"{len(positions)} positions do not fit the formula {formula[:40]}")
    return {**row, "species": sorted(counts), "composition": [counts[s] * units for s in sorted(counts)]}


def split_of(row: Mapping[str, Any]) -> str:
    """The part that a row names for itself, "" where it names none that is known."""
    part = row.get("split")
    return part if isinstance(part, str) and part in SPLITS else ""


def energies_of(row: Mapping[str, Any], method: str) -> Energies:
    """{method: (total, formation)} in eV/atom of a row; `method` names energies without a source."""
    energies: Energies = {}
    first = str(row.get("energy_source") or method)[:64]
    more = row.get("energies")
    if isinstance(more, dict):
        for name, values in more.items():
            if isinstance(values, dict):
                energies[str(name)[:64]] = (finite(values.get("total")), finite(values.get("formation")))
    known = (finite(row.get("energy_atom")), finite(row.get("enthalpy_formation_atom")))
    if known != (None, None):
        energies.setdefault(first, known)
    ordered = sorted(energies.items(), key=lambda item: item[0] != first)  # the row's own method comes first
    return {name: values for name, values in ordered if values != (None, None)}
