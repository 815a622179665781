"""Candidates to take home: CIFs, candidates.csv, candidates.extxyz, manifest.json, README.txt, as a folder or a zip.

Written candidate by candidate: however many there are, no more than one crystal is held at a time.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from ase.io import write as ase_write
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter

from core.export.readme import readme_text

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ENDS = (".cif", "_relaxed.cif", "_generated.cif")
# What begins a cell begins a formula; a spreadsheet that separates by semicolons or tabs finds cells inside a text
_FORMULA = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@＝＋－＠])")


@dataclass(frozen=True)
class BundleRow:
    """One line of candidates.csv; `core.export.readme.COLUMNS` says what each column is, and its unit.

    The columns up to `file` are the promised ones, in their order; None and "" are unknown.
    """

    id: str
    formula: str
    natoms: int
    group_asked: int | None
    group_found: int | None
    symprec: float | None
    energy_asked: float | None
    energy: float | None
    energy_method: str
    e_above_hull: float | None
    hull: str
    min_distance: float | None
    valid: bool
    novel: bool | None
    unique: bool | None
    file: str = ""
    file_generated: str = ""
    model: str = ""
    relaxation: str = ""
    relax_steps: int | None = None
    max_force: float | None = None
    energy_generated: float | None = None
    total_energy: float | None = None
    problem: str = ""
    groups: Mapping[str, Any] = field(default_factory=dict)
    symmetrised: float | None = None
    charge_balanced: bool | None = None
    novelty: Mapping[str, Any] = field(default_factory=dict)
    starred: bool | None = None
    note: str = ""
    displacement: float | None = None
    volume_change: float | None = None
    same_as_start: bool | None = None
    series: str = ""


@dataclass(frozen=True)
class BundleItem:
    """A candidate to write: its row, the crystal as generated (None: its cell is not finite), and as relaxed."""

    row: BundleRow
    generated: Structure | None
    relaxed: Structure | None = None


COLUMNS = [f.name for f in fields(BundleRow)]
Manifest = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


def bundle_files(items: Iterable[BundleItem], manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name, text) of every file of the bundle; names hold nothing but letters, digits, dots and dashes.

    manifest: or what gives it once every candidate is written
    """
    table, frames = io.StringIO(), io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    taken: set[str] = set()
    for item in items:
        names = _names(item, taken)
        best = item.relaxed or item.generated
        if item.generated and item.relaxed:
            yield _cif(item.generated, item.row, False, names["file_generated"])
        if best:
            yield _cif(best, item.row, item.relaxed is not None, names["file"])
            ase_write(frames, _frame(best, item.row), format="extxyz")
        writer.writerow([_cell(names.get(c, getattr(item.row, c))) for c in COLUMNS])
    values = dict(manifest() if callable(manifest) else manifest)
    yield "candidates.csv", table.getvalue()
    yield "candidates.extxyz", frames.getvalue()
    yield "manifest.json", json.dumps(values, indent=1, sort_keys=True, default=str) + "\n"
    yield "README.txt", readme_text(values)


def write_folder(folder: Path, items: Iterable[BundleItem], manifest: Manifest) -> None:
    """Write the bundle as files of a folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in bundle_files(items, manifest):
        (folder / name).write_text(text, encoding="utf-8")


def write_zip(target: IO[bytes] | str | os.PathLike[str], items: Iterable[BundleItem], manifest: Manifest) -> None:
    """Write the bundle as a zip into a file; CIFs lie in its folder cifs/. Raises OSError."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in bundle_files(items, manifest):
            archive.writestr(f"cifs/{name}" if name.endswith(".cif") else name, text)


def zip_bytes(items: Iterable[BundleItem], manifest: Manifest) -> bytes:
    """The same in memory."""
    buffer = io.BytesIO()
    write_zip(buffer, items, manifest)
    return buffer.getvalue()


