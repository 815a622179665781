"""CIFs block by block: read as pymatgen reads them, or refused in a chemist's words.

pymatgen takes much that it cannot complete: without symmetry operations it keeps the listed atoms alone, it drops
atoms labelled OH, and HOh becomes holmium. So what it makes of a block is held against what the block itself says.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from pymatgen.core import Composition, DummySpecies, Element, Structure

from core.data.readers.records import Energies, Problem, Record, from_structure

Parsed = tuple[list[Record], list[Problem]]

_WORDS = (  # what pymatgen says -> what a chemist understands; {0} is the pattern's group
    (
        r"Occupancy ([\d.]+) exceeded",
        "a site is occupied {0} times over: the same position stands in it more than once",
    ),
    (r"'_atom_site_fract_\w'", "atoms have no fractional coordinates for all three axes"),
    (r"'_atom_site_\w+'", "it has no list of atoms (no _atom_site loop)"),
    (r"'_cell_(length|angle)_\w+'|reshape array", "it has no complete unit cell: a length or an angle is missing"),
    (r"not a multiple of|modulo by zero|zip\(\) argument", "a loop_ in it is broken: values are missing in its rows"),
    (r"[Ss]ingular matrix", "its cell has no volume"),
    (r"thickness", "its cell is thinner than 0.01 Å"),
    (r"division by zero", "its symmetry operations hold a fraction that cannot be read"),
    (r"could not convert string to float: (.{1,30})", "{0} stands where a number should be"),
    (r"Cannot parse coordinates on this line:(.{0,60})", "its line{0} is not three coordinates"),
    (r"out of bounds|out of range", "values are missing in it"),
    (r"NaN|infinity", "a number in it is not finite"),
    (r"[Mm]agn|[Mm]agmom|Time reversal", "its magnetic part cannot be read: write it as a plain CIF"),
    (r"Frame has (\d+) atoms, expected (\d+)", "the frame is cut off: it has {0} of {1} atoms"),
    (r"9-long numerical", "its Lattice is not nine numbers"),
    (
        r"[Ii]nvalid CIF|no structures",
        "it holds no complete structure: cell, symmetry or atoms are missing or contradict",
    ),
)
_CELL = tuple(f"_cell_{k}" for k in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"))
_NOTHING = ("", "?", ".")  # how a CIF says that a value is unknown
_AXES = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")
_GROUPS = r"OH|NO3|NH\d|H2O|H3O|CH\d|CN|O-H|[Ww]at"  # labels that stand for more than one atom
_HYDROXYL = r"O-?[Hh]|O[Ww]"
NO_SYMMETRY = "it lists no symmetry operations"
_LONGEST_NUMBER = 200
_SHARE = 0.02  # a formula and the atoms may differ by traces, which minerals have


def parse_cif(text: str, place: str, label: str, energies: Energies) -> Parsed:
    """Every data block of a CIF: the good ones, and the others with what is wrong.

    text: a whole CIF; energies: {method: (total, formation)} in eV/atom that stood beside it
    Blocks without a cell and atoms (what a journal wants to know) are passed over. Where there are several, labels end
    in "#2" and problems begin with "block 2". Raises Problem where there is one block and it is not good, or none.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise Problem("empty", "it is empty")
    if "_atom_site" not in text:
        raise Problem("unreadable", "it has no list of atoms (no _atom_site loop)")
    blocks = [
        (n, block) for n, block in enumerate(cif_blocks(text), 1) if re.search(r"_cell_length|_atom_site_", block)
    ]
    if not blocks:
        raise Problem("unreadable", "it has no data_ line, with which the blocks of a CIF begin")
    if len(blocks) == 1:
        return [from_structure(cif_structure(blocks[0][1]), place, label, energies)], []
    records: list[Record] = []
    problems: list[Problem] = []
    for number, block in blocks:
        try:
            records.append(from_structure(cif_structure(block), place, f"{label}#{number}", energies))
        except Problem as problem:
            problems.append(Problem(problem.reason, f"block {number}: {problem.detail}", place))
    return records, problems


