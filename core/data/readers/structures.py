"""Single structures as people have them: CIF, POSCAR, extxyz, pymatgen JSON, AFLOW's REST text."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from io import StringIO
from typing import Any

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from core.data.aflow.entries import as_row, parse_rest_text
from core.data.readers.cif import Parsed, check_elements, in_words, parse_cif
from core.data.readers.records import MAX_SITES, Energies, Problem, from_row, from_structure

__all__ = ["Parsed", "parse_aflow_text", "parse_cif", "parse_extxyz", "parse_poscar", "parse_pymatgen", "parse_text"]

_COLUMNS = 1000  # of one property of an extended XYZ


def parse_text(kind: str, text: str, place: str, label: str, method: str, energies: Energies | None = None) -> Parsed:
    """The structures of a text of some kind: "cif", "poscar", "extxyz", "pymatgen" or "aflow". Raises Problem.

    method: names energies in the text that have no name; energies: {method: (total, formation)} in eV/atom that stood
    beside it, of a CIF or POSCAR
    """
    if kind == "cif":
        return parse_cif(text, place, label, energies or {})
    if kind == "poscar":
        return parse_poscar(text, place, label, energies or {})
    if kind == "extxyz":
        return parse_extxyz(text, place, label, method)
    if kind == "pymatgen":
        return parse_pymatgen(_json(text), place, label, method)
    if kind == "aflow":
        return parse_aflow_text(text, place, method)
    raise ValueError(f"no kind of structure is called {kind!r}")


def parse_poscar(text: str, place: str, label: str, energies: Energies) -> Parsed:
    """VASP's POSCAR or CONTCAR. Raises Problem."""
    from pymatgen.io.vasp import Poscar

    text = text.removeprefix("\ufeff")
    for line in text.split("\n", 100)[5:100]:  # counts may go on over lines; coordinates are never that large
        counts = line.split()
        if counts and all(c.isdecimal() for c in counts):
            _check_size(sum(_count(c) for c in counts))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            structure = Poscar.from_str(text).structure
        except TimeoutError:  # of the row's time limit
            raise
        except Exception as error:
            raise Problem("unreadable", f"it is no POSCAR: {in_words(error)}") from error
    if any("cannot be determined" in str(w.message) for w in said):
        raise Problem("unknown element", "it names no elements (VASP 4 form): write them in line 6, above the counts")
    check_elements(structure)
    return [from_structure(structure, place, label, energies)], []


