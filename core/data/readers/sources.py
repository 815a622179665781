"""Find the rows in files, streamed in bounded pieces: what kind of file it is, its name says."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from core.data.readers.tables import csv_rows, parquet_rows

MAX_LINE = 4_000_000  # bytes of one row
MAX_CIF = 5_000_000
MAX_JSON = 300_000_000  # bytes of a JSON file, which is read as a whole
MAX_TOTAL = 20_000_000_000  # bytes of one file, unpacked
MAX_ZIP = 1_000_000_000
MAX_ZIP_FILES = 200_000
KINDS = {
    ".cif": "cif",
    ".mcif": "cif",
    ".poscar": "poscar",
    ".vasp": "poscar",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".json": "json file",
    ".out": "aflow",
    ".txt": "aflow",
    ".html": "aflow",
}  # files of single structures; the rest are tables
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet", ".zip", *KINDS, "POSCAR", "CONTCAR")


class SourceError(ValueError):
    """A file of which nothing can be read; the message is a sentence."""


@dataclass(frozen=True)
class Raw:
    """One row before parsing.

    kind: "json", "cif", "poscar", "extxyz", "pymatgen", "aflow", "too long" or "unreadable"; label: a name for it where
    it has none itself; energy: formation energy in eV/atom that stood beside it
    """

    kind: str
    place: str
    text: str
    label: str = ""
    energy: float | None = None


def raw_rows(path: Path, name: str = "") -> Iterator[Raw]:
    """Every row of a file, by its name. Raises SourceError where it is no such file."""
    name = name or path.name
    lower = name.lower()
    kind = kind_of(name)
    if not kind:
        raise SourceError(
            f"{name}: its name ends in none of {', '.join(SUFFIXES[:-2])}, nor is it a POSCAR or CONTCAR."
        )
    if path.stat().st_size == 0:
        raise SourceError(f"{name} is empty.")
    try:
        if kind == "json lines":
            yield from _json_lines(path, name, lower.endswith(".gz"))
        elif kind == "csv":
            for place, row in csv_rows(path, name, lower.endswith(".gz"), MAX_LINE):
                yield _table_row(place, row)
        elif kind == "parquet":
            for place, row in parquet_rows(path, name):
                yield _table_row(place, row)
        elif kind == "zip":
            yield from _zipped(path, name)
        elif kind == "extxyz":
            with path.open("rb") as file:
                yield from _frames(file, name)
        else:
            with path.open("rb") as file:
                yield from _single(file.read(MAX_JSON + 1), name, kind)
    except (gzip.BadGzipFile, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise SourceError(f"{name} is damaged or cut off: {error}. Copy it again.") from error
    except ValueError as error:
        raise error if isinstance(error, SourceError) else SourceError(str(error)) from error


def kind_of(name: str) -> str:
    """What a file is by its name: "json lines", "csv", "parquet", "zip", a kind of `KINDS`, or "" for none of them."""
    base = name.rsplit("/", 1)[-1]
    lower = base.lower()
    tables = {".jsonl": "json lines", ".csv": "csv", ".parquet": "parquet", ".zip": "zip"}
    for suffix, kind in tables.items():
        if lower.endswith(suffix) or (suffix in (".jsonl", ".csv") and lower.endswith(f"{suffix}.gz")):
            return kind
    for suffix, kind in KINDS.items():
        if lower.endswith(suffix):
            return kind
    return "poscar" if re.match(r"(POSCAR|CONTCAR)", base) else ""


def _json_lines(path: Path, name: str, packed: bool) -> Iterator[Raw]:
    with _open(path, packed) as file:
        number = total = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            total += len(line)
            if total > MAX_TOTAL:
                raise SourceError(f"{name} holds more than {MAX_TOTAL // 10**9} GB: split it.")
            place = f"line {number}"
            if len(line) > MAX_LINE:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE)
                yield Raw("too long", place, "")
            elif line.strip():
                yield Raw("json", place, line.decode("utf-8", "replace"))


def _table_row(place: str, row: dict[str, Any]) -> Raw:
    """A row of a table: a CIF with what stands beside it, or AFLOW's columns as JSON."""
    if "problem" in row:
        return Raw("too long", place, str(row["problem"]))
    label = str(row.get("material_id") or row.get("auid") or "")[:200]
    if "cif" not in row:
        return Raw("json", place, orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY).decode(), label)
    energy = next((row[k] for k in ("formation_energy_per_atom", "heat_all", "e_form") if row.get(k) is not None), None)
    try:
        known = None if energy is None else float(energy)
    except (TypeError, ValueError):
        known = None
    text = str(row["cif"] or "")
    return Raw("too long", place, "") if len(text) > MAX_CIF else Raw("cif", place, text, label, known)