def cif_blocks(text: str) -> list[str]:
    """The data blocks, cut where pymatgen cuts them; it loses all but the last of those that share a name."""
    parts = re.split(r"^\s*data_", f"x\n{text}", flags=re.MULTILINE)[1:]
    return [f"data_{part}" for part in parts if "powder_pattern" not in part.split("\n", 1)[0]]


def cif_structure(block: str) -> Structure:
    """The structure of one block as pymatgen reads it. Raises Problem, also where that contradicts the block."""
    from pymatgen.io.cif import CifParser

    if re.search(rf"[\d.]{{{_LONGEST_NUMBER}}}", block):  # which pymatgen's search for operations takes minutes over
        raise Problem("unreadable", f"a number in it has {_LONGEST_NUMBER} digits or more")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parser: Any = CifParser.from_str(block)
            data = next(iter(parser.as_dict().values()))
        except TimeoutError:  # of the row's time limit, not of pymatgen
            raise
        except Exception as error:
            raise Problem("unreadable", in_words(error)) from error
        _check_data(data)
        try:
            (structure,) = parser.parse_structures(primitive=False, on_error="ignore")
        except TimeoutError:
            raise
        except Exception as error:
            said = [w for w in parser.warnings if w.startswith("No structure parsed")]
            raise Problem("unreadable", in_words(said[0] if said else error)) from error
    check_elements(structure)
    if not structure.is_ordered:
        structure = _without_charges(structure)
    if structure.is_ordered:
        _check_content(structure, data, parser.warnings)
    return structure


def check_elements(structure: Structure) -> None:
    """Raises Problem for sites that are no element: dummies, isotopes (pymatgen gives deuterium the number of H)."""
    for site in structure:
        for species in site.species:
            name = str(getattr(getattr(species, "element", species), "name", species.symbol))
            if name in ("D", "T"):
                what = "deuterium" if name == "D" else "tritium"
                detail = f"the atom {site.label[:20]} is {what}: write H where the isotope does not matter"
                raise Problem("unknown element", detail, structure=structure)
            if isinstance(species, DummySpecies):
                raise Problem("unknown element", f"the atom {site.label[:20]} is {name[:10]}, which is no element")


def _without_charges(structure: Structure) -> Structure:
    """Fe2+ and Fe3+ on one site are one element there: mixed valence is no disorder of atoms."""
    plain = structure.copy()
    plain.remove_oxidation_states()
    return plain


def _check_data(data: Mapping[str, Any]) -> None:
    """Is everything there that a structure needs? Raises Problem that names what is not."""
    if not any(key in data for key in _CELL):
        raise Problem("unreadable", "it has no unit cell: its lengths and angles must be given")
    unknown = next((key for key in _CELL if key in data and str(data[key]).strip("'\" ") in _NOTHING), None)
    if unknown:  # keys that are not there follow from a cell setting, or pymatgen misses them
        raise Problem("unreadable", f"its unit cell is not complete: {unknown} has no value")
    labels = data.get("_atom_site_label") or data.get("_atom_site_type_symbol")
    if not labels:
        raise Problem("unreadable", "it has no list of atoms (no _atom_site loop)")
    labels = labels if isinstance(labels, list) else [labels]
    columns = [data.get(key) for key in _AXES]
    if not all(columns):
        kind = "Cartesian coordinates only" if "_atom_site_Cartn_x" in data else "no coordinates along all three axes"
        raise Problem("unreadable", f"its atoms have {kind}: fractional coordinates are needed")
    for name, xyz in zip(labels, zip(*columns, strict=False), strict=False):
        if any(str(v).strip() in _NOTHING for v in xyz):
            raise Problem("unreadable", f"the atom {name[:20]} has no coordinates")
    if any(key.startswith(("_space_group_ssg", "_cell_modulation", "_cell_wave_vector")) for key in data):
        raise Problem("modulated", "it is a modulated structure, which no single cell repeats: give a supercell")


