"""Single structures as people have them (CIF, POSCAR, extxyz, pymatgen JSON, AFLOW's REST text), in a chemist's words."""

from __future__ import annotations

import re
import warnings
from io import StringIO
from typing import Any

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from core.data.aflow.entries import as_row, parse_rest_text
from core.data.readers.records import Energies, Problem, Record, from_row, from_structure

Parsed = tuple[list[Record], list[Problem]]

_WORDS = (  # what pymatgen says -> what a chemist understands; {0} is the pattern's group
    (
        r"Occupancy ([\d.]+) exceeded",
        "a site is occupied {0} times over: the same position stands in it more than once",
    ),
    (r"'_atom_site_fract_\w'", "atoms have no fractional coordinates for all three axes"),
    (r"'_atom_site_\w+'", "it has no list of atoms (no _atom_site loop)"),
    (r"'_cell_(length|angle)_\w+'|reshape array", "the cell's lengths and angles are not all there"),
    (r"integer modulo by zero|division by zero", "its symmetry operations hold a fraction that cannot be read"),
    (r"could not convert string to float: (.{1,30})", "{0} stands where a number should be"),
    (
        r"[Ii]nvalid CIF|no structures",
        "it holds no complete structure: cell, symmetry or atoms are missing or contradict",
    ),
)


def parse_cif(text: str, place: str, label: str, energies: Energies) -> Parsed:
    """Every data block of a CIF: the good ones, and the others with what is wrong. Raises Problem where none is good."""
    from pymatgen.io.cif import CifParser

    if not text.strip():
        raise Problem("empty", "it is empty")
    if "_atom_site" not in text:
        raise Problem("unreadable", "it has no list of atoms (no _atom_site loop)")
    try:
        parser = CifParser.from_str(text)
    except Exception as error:
        raise Problem("unreadable", in_words(error)) from error
    try:
        structures = parser.parse_structures(primitive=False, on_error="ignore")
    except Exception as error:
        said = [w for w in parser.warnings if w.startswith("No structure parsed")]
        raise Problem("unreadable", in_words(said[0] if said else error)) from error
    problems = _lost_blocks(parser.warnings)
    records: list[Record] = []
    single = len(structures) + len(problems) == 1
    for number, structure in enumerate(structures, 1):
        try:
            records.append(from_structure(structure, place, label if single else f"{label}#{number}", energies))
        except Problem as problem:
            if single:
                raise
            problems.append(Problem(problem.reason, f"structure {number}: {problem.detail}", place))
    if not records:
        raise problems[0]
    return records, problems


def parse_poscar(text: str, place: str, label: str, energies: Energies) -> Parsed:
    """VASP's POSCAR or CONTCAR. Raises Problem."""
    from pymatgen.io.vasp import Poscar

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            structure = Poscar.from_str(text).structure
        except Exception as error:
            raise Problem("unreadable", f"it is no POSCAR: {in_words(error)}") from error
    if any("cannot be determined" in str(w.message) for w in said):
        raise Problem("unknown element", "it names no elements (VASP 4 form): write them in line 6, above the counts")
    return [from_structure(structure, place, label, energies)], []


def parse_extxyz(text: str, place: str, label: str, method: str) -> Parsed:
    """One frame of extended XYZ; an `energy` in it is the cell's total energy in eV. Raises Problem."""
    from ase.io import read

    try:
        atoms: Any = read(StringIO(text), index=0, format="extxyz")
    except Exception as error:
        raise Problem("unreadable", f"it is no extended XYZ: {in_words(error)}") from error
    if not atoms.pbc.all() or abs(atoms.cell.volume) < 1e-6:
        raise Problem("not periodic", "it is no crystal: the frame has no cell that repeats in all three directions")
    energy = atoms.calc.results.get("energy") if atoms.calc else None
    energies: Energies = {method: (float(energy) / len(atoms), None)} if energy is not None else {}
    structure = Structure(Lattice(np.array(atoms.cell)), atoms.get_atomic_numbers(), atoms.get_scaled_positions())
    name = str(atoms.info.get("id") or atoms.info.get("name") or label)
    return [from_structure(structure, place, name[:200], energies)], []


def parse_pymatgen(value: Any, place: str, label: str, method: str) -> Parsed:
    """A pymatgen Structure or ComputedStructureEntry as a dictionary, read key by key: nothing in it is imported.

    An entry's energy (eV per cell, correction included) is the total energy by `method` or the entry's run type.
    """
    energies: Energies = {}
    if isinstance(value, dict) and isinstance(value.get("structure"), dict):
        entry, value = value, value["structure"]
        label = str(entry.get("entry_id") or label)[:200]
        parameters = entry.get("parameters") or {}
        name = method or str(parameters.get("run_type", "") if isinstance(parameters, dict) else "")
        total, correction = entry.get("energy"), entry.get("correction") or 0.0
        if isinstance(total, (int, float)) and isinstance(correction, (int, float)) and value.get("sites"):
            energies[name[:64]] = ((total + correction) / len(value["sites"]), None)
    try:
        lattice = Lattice(np.array(value["lattice"]["matrix"], dtype=float))
        species = [{_symbol(s["element"]): float(s["occu"]) for s in site["species"]} for site in value["sites"]]
        coords = np.array([site["abc"] for site in value["sites"]], dtype=float)
        structure = Structure(lattice, species, coords)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Problem("unreadable", "it is no pymatgen structure with lattice, sites and species") from error
    return [from_structure(structure, place, label, energies)], []


def parse_aflow_text(text: str, place: str, method: str) -> Parsed:
    """AFLOW's REST `key=value` text or page. Raises Problem."""
    entry = parse_rest_text(text)
    if not entry:
        raise Problem("unreadable", "it holds no AFLOW entry (no key=value pairs with a geometry)")
    return [from_row(as_row(entry), place, method)], []


def in_words(error: Exception | str) -> str:
    """A reader's complaint without its internals."""
    text = " ".join(str(error).split())
    for pattern, words in _WORDS:
        found = re.search(pattern, text)
        if found:
            return words.format(*[g for g in found.groups() if g])
    text = re.sub(r"^No structure parsed for section \d+ in CIF\. ?", "", text)
    plain = re.search(r"[a-z]{3,} [a-z]{2,}", text) and not re.search(r"[<>{}\[\]()_]|0x|Error|object", text)
    return text[:160] if plain else "cell, symmetry or atoms cannot be read in it"


def _lost_blocks(said: list[str]) -> list[Problem]:
    found = []
    for text in said:
        number = re.match(r"No structure parsed for section (\d+) in CIF\.\s*(.*)", text, re.DOTALL)
        if number:
            found.append(Problem("unreadable", f"block {number.group(1)}: {in_words(number.group(2))}"))
    return found


def _symbol(name: Any) -> Element:
    """ "Fe", "Fe3+" -> the element. Raises ValueError."""
    found = re.match(r"[A-Z][a-z]?", str(name))
    return Element(found.group()) if found else Element("?")