def _zipped(path: Path, name: str) -> Iterator[Raw]:
    """The structures of a zip. Nothing is unpacked to disk; sizes are counted as they are read, not as declared."""
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX")]
        known = [(m, kind) for m in members if (kind := kind_of(m.filename)) in set(KINDS.values()) - {"aflow"}]
        if not known:
            raise SourceError(f"{name} holds no structure file (.cif, POSCAR, .xyz, .json).")
        if len(known) > MAX_ZIP_FILES:
            raise SourceError(f"{name} holds {len(known):,} files, more than {MAX_ZIP_FILES:,}: split it.")
        total = 0
        for member, kind in known:
            place = member.filename.rsplit("/", 1)[-1][:200]
            try:
                with archive.open(member) as file:
                    data = file.read(MAX_CIF + 1)
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
                yield Raw("unreadable", place, str(error))
                continue
            total += len(data)
            if total > MAX_ZIP:
                raise SourceError(f"{name} unpacks to more than {MAX_ZIP // 10**6} MB: split it.")
            try:
                yield from _single(data, place, kind, several=True)
            except SourceError as error:
                yield Raw("unreadable", place, str(error))


def _single(data: bytes, name: str, kind: str, several: bool = False) -> Iterator[Raw]:
    """The rows of one file that is read as a whole. several: it stands among others, and its name is its place."""
    stem = re.sub(r"\.(cif|mcif|poscar|vasp|json|xyz|extxyz)$", "", name, flags=re.IGNORECASE)
    if len(data) > (MAX_JSON if kind == "json file" and not several else MAX_CIF):
        yield Raw("too long", name, "")
    elif kind == "json file":
        yield from _json_file(data, name, stem, several)
    elif kind == "extxyz":
        yield from _frames(cast(BinaryIO, io.BytesIO(data)), name, several)
    else:
        yield Raw(kind, name, data.decode("utf-8", "replace"), stem)


def _json_file(data: bytes, name: str, stem: str, several: bool) -> Iterator[Raw]:
    """One JSON document: a structure, an AFLOW entry, or a list or mapping of either."""
    try:
        value = orjson.loads(data)
    except ValueError as error:
        raise SourceError(f"{name} is no JSON: {error}.") from error
    single = isinstance(value, dict) and bool({"lattice", "structure", "geometry", "sites"} & set(value))
    items = {"": value} if single else dict(enumerate(value, 1)) if isinstance(value, list) else value
    if not isinstance(items, dict) or not all(isinstance(v, dict) for v in items.values()):
        raise SourceError(f"{name} holds neither a structure nor a list of structures or AFLOW entries.")
    for key, item in items.items():
        place = f"{name}, {key}" if several and key else str(key) if isinstance(key, str) and key else f"entry {key}"
        kind = "pymatgen" if {"lattice", "structure", "sites"} & set(item) else "json"
        label = f"{stem}-{key}" if key else stem
        yield Raw(kind, place if key else name, orjson.dumps(item).decode(), label)


def _frames(file: BinaryIO, name: str, several: bool = False) -> Iterator[Raw]:
    """Every frame of an XYZ file. Raises SourceError where the count of atoms is no number."""
    number = 0
    stem = name.rsplit(".", 1)[0]
    while line := file.readline(MAX_LINE):
        if not line.strip():
            continue
        number += 1
        place = f"{name}, frame {number}" if several else f"frame {number}"
        if not line.strip().isdigit() or int(line) > 100_000:
            raise SourceError(f"{name}: frame {number} does not begin with its number of atoms.")
        lines = [line, *(file.readline(MAX_LINE) for _ in range(int(line) + 1))]
        yield Raw("extxyz", place, b"".join(lines).decode("utf-8", "replace"), f"{stem}-{number}")


def _open(path: Path, packed: bool) -> Any:
    return gzip.open(path, "rb") if packed else path.open("rb")