def _check_content(structure: Structure, data: Mapping[str, Any], said: list[str]) -> None:
    """Do an ordered structure's atoms agree with what its CIF says of them? Raises Problem."""
    if any("implicit hydrogens" in text for text in said):
        raise Problem("incomplete", "hydrogen atoms of its water or OH have no positions: add them")
    if any("Defaulting to P1" in text for text in said):
        raise Problem("incomplete", _no_symmetry(data))
    agrees = _compare_formula(structure, data)
    if not agrees:  # nothing to hold the labels against
        _check_labels(structure, said)


def _no_symmetry(data: Mapping[str, Any]) -> str:
    names = (v for k, v in data.items() if re.match(r"_(symmetry_)?space_group_name", k) and isinstance(v, str))
    name = next((n.strip("'\" ")[:30] for n in names if n.strip("'\" ") not in _NOTHING), "")
    if name:
        return f"{NO_SYMMETRY}, and {name} is no space group that is known: list the operations"
    return f"{NO_SYMMETRY} and no known space group: write 'P 1' where the whole cell is listed"


def _compare_formula(structure: Structure, data: Mapping[str, Any]) -> bool:
    """Whether the CIF gives a formula that can be read; the atoms then make it, or Problem is raised."""
    text = data.get("_chemical_formula_sum")
    text = text.strip("'\" \n") if isinstance(text, str) else ""
    try:
        formula = Composition(text).element_composition
    except (ValueError, ArithmeticError, KeyError, TypeError):
        return False
    listed = structure.composition.element_composition
    elements = set(formula.elements) | set(listed.elements)
    if not formula or not elements or any(not isinstance(e, Element) for e in elements):
        return False
    wanted, found = formula.fractional_composition, listed.fractional_composition
    lost = [e.symbol for e in formula.elements if not found[e] and wanted[e] > _SHARE]
    if lost == ["H"]:
        raise Problem("incomplete", f"its formula {text[:60]} has hydrogen, but no H is placed: add the hydrogen atoms")
    if any(abs(wanted[e] - found[e]) > _SHARE for e in elements):
        made = listed.reduced_formula
        detail = f"its atoms make {made[:60]}, but its formula is {text[:60]}: atoms or symmetry are missing"
        raise Problem("incomplete", detail)
    return True


def _check_labels(structure: Structure, said: list[str]) -> None:
    """Without a formula: labels that pymatgen takes for another element, drops, or takes for one of several atoms."""
    hydrogen = Element("H") in structure.composition.element_composition
    for text in said:
        found = re.fullmatch(r"(\S+) parsed as ?(\w*)", text)
        if found is None:
            continue
        label, symbol = found.groups()
        letters = re.match(r"[A-Za-z]*", label).group()  # type: ignore[union-attr]  # matches everything
        other = len(symbol) == 2 and label[1:2].isupper() and letters.upper() != symbol.upper()
        other = other or symbol in ("Nh", "Cn", "Fl")  # NH, CN and fluorine, rather than what lives for seconds
        if re.match(_HYDROXYL, label) and symbol and not hydrogen:
            raise Problem("incomplete", f"the hydrogen atoms of {label[:20]} have no positions: add them")
        if not symbol or other or (re.match(_GROUPS, label) and not hydrogen):
            raise Problem("unknown element", f"the label {label[:20]} names no single element: write an element symbol")


def in_words(error: Exception | str) -> str:
    """What a reader complains of, where that is known; never its own text."""
    text = " ".join(str(error).split())
    for pattern, words in _WORDS:
        found = re.search(pattern, text)
        if found:
            return words.format(*[_number(g) for g in found.groups() if g])
    return "cell, symmetry or atoms cannot be read in it"


def _number(text: str) -> str:
    return text.removesuffix(".0")
