"""Structures in the formats that other programs read: one as a file, many as a zip or one file of frames."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from ase.io import write as ase_write
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from core.export.bundle import cif_text

SYMPREC = 0.01  # Å
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


@dataclass(frozen=True)
class Format:
    """label: on a button; ending: of the file; mime: its type; mark: ends the name of a file that shares its ending"""

    label: str
    ending: str
    mime: str = "text/plain"
    mark: str = ""


FORMATS = {
    "cif": Format("CIF, P1", ".cif", "chemical/x-cif"),
    "cif-symmetrised": Format("CIF, symmetrised", ".cif", "chemical/x-cif", "-symmetrised"),
    "poscar": Format("POSCAR", ".poscar"),
    "extxyz": Format("extended XYZ", ".extxyz"),
    "json": Format("pymatgen JSON", ".json", "application/json"),
}


def structure_text(structure: Structure, format: str, name: str = "", symprec: float = SYMPREC) -> str:
    """One structure in one of `FORMATS`. symprec: Å, for the symmetrised CIF alone.

    Raises ValueError for a format that is none, and where no symmetry is found.
    """
    if format == "cif":
        return cif_text(structure, {"id": safe_name(name)} if name else {})
    if format == "cif-symmetrised":
        try:
            return str(CifWriter(structure, symprec=symprec, significant_figures=8))
        except Exception as error:  # of spglib or pymatgen, for cells they cannot handle
            raise ValueError(f"No symmetry is found within {symprec:g} Å: take the CIF in P1.") from error
    if format == "poscar":
        return str(Poscar(structure, sort_structure=True).get_str(significant_figures=12))
    if format == "extxyz":
        return _frames([structure], [name])
    if format == "json":
        return json.dumps(structure.as_dict(), indent=1)
    raise ValueError(f"there is no format {format!r}")


def export_many(
    structures: Sequence[Structure], names: Sequence[str], format: str, symprec: float = SYMPREC
) -> tuple[bytes, str, str]:
    """(content, file name, MIME type): one file for one structure, frames of one file for extxyz, else a zip of files.

    names: any text; what becomes a file name holds letters, digits, dots and dashes alone, and none twice.
    Raises ValueError as `structure_text`, and for no structure at all.
    """
    if not structures or len(structures) != len(names):
        raise ValueError("There is nothing to download.")
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}")
    kind, stems = FORMATS[format], _unique([safe_name(n) for n in names])
    if len(structures) == 1:
        content = structure_text(structures[0], format, names[0], symprec).encode()
        return content, stems[0] + kind.mark + kind.ending, kind.mime
    if format == "extxyz":
        return _frames(structures, names).encode(), f"structures{kind.ending}", kind.mime
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for structure, name, stem in zip(structures, names, stems, strict=True):
            archive.writestr(stem + kind.mark + kind.ending, structure_text(structure, format, name, symprec))
    return buffer.getvalue(), f"structures-{format}.zip", "application/zip"


def safe_name(text: str) -> str:
    """A file name without its ending, from any text: letters, digits, dots, dashes; never hidden, reserved or empty."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip(".-")[:80].rstrip(".-") or "structure"
    return f"structure-{stem}" if stem.split(".")[0].upper() in _RESERVED else stem


def _unique(stems: Sequence[str]) -> list[str]:
    """Where a name comes again, also in other letters' case, a number follows it."""
    seen: set[str] = set()
    found = []
    for stem in stems:
        name, k = stem, 2
        while name.lower() in seen:
            name, k = f"{stem}-{k}", k + 1
        seen.add(name.lower())
        found.append(name)
    return found


def _frames(structures: Sequence[Structure], names: Sequence[str]) -> str:
    text = io.StringIO()
    for structure, name in zip(structures, names, strict=True):
        frame = AseAtomsAdaptor.get_atoms(structure)
        frame.calc = None
        frame.info = {"name": safe_name(name)} if name else {}
        ase_write(text, frame, format="extxyz")
    return text.getvalue()
