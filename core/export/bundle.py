"""Candidates to take home: CIFs, candidates.csv, candidates.extxyz, manifest.json, as a folder or a zip."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ase.io import write as ase_write
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class BundleRow:
    """One line of candidates.csv. Energies in eV/atom by `energy_method`, distances and symprec in Å."""

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


@dataclass(frozen=True)
class BundleItem:
    """A candidate to write: its row, the crystal as generated, and as relaxed where it was."""

    row: BundleRow
    generated: Structure
    relaxed: Structure | None = None


COLUMNS = [f.name for f in fields(BundleRow)]


def bundle_files(items: Sequence[BundleItem], manifest: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """(name, text) of every file of the bundle; names hold nothing but letters, digits, dots and dashes."""
    rows, frames = [], []
    for item in items:
        stem = f"{_safe(item.row.id)}_{_safe(item.row.formula)}"
        name = f"{stem}_relaxed.cif" if item.relaxed else f"{stem}.cif"
        if item.relaxed:
            yield f"{stem}_generated.cif", cif_text(item.generated, _tags(item.row, relaxed=False))
        structure = item.relaxed or item.generated
        yield name, cif_text(structure, _tags(item.row, relaxed=item.relaxed is not None))
        rows.append([getattr(item.row, c) if c != "file" else name for c in COLUMNS])
        frames.append(_frame(structure, item.row))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    writer.writerows([["" if v is None else plain(v) for v in row] for row in rows])
    yield "candidates.csv", table.getvalue()
    xyz = io.StringIO()
    for frame in frames:
        ase_write(xyz, frame, format="extxyz")
    yield "candidates.extxyz", xyz.getvalue()
    yield "manifest.json", json.dumps(dict(manifest), indent=1, sort_keys=True, default=str) + "\n"


def write_folder(folder: Path, items: Sequence[BundleItem], manifest: Mapping[str, Any]) -> None:
    """Write the bundle as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in bundle_files(items, manifest):
        (folder / name).write_text(text)


def zip_bytes(items: Sequence[BundleItem], manifest: Mapping[str, Any]) -> bytes:
    """The bundle as a zip; CIFs lie in its folder cifs/."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in bundle_files(items, manifest):
            archive.writestr(f"cifs/{name}" if name.endswith(".cif") else name, text)
    return buffer.getvalue()


def cif_text(structure: Structure, tags: Mapping[str, str]) -> str:
    """A CIF in P1 with the tags as `_subhull_…` data items."""
    text = str(CifWriter(structure, significant_figures=8))
    items = "".join(f"_subhull_{key}   '{_quoted(value)}'\n" for key, value in tags.items() if value)
    head, mark, rest = text.partition("_symmetry_space_group_name_H-M")
    return head + items + mark + rest


def _tags(row: BundleRow, relaxed: bool) -> dict[str, str]:
    tags = {"id": row.id, "space_group_asked": str(row.group_asked or "")}
    if row.energy_asked is not None:
        tags["formation_energy_asked_eV_per_atom"] = f"{row.energy_asked:.6f}"
    if relaxed and row.energy is not None:
        tags["formation_energy_eV_per_atom"] = f"{row.energy:.6f}"
        tags["energy_method"] = row.energy_method
        if row.e_above_hull is not None:
            tags["energy_above_hull_eV_per_atom"] = f"{row.e_above_hull:.6f}"
            tags["hull"] = row.hull
    return tags


def _frame(structure: Structure, row: BundleRow) -> Any:
    frame = AseAtomsAdaptor.get_atoms(structure)
    frame.calc = None
    known = {"id": row.id, "formation_energy_per_atom": row.energy, "energy_method": row.energy_method}
    frame.info = {k: v for k, v in known.items() if v not in (None, "")}
    return frame


def plain(value: Any) -> Any:
    """Numbers to six digits; text that a spreadsheet would run as a formula is kept from it."""
    if isinstance(value, float):
        return f"{value:.6f}"
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@")) else value


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip(".-")[:80] or "candidate"


def _quoted(value: str) -> str:
    return " ".join(value.replace("'", "’").split())
