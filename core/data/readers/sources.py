"""Find the rows in files, streamed in bounded pieces: what kind of file it is, its name says."""

from __future__ import annotations

import gzip
import io
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import orjson

from core.data.readers.tables import csv_rows, parquet_rows
from core.data.zips import DAMAGED, UNREADABLE

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
_FORMATION = ("formation_energy_per_atom", "heat_all", "e_form")  # columns of benchmarks, eV/atom
_PYMATGEN = frozenset({"lattice", "structure", "sites"})
_KNOWN = _PYMATGEN | {"geometry", "auid", "compound", "species", "@class"}
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
            for place, row in csv_rows(path, name, lower.endswith(".gz"), MAX_LINE, MAX_TOTAL):
                yield _table_row(place, row)
        elif kind == "parquet":
            for place, row in parquet_rows(path, name, MAX_CIF):
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


def rows_of_text(text: str, name: str, kind: str) -> list[Raw]:
    """The structures in the text of one file, of a kind of `KINDS`: the frames of an XYZ, else one row.

    Raises SourceError where it is no such text.
    """
    return list(_single(text.encode("utf-8", "replace"), name, kind))


def kind_of(name: str) -> str:
    """What a file is by its name: "json lines", "csv", "parquet", "zip", a kind of `KINDS`, or "" for none of them."""
    base = _base(name)
    lower = base.lower()
    tables = {".jsonl": "json lines", ".csv": "csv", ".parquet": "parquet", ".zip": "zip"}
    for suffix, kind in tables.items():
        if lower.endswith(suffix) or (suffix in (".jsonl", ".csv") and lower.endswith(f"{suffix}.gz")):
            return kind
    poscar = "poscar" if re.match(r"POSCAR|CONTCAR", base) else ""
    for suffix, kind in KINDS.items():
        if lower.endswith(suffix):
            return poscar if poscar and kind == "aflow" else kind  # POSCAR.txt
    return poscar


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
                while line and not line.endswith(b"\n") and total <= MAX_TOTAL:
                    line = file.readline(MAX_LINE)
                    total += len(line)
                yield Raw("too long", place, "")
            elif line.strip():
                yield Raw("json", place, line.decode("utf-8-sig" if number == 1 else "utf-8", "replace"))


def _table_row(place: str, row: dict[str, Any]) -> Raw:
    """A row of a table: a CIF with what stands beside it, or AFLOW's columns as JSON."""
    if "problem" in row:
        return Raw("too long", place, str(row["problem"]))
    label = str(row.get("material_id") or row.get("auid") or "")[:200]
    if "cif" not in row:
        try:
            return Raw("json", place, orjson.dumps(row, str, orjson.OPT_SERIALIZE_NUMPY).decode(), label)
        except orjson.JSONEncodeError:
            return Raw("unreadable", place, "it holds a number with too many digits, or lists too deep in each other")
    energy = next((row[k] for k in _FORMATION if row.get(k) not in (None, "")), None)
    try:
        known = None if energy is None else float(energy)
    except (TypeError, ValueError):
        known = None
    known = known if known is not None and math.isfinite(known) else None
    text = str(row["cif"] or "")
    return Raw("too long", place, "") if len(text) > MAX_CIF else Raw("cif", place, text, label, known)


def _zipped(path: Path, name: str) -> Iterator[Raw]:
    """The structures of a zip. Nothing is unpacked to disk; sizes are counted as they are read, not as declared."""
    with _archive(path, name) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX")]
        bundle = _bundle(members)
        if bundle is not None:
            yield from _bundled(archive, bundle, name)
            return
        known = [(m, kind) for m in members if (kind := kind_of(m.filename)) in set(KINDS.values())]
        if len(known) > MAX_ZIP_FILES:
            raise SourceError(f"{name} holds {len(known):,} files, more than {MAX_ZIP_FILES:,}: split it.")
        bases = Counter(_base(m.filename) for m, _ in known)
        total, empty = 0, True
        for member, kind in known:
            base = _base(member.filename)
            place = (base if bases[base] == 1 else member.filename)[-200:]  # every folder may hold a POSCAR
            data = _member(archive, member)
            if isinstance(data, bytes):
                total += len(data)
                if total > MAX_ZIP:
                    raise SourceError(f"{name} unpacks to more than {MAX_ZIP // 10**6} MB: split it.")
                if kind == "aflow" and not re.search(rb"\b(auid|aurl|positions_fractional)\b", data):
                    continue  # a readme
            empty = False
            try:
                yield from (
                    [Raw("unreadable", place, data)] if isinstance(data, str) else _single(data, place, kind, True)
                )
            except SourceError as error:
                yield Raw("unreadable", place, str(error))
    if empty:
        raise SourceError(f"{name} holds no structure file (.cif, POSCAR, .xyz, .json, AFLOW's .out).")


