"""A structure to start from: what a file or a pasted text holds, and what can be done where it is not fit for use.

CIF, POSCAR and CONTCAR, extended XYZ and pymatgen's JSON, told apart by what stands in them. What the readers of
`core.data.readers` refuse is refused here in the same words, with a remedy where there is one; the user decides.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any

import numpy as np
import spglib
from pymatgen.core import Element, Structure

from core.crystals import Crystals, from_structures
from core.data.readers.cif import NO_SYMMETRY, cif_blocks, cif_structure
from core.data.readers.records import Problem, from_structure, is_possible
from core.data.readers.sources import KINDS, SourceError, kind_of, rows_of_text
from core.data.readers.structures import parse_text

MAX_TEXT = 2_000_000  # characters
MAX_FOUND = 50  # structures of one file
NEAR = 0.5  # Å: no two atoms are so near in a crystal
REMEDIES = {
    "order": "Choose an ordering",
    "p1": "Read it as P1: the listed atoms are all of them",
    "hydrogen": "Take deuterium and tritium for hydrogen",
    "merge": "Merge atoms of one element that are nearer than 0.5 Å",
}
_FEW = 150  # numbers in a text that is read at once
CELLS = ("given", "primitive", "conventional")
_P1 = """_symmetry_space_group_name_H-M 'P 1'
_symmetry_Int_Tables_number 1
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
"""


class StartError(ValueError):
    """A text that holds no structure; the message is a sentence."""


@dataclass(frozen=True)
class Found:
    """One structure of a text.

    structure: as read, perhaps with shared sites; None where nothing could be read
    problem: why it cannot be used as it is, "" where it can; remedies: keys of `REMEDIES` that may mend it
    notes: what had to be decided to read it, in sentences
    """

    label: str
    structure: Structure | None
    problem: str = ""
    remedies: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The label with the formula."""
        return f"{self.label}: {self.structure.formula}" if self.structure else self.label


def recognise(text: str, name: str = "") -> str:
    """ "cif", "poscar", "extxyz" or "json" by the text, else by the file's name; "" for none of them."""
    head = text.lstrip("\ufeff \t\r\n")[:1]
    lines = text.removeprefix("\ufeff").strip("\n").split("\n", 6)
    if head in ("{", "["):
        return "json"
    if re.search(r"^\s*(data_\S|_cell_length_a|_atom_site_)", text[:100_000], re.MULTILINE):
        return "cif"
    if lines[0].strip().isdecimal() and len(lines) > 2:
        return "extxyz"
    if len(lines) > 5 and _numbers(lines[1]) in (1, 3) and all(_numbers(line) >= 3 for line in lines[2:5]):
        return "poscar"
    kind = kind_of(name) if name else ""
    return {"json file": "json"}.get(kind, kind) if kind in ("cif", "poscar", "extxyz", "json file") else ""


def _numbers(line: str) -> int:
    """How many numbers a line begins with."""
    count = 0
    for word in line.split()[:4]:
        if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?", word):
            break
        count += 1
    return count


def read_structures(text: str, name: str, remedies: Iterable[str] = ()) -> list[Found]:
    """Every structure of a text, those that cannot be used with what is wrong; at most `MAX_FOUND`.

    name: of the file, or what stands for it; remedies: keys of `REMEDIES` that the user chose.
    Raises StartError where the text is none of the formats, is too long, or holds nothing.
    """
    if not text.strip("\ufeff \t\r\n"):
        raise StartError(f"{name} is empty: give a CIF, a POSCAR or an extended XYZ.")
    if len(text) > MAX_TEXT:
        raise StartError(f"{name} is longer than {MAX_TEXT // 10**6} MB: give one structure alone.")
    kind = recognise(text, name)
    if not kind:
        raise StartError(
            f"{name}: it is none of CIF, POSCAR (CONTCAR), extended XYZ or pymatgen's JSON. A CIF begins with data_, "
            "an XYZ with its number of atoms, a POSCAR has a scale in line 2 and the cell in lines 3 to 5."
        )
    chosen = frozenset(remedies)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _of_cif(text, name, chosen) if kind == "cif" else _of_others(text, name, kind, chosen)
    if not found:
        raise StartError(f"{name} holds no structure.")
    return found