def parse_extxyz(text: str, place: str, label: str, method: str) -> Parsed:
    """One frame of extended XYZ; an `energy` in it is the cell's total energy in eV. Raises Problem.

    Frames of a bundle also name `energy_method`, and `formation_energy_per_atom` in eV/atom.
    """
    from ase.io import read

    first = text.split("\n", 1)[0].strip()
    if first.isdecimal():
        _check_size(_count(first))
    if first.strip("0") == "":
        raise Problem("empty", "the frame has no atoms")
    _check_columns(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms: Any = read(StringIO(text), index=0, format="extxyz")
    except TimeoutError:
        raise
    except KeyError as error:
        raise Problem("unknown element", f"{str(error.args[0])[:20]} is no element") from error
    except Exception as error:
        raise Problem("unreadable", f"it is no extended XYZ: {in_words(error)}") from error
    if not atoms.pbc.all() or abs(atoms.cell.volume) < 1e-6:
        raise Problem("not periodic", "it is no crystal: the frame has no cell that repeats in all three directions")
    numbers = atoms.get_atomic_numbers()
    if not numbers.all():
        raise Problem("unknown element", f"atom {int(np.argmin(numbers)) + 1} is X, which is no element")
    energy = _finite(atoms.calc.results.get("energy")) if atoms.calc else None
    known = (energy / len(atoms) if energy is not None else None, _finite(atoms.info.get("formation_energy_per_atom")))
    own = str(atoms.info.get("energy_method") or method)[:64]
    energies: Energies = {own: known} if known != (None, None) else {}
    try:
        structure = Structure(Lattice(np.array(atoms.cell)), numbers, atoms.get_scaled_positions())
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise Problem("not a number", "a coordinate or the cell is not a finite number") from error
    name = str(atoms.info.get("id") or atoms.info.get("name") or label)
    return [from_structure(structure, place, name[:200], energies)], []


def _check_columns(text: str) -> None:
    """Before ASE makes room for what the frame says of its columns. Raises Problem."""
    comment = [*text.split("\n", 2), "", ""][1]
    for named in re.findall(r"(?i)properties[\"'\s]*=\s*(\"[^\"]*\"|'[^']*'|\{[^}]*\}|\S+)", comment):
        if any(_count(n) > _COLUMNS for n in re.findall(r"\d+", named)):
            raise Problem("unreadable", f"its Properties name more than {_COLUMNS} columns at once")


def parse_pymatgen(value: Any, place: str, label: str, method: str) -> Parsed:
    """A pymatgen Structure or ComputedStructureEntry as a dictionary, or a list of them. Raises Problem.

    It is read key by key: nothing that it names is imported. An entry's energy (eV per cell, correction included) is
    the total energy by `method`, or by the entry's run type where no method is given. Of a list, what is good is taken.
    """
    if not isinstance(value, list):
        return _from_dictionary(value, place, label, method)
    parsed: Parsed = ([], [])
    for number, item in enumerate(value, 1):
        try:
            parsed[0].extend(_from_dictionary(item, place, f"{label}-{number}", method)[0])
        except Problem as problem:
            parsed[1].append(Problem(problem.reason, f"entry {number}: {problem.detail}", place))
    return parsed


def parse_aflow_text(text: str, place: str, method: str) -> Parsed:
    """AFLOW's REST `key=value` text or page. Raises Problem."""
    entry = parse_rest_text(text)
    if not entry:
        raise Problem("unreadable", "it holds no AFLOW entry (no key=value pairs with a geometry)")
    return [from_row(as_row(entry), place, method)], []


def _from_dictionary(value: Any, place: str, label: str, method: str) -> Parsed:
    if not isinstance(value, dict):
        raise Problem("malformed", "it is no JSON object with keys")
    energies: Energies = {}
    if isinstance(value.get("structure"), dict):
        entry, value = value, value["structure"]
        label = str(entry.get("entry_id") or label)[:200]
        energies = _entry_energies(entry, value.get("sites"), method)
    elif "sites" not in value and "composition" in value:
        raise Problem(
            "missing keys", "it is an energy without a structure (ComputedEntry): save ComputedStructureEntry"
        )
    elif "sites" in value and not isinstance(value.get("lattice"), dict):
        raise Problem("not periodic", "it is no crystal: it has sites, but no lattice")
    structure = _structure(value)
    check_elements(structure)
    return [from_structure(structure, place, label, energies)], []


def _entry_energies(entry: Mapping[str, Any], sites: Any, method: str) -> Energies:
    """{method: (total in eV/atom, None)} of a ComputedStructureEntry, {} where it has no energy."""
    parameters = entry.get("parameters")
    run_type = parameters.get("run_type") if isinstance(parameters, dict) else None
    total, correction = _finite(entry.get("energy")), _finite(entry.get("correction")) or 0.0
    if total is None or not isinstance(sites, list) or not sites:
        return {}
    return {(method or str(run_type or ""))[:64]: ((total + correction) / len(sites), None)}


def _structure(value: Mapping[str, Any]) -> Structure:
    """Structure.as_dict's lattice, species and fractional coordinates. Raises Problem."""
    try:
        sites = list(value["sites"])
        _check_size(len(sites))
        lattice = Lattice(np.array(value["lattice"]["matrix"], dtype=float))
        species = [[(_element(s["element"]), float(s["occu"])) for s in site["species"]] for site in sites]
        coords = np.array([site["abc"] for site in sites], dtype=float)
        for number, site_species in enumerate(species, 1):
            amount = sum(share for _, share in site_species)
            if not site_species or not 0 < amount < 1 + 1e-6:
                raise Problem("unreadable", f"site {number} is occupied {amount:g} times; 1 is wanted")
        merged = [{e: sum(share for f, share in some if f == e) for e, _ in some} for some in species]
        return Structure(lattice, merged, coords)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, np.linalg.LinAlgError) as error:
        raise Problem("unreadable", "it is no pymatgen structure with lattice, sites and species") from error


def _element(name: Any) -> Element:
    """ "Fe", "Fe3+" -> the element. Raises Problem."""
    found = re.match(r"[A-Z][a-z]?(?![a-z])", name) if isinstance(name, str) else None
    if found is None or not Element.is_valid_symbol(found.group()):
        raise Problem("unknown element", f"{str(name)[:20]} is no element")
    return Element(found.group())


def _check_size(count: int) -> None:
    """Before memory is taken for them. Raises Problem."""
    if count > MAX_SITES:
        raise Problem("too large", f"it has {count} atoms, more than {MAX_SITES}")


def _count(digits: str) -> int:
    return int(digits[:12])  # what is longer is too large all the same


def _finite(value: Any) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        return None
    return float(value) if math.isfinite(value) else None


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise Problem("malformed", f"it is no JSON: {error}") from error
