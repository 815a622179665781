"""Find the rows in files: JSON lines, CSV, CIF and zips of CIFs, streamed in bounded pieces."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LINE = 4_000_000  # bytes of one row
MAX_CIF = 5_000_000
MAX_TOTAL = 20_000_000_000  # bytes of one file, unpacked
MAX_ZIP = 1_000_000_000
MAX_ZIP_FILES = 200_000
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".cif", ".zip")


class SourceError(ValueError):
    """A file of which nothing can be read; the message is a sentence."""


@dataclass(frozen=True)
class Raw:
    """One row before parsing. kind: "json", "cif" or "too long"; label: a name for it where it has none itself."""

    kind: str
    place: str
    text: str
    label: str = ""


def raw_rows(path: Path, name: str = "") -> Iterator[Raw]:
    """Every row of a file, by the ending of its name. Raises SourceError where it is no such file."""
    name = name or path.name
    lower = name.lower()
    if not lower.endswith(SUFFIXES):
        raise SourceError(f"{name}: the ending is none of {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise SourceError(f"{name} is empty.")
    try:
        if lower.endswith((".jsonl", ".jsonl.gz")):
            yield from _json_lines(path, lower.endswith(".gz"))
        elif lower.endswith((".csv", ".csv.gz")):
            yield from _csv_rows(path, name, lower.endswith(".gz"))
        elif lower.endswith(".zip"):
            yield from _zipped(path)
        else:
            yield _cif(path.open("rb").read(MAX_CIF + 1), name)
    except (gzip.BadGzipFile, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise SourceError(f"{name} is damaged or cut off: {error}. Copy it again.") from error


def _json_lines(path: Path, packed: bool) -> Iterator[Raw]:
    with _open(path, packed) as file:
        number = total = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            total += len(line)
            if total > MAX_TOTAL:
                raise SourceError(f"{path.name} holds more than {MAX_TOTAL // 10**9} GB: split it.")
            place = f"line {number}"
            if len(line) > MAX_LINE:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE)
                yield Raw("too long", place, "")
            elif line.strip():
                yield Raw("json", place, line.decode("utf-8", "replace"))


def _csv_rows(path: Path, name: str, packed: bool) -> Iterator[Raw]:
    """CSV with a `cif` column (CDVAE, MP-20) or AFLOW's columns; the latter are handed on as JSON."""
    from core.data.readers.columns import row_as_json

    csv.field_size_limit(MAX_LINE)
    with _open(path, packed) as file, io.TextIOWrapper(file, "utf-8", "replace", newline="") as text:
        reader = csv.DictReader(text)
        columns = [c.strip() for c in reader.fieldnames or []]
        reader.fieldnames = columns
        if "cif" not in columns and not {"geometry", "positions_fractional", "species"} <= set(columns):
            found = ", ".join(columns[:8]) or "none"
            raise SourceError(
                f"{name}: a CSV needs a column `cif`, or AFLOW's species, composition, geometry and "
                f"positions_fractional; its columns are {found}."
            )
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Raw("too long", f"line {start}", str(error))
                continue
            label = str(row.get("material_id") or row.get("auid") or "")
            if "cif" in columns:
                yield Raw("cif", f"line {start}", row.get("cif") or "", label)
            else:
                yield Raw("json", f"line {start}", row_as_json(row), label)


def _zipped(path: Path) -> Iterator[Raw]:
    """The CIFs of a zip. Nothing is unpacked to disk; sizes are counted as they are read, not as they are declared."""
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and m.filename.lower().endswith(".cif")]
        if not members:
            raise SourceError(f"{path.name} holds no .cif file.")
        if len(members) > MAX_ZIP_FILES:
            raise SourceError(f"{path.name} holds {len(members):,} files, more than {MAX_ZIP_FILES:,}: split it.")
        total = 0
        for member in members:
            name = member.filename.rsplit("/", 1)[-1][:200]
            try:
                with archive.open(member) as file:
                    data = file.read(MAX_CIF + 1)
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
                yield Raw("unreadable", name, str(error))
                continue
            total += len(data)
            if total > MAX_ZIP:
                raise SourceError(f"{path.name} unpacks to more than {MAX_ZIP // 10**6} MB: split it.")
            yield _cif(data, name)


def _cif(data: bytes, name: str) -> Raw:
    if len(data) > MAX_CIF:
        return Raw("too long", name, "")
    return Raw("cif", name, data.decode("utf-8", "replace"), name.removesuffix(".cif"))


def _open(path: Path, packed: bool) -> Any:
    return gzip.open(path, "rb") if packed else path.open("rb")