def _of_cif(text: str, name: str, remedies: frozenset[str]) -> list[Found]:
    text = text.removeprefix("\ufeff")
    if not re.search(r"^\s*data_", text, re.MULTILINE):
        text = f"data_pasted\n{text}"  # a CIF whose first line was not copied
    blocks = [b for b in cif_blocks(text) if re.search(r"_cell_length|_atom_site_", b)][:MAX_FOUND]
    return [_of_block(b, _stem(name) if len(blocks) == 1 else f"block {i}", remedies) for i, b in enumerate(blocks, 1)]


def _of_block(block: str, label: str, remedies: frozenset[str]) -> Found:
    """One data block of a CIF. Where it says nothing of symmetry, its atoms are taken for all of them."""
    try:
        return _judged(cif_structure(block), label, remedies)
    except Problem as problem:
        if not problem.detail.startswith(NO_SYMMETRY):
            return _mended(problem, label, remedies)
        known = "known space group" in problem.detail.removeprefix(NO_SYMMETRY)[:30]
        if not (known or "p1" in remedies):
            return Found(label, None, _sentence(problem), ("p1",))
    try:
        head, _, body = block.partition("\n")
        found = _judged(cif_structure(f"{head}\n{_P1}{body}"), label, remedies)
    except Problem as problem:
        found = _mended(problem, label, remedies)
    note = "The CIF lists no symmetry: it was read as P1, and the space group found in it. Are all atoms listed?"
    return Found(found.label, found.structure, found.problem, found.remedies, (note, *found.notes))


def _of_others(text: str, name: str, kind: str, remedies: frozenset[str]) -> list[Found]:
    named = name if kind_of(name) in KINDS.values() else f"{name}.{kind}"
    try:
        rows = rows_of_text(text, named, "json file" if kind == "json" else kind)
    except SourceError as error:
        raise StartError(str(error)) from error
    found = []
    for row in rows[:MAX_FOUND]:
        label = _stem(name) if len(rows) == 1 else row.place
        try:
            if row.kind in ("too long", "unreadable"):
                raise Problem(row.kind, row.text or "it is too long")
            found.append(_judged(_parsed(row.kind, row.text, row.place), label, remedies))
        except Problem as problem:
            found.append(_mended(problem, label, remedies))
    return found


def _parsed(kind: str, text: str, place: str) -> Structure:
    """The structure of one row that is no CIF. Raises Problem."""
    from core.crystals import to_structures, unpack_cells

    if kind == "json":
        import orjson

        from core.data.readers.records import from_row

        records = [from_row(orjson.loads(text), place, "")]
    else:
        records, problems = parse_text(kind, text, place, place, "")
        if not records:
            raise problems[0] if problems else Problem("empty", "it holds no structure")
    return to_structures(unpack_cells([records[0].cell]))[0]


def _judged(structure: Structure, label: str, remedies: frozenset[str]) -> Found:
    """A structure that could be read: can it be used?"""
    if "hydrogen" in remedies:
        structure = _as_hydrogen(structure)
    notes: list[str] = []
    if "merge" in remedies:
        before = len(structure)
        structure = merge_near(structure)
        if len(structure) < before:
            notes.append(f"{before - len(structure)} of {before} atoms were merged with others of their element.")
    try:
        record = from_structure(structure, label, label, {})
    except Problem as problem:
        problem.structure = structure
        found = _mended(problem, label, remedies - {"hydrogen", "merge"})
        return Found(found.label, found.structure, found.problem, found.remedies, (*notes, *found.notes))
    if record.closest < NEAR:
        notes.append(f"Two atoms are {record.closest:.2f} Å apart, nearer than in any crystal.")
        return Found(
            label, structure, "", ("merge",) if len(merge_near(structure)) < len(structure) else (), tuple(notes)
        )
    return Found(label, structure, "", (), tuple(notes))


def _mended(problem: Problem, label: str, remedies: frozenset[str]) -> Found:
    """A structure that was refused, mended as the user chose, else with what can be done."""
    structure, sentence = problem.structure, _sentence(problem)
    if structure is None:
        return Found(label, None, sentence)
    if problem.reason == "unknown element":
        if "hydrogen" in remedies:
            return _judged(structure, label, remedies)
        return Found(label, None, sentence, ("hydrogen",))
    if problem.reason == "disordered":
        return Found(label, structure, sentence, ("order",))
    if problem.reason == "same place" and "merge" in remedies:
        return _judged(structure, label, remedies)
    if problem.reason == "same place":
        fits = len(merge_near(structure)) < len(structure)
        more = "" if fits else " If they share the site, give each an occupancy below 1."
        return Found(label, structure, sentence + more, ("merge",) if fits else ())
    return Found(label, structure, sentence)