def cif_text(structure: Structure, tags: Mapping[str, str], name: str = "") -> str:
    """A CIF in P1 with the tags as `_subhull_…` data items; name: of its data block, the formula by default.

    It is plain ASCII, as CIF 1.1 asks for.
    """
    unnamed = structure.copy()
    for site in unnamed:
        site.label = None  # labels of a file that was read repeat for what symmetry adds; without, atoms are numbered
    text = str(CifWriter(unnamed, significant_figures=8))
    items = "".join(f"_subhull_{key}   '{_quoted(value)}'\n" for key, value in tags.items() if value)
    head, mark, rest = text.partition("_symmetry_space_group_name_H-M")
    if name:
        head = re.sub(r"^data_.*$", f"data_{_safe(name)}", head, count=1, flags=re.MULTILINE)
    return head + items + mark + rest


def tags_of(row: BundleRow, relaxed: bool) -> dict[str, str]:
    """What the CIF of a candidate says of it. An energy is that of the crystal in this very file."""
    known: dict[str, Any] = {
        "id": row.id,
        "state": "relaxed" if relaxed else "generated",
        "model": row.model,
        "space_group_asked": row.group_asked,
        "formation_energy_asked_eV_per_atom": row.energy_asked,
        "formation_energy_eV_per_atom": row.energy if relaxed else row.energy_generated,
    }
    if relaxed:
        known |= {
            "total_energy_eV_per_atom": row.total_energy,
            "energy_above_hull_eV_per_atom": row.e_above_hull,
            "hull": row.hull if row.e_above_hull is not None else "",
            "relaxation": row.relaxation,
            "largest_force_eV_per_A": row.max_force,
            "space_group_found": row.group_found,
            "space_group_tolerance_A": row.symprec if row.group_found else None,
        }
    if known["formation_energy_eV_per_atom"] is not None or known.get("total_energy_eV_per_atom") is not None:
        known["energy_method"] = row.energy_method
    return {k: f"{v:.6f}" if isinstance(v, float) else str(v) for k, v in known.items() if v not in (None, "")}


def _frame(structure: Structure, row: BundleRow) -> Any:
    """An ASE frame; `energy` is the cell's total energy in eV, as ASE has it, the rest is per atom."""
    frame = AseAtomsAdaptor.get_atoms(structure)
    frame.calc = None
    known = {
        "id": row.id,
        "formula": row.formula,
        "energy": row.total_energy * len(structure) if row.total_energy is not None else None,
        "formation_energy_per_atom": row.energy,
        "energy_method": row.energy_method if row.energy is not None or row.total_energy is not None else "",
        "e_above_hull": row.e_above_hull,
        "relaxation": row.relaxation,
    }
    frame.info = {k: _ascii(v) if isinstance(v, str) else v for k, v in known.items() if v not in (None, "")}
    return frame


def plain(value: Any) -> Any:
    """Numbers to six digits; text that a spreadsheet would run as a formula is kept from it."""
    if isinstance(value, float):
        return f"{value:.6f}"
    return _FORMULA.sub(r"\1\2'", _CONTROL.sub("", value)) if isinstance(value, str) else value


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        words = {True: "new", False: "known"}
        value = "; ".join(f"{k}: {words[v] if isinstance(v, bool) else v}" for k, v in sorted(value.items()))
    return "" if value is None else plain(value)


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip(".-")[:80] or "candidate"


def _names(item: BundleItem, taken: set[str]) -> dict[str, str]:
    """The columns of file names. Two hostile ids may come out the same: the later one gets a number."""
    stem = first = f"{_safe(item.row.id)}_{_safe(item.row.formula)}"
    number = 1
    while taken & {f"{stem}{end}".lower() for end in _ENDS}:
        number += 1
        stem = f"{first}-{number}"
    taken |= {f"{stem}{end}".lower() for end in _ENDS}
    drawn, relaxed, generated = (f"{stem}{end}" for end in _ENDS)
    if item.relaxed:
        return {"file": relaxed, "file_generated": generated if item.generated else ""}
    return dict.fromkeys(("file", "file_generated"), drawn if item.generated else "")


def _cif(structure: Structure, row: BundleRow, relaxed: bool, name: str) -> tuple[str, str]:
    return name, cif_text(structure, tags_of(row, relaxed), name.removesuffix(".cif"))


def _quoted(value: str) -> str:
    return " ".join(_ascii(value.replace("'", "’")).split())[:500]


def _ascii(text: str) -> str:
    return _CONTROL.sub("", text.replace("’", "`")).encode("ascii", "replace").decode()