def _archive(path: Path, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (*UNREADABLE, OSError) as error:
        raise SourceError(f"{name} is no zip, or it is damaged or cut off: copy it again.") from error


def _bundle(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo | None:
    """The candidates of a bundle (`core.export.bundle`), where it is one: its CIFs are the same crystals again."""
    names = {m.filename: m for m in members}
    found = [n.removesuffix("manifest.json") for n in names if _base(n) == "manifest.json"]
    wanted = [f"{p}candidates.extxyz" for p in found if f"{p}candidates.csv" in names]
    return names.get(wanted[0]) if len(wanted) == 1 else None


def _bundled(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Iterator[Raw]:
    try:
        with archive.open(member) as packed:
            yield from _frames(cast(BinaryIO, _Counted(packed, name)), name)
    except SourceError:
        raise
    except UNREADABLE as error:
        raise SourceError(f"{name} is encrypted or packed in a way that cannot be read: pack it again.") from error


class _Counted:
    """A file inside a zip that is read line by line. Raises SourceError past what a zip may unpack to."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name, self._left = file, name, MAX_ZIP

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise SourceError(f"{self._name} unpacks to more than {MAX_ZIP // 10**6} MB: split it.")
        return line


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | str:
    """A member's bytes, no more than one file may have, or a sentence that says why it cannot be read."""
    try:
        with archive.open(member) as file:
            return file.read(MAX_CIF + 1)
    except NotImplementedError:
        return "it is packed in a way that cannot be read here: pack the zip again"
    except RuntimeError:
        return "it is encrypted: pack the zip without a password"
    except (*DAMAGED, OSError):
        return "it is damaged in the zip: pack it again"


def _single(data: bytes, name: str, kind: str, several: bool = False) -> Iterator[Raw]:
    """The rows of one file that is read as a whole. several: it stands among others, and its name is its place."""
    stem = re.sub(r"\.(cif|mcif|poscar|vasp|json|xyz|extxyz|out|txt|html)$", "", name, flags=re.IGNORECASE)
    if kind == "json file" and len(data) > MAX_JSON:
        raise SourceError(f"{name} is longer than {MAX_JSON // 10**6} MB: split it, or write one structure per line.")
    if len(data) > MAX_CIF and (several or kind != "json file"):
        yield Raw("too long", name, "")
    elif kind == "json file":
        yield from _json_file(data, name, stem, several)
    elif kind == "extxyz":
        yield from _frames(cast(BinaryIO, io.BytesIO(data)), name, several)
    else:
        yield Raw(kind, name, _decoded(data), stem)


def _json_file(data: bytes, name: str, stem: str, several: bool) -> Iterator[Raw]:
    """One JSON document: a structure, an AFLOW entry, or a list or mapping of either, perhaps under one key."""
    try:
        value = orjson.loads(data if data[:1] in (b"{", b"[") else _decoded(data))
    except ValueError as error:
        raise SourceError(f"{name} is no JSON: {error}.") from error
    items = _items(value)
    if not any(isinstance(item, dict) and _KNOWN & set(item) for item in items.values()):
        raise SourceError(f"{name} holds neither a structure nor a list of structures or AFLOW entries.")
    for key, item in items.items():
        place = str(key)[:200] if isinstance(key, str) else f"entry {key}"
        place = name if key == "" else f"{name}, {place}" if several else place
        if not isinstance(item, dict):
            yield Raw("unreadable", place, "it is no JSON object with keys")
            continue
        ours = "geometry" in item or not ({*_PYMATGEN, "@class"} & set(item))
        label = f"{stem}-{key}"[:200] if key else stem
        yield Raw("json" if ours else "pymatgen", place, orjson.dumps(item).decode(), label)


def _items(value: Any) -> dict[Any, Any]:
    """What a JSON document holds, by number or name; "" is the document itself."""
    if isinstance(value, list):
        return dict(enumerate(value, 1))
    if not isinstance(value, dict):
        return {}
    if {*_PYMATGEN, "geometry", "auid", "@class"} & set(value):
        return {"": value}
    for inner in value.values():  # {"entries": […]}
        if (
            isinstance(inner, list)
            and inner
            and isinstance(inner[0], dict)
            and {*_PYMATGEN, "geometry"} & set(inner[0])
        ):
            return dict(enumerate(inner, 1))
    return value


def _frames(file: BinaryIO, name: str, several: bool = False) -> Iterator[Raw]:
    """Every frame of an XYZ file. Raises SourceError where it does not begin with a number of atoms."""
    number = 0
    stem = name.rsplit(".", 1)[0]
    while line := file.readline(MAX_LINE):
        if not line.strip():
            continue
        number += 1
        place = f"{name}, frame {number}" if several else f"frame {number}"
        if not line.strip().isdigit() or len(line) > 100:
            if number == 1:
                raise SourceError(f"{name}: frame 1 does not begin with its number of atoms.")
            yield Raw("unreadable", place, "it does not begin with its number of atoms; nothing behind it is read")
            return
        lines, size = [line], len(line)
        left = int(line) + 1
        while left and (part := file.readline(MAX_LINE)):
            left -= part.endswith(b"\n")
            size += len(part)
            if size <= MAX_LINE:
                lines.append(part)
        text = b"".join(lines).decode("utf-8", "replace")
        yield Raw("too long", place, "") if size > MAX_LINE else Raw("extxyz", place, text, f"{stem}-{number}")


def _decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 where a mark at its beginning says so (Windows' "Unicode"); other bytes become �."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def _open(path: Path, packed: bool) -> Any:
    return gzip.open(path, "rb") if packed else path.open("rb")