def _sentence(problem: Problem) -> str:
    text = problem.detail.replace(": disordered structures cannot be used here", "")
    return f"{text[:1].upper()}{text[1:]}."


def _as_hydrogen(structure: Structure) -> Structure:
    plain = structure.copy()
    plain.replace_species({"D": "H", "T": "H"}, in_place=True)
    return plain


def merge_near(structure: Structure) -> Structure:
    """Atoms of one element that are nearer than `NEAR` Å become one, half-way; shared sites are left alone."""
    if not structure.is_ordered or len(structure) > 1000 or not is_possible(structure.volume):
        return structure
    near = structure.distance_matrix < NEAR
    numbers = np.array(structure.atomic_numbers)
    if (near & (numbers[:, None] != numbers[None])).any():
        return structure
    merged = structure.copy()
    merged.merge_sites(tol=NEAR, mode="average")
    return merged


def in_cell(structure: Structure, kind: str, symprec: float = 0.01) -> Structure:
    """The same crystal in another cell of `CELLS`, atoms left where they are; as given where spglib finds none.

    primitive and conventional: spglib's standard cells without idealisation; symprec in Å
    """
    if kind == "given":
        return structure
    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    try:
        found = spglib.standardize_cell(cell, to_primitive=kind == "primitive", no_idealize=True, symprec=symprec)
    except Exception:  # spglib 2.8 raises where earlier releases returned None
        found = None
    if found is None:
        return structure
    lattice, frac, numbers = found
    return Structure(lattice, [Element.from_Z(int(z)) for z in numbers], frac).get_sorted_structure()


def group_of(structure: Structure, symprec: float = 0.01) -> int:
    """The space group of an ordered structure within `symprec` Å, 0 where spglib finds none."""
    from core.data.symmetry import detect_group

    return detect_group(crystals_of(structure), 0, symprec)


def crystals_of(structure: Structure) -> Crystals:
    """A batch of one ordered structure."""
    return from_structures([structure])


def _stem(name: str) -> str:
    return re.sub(r"\.(cif|mcif|poscar|vasp|json|xyz|extxyz|txt)$", "", PurePath(name).name, flags=re.IGNORECASE)


def is_quick(text: str) -> bool:
    """Is it sure that this is read in a moment, whatever symmetry it claims?

    pymatgen takes minutes for a few hundred sites in a group of 192 operations. The other formats are counted before
    they are read.
    """
    if recognise(text) != "cif":
        return True
    if _count(r"(?<!\S)[-+]?\d*\.?\d+(\(\d+\))?(?!\S)", text, _FEW) < _FEW:
        return True
    operations = _count(r"[xyz][^\n,]*,[^\n,]*[xyz][^\n,]*,[^\n,]*[xyz]", text, 2)
    listed = re.search(r"_symmetry_equiv_pos_as_xyz|_space_group_symop_operation_xyz", text)
    return bool(listed) and operations == 1 and _count(r"^\s*data_", text, 2) == 1 and len(text) < 60_000


def _count(pattern: str, text: str, most: int) -> int:
    """How often, up to `most`."""
    return sum(1 for _ in islice(re.finditer(pattern, text, re.MULTILINE), most))


def main() -> None:
    """Read what stands on standard input, and write what was found: the work of a process that can be ended."""
    asked = json.loads(sys.stdin.read())
    try:
        found = read_structures(asked["text"], asked["name"], asked["remedies"])
    except StartError as error:
        print(json.dumps({"error": str(error)}))
        return
    print(json.dumps({"found": [as_values(f) for f in found]}))


def as_values(found: Found) -> dict[str, Any]:
    """For JSON."""
    return {**vars(found), "structure": found.structure.as_dict() if found.structure else None}


def from_values(values: dict[str, Any]) -> Found:
    """The inverse of `as_values`."""
    structure = Structure.from_dict(values["structure"]) if values["structure"] else None
    return Found(values["label"], structure, values["problem"], tuple(values["remedies"]), tuple(values["notes"]))


if __name__ == "__main__":
    main()
