"""Find VASP's results in what a user brings: files, packed or not, and zips of folders. All of it bounded."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from core.data.zips import DAMAGED

MAX_RUN = 400_000_000  # bytes of one file, unpacked
MAX_TOTAL = 8_000_000_000  # of all files of one zip, unpacked
MAX_MEMBERS = 50_000  # of any kind in a zip
MAX_RUNS = 2000  # results in a zip
_CHUNK = 1024**2
REFERENCES = (".json", ".csv")


@dataclass(frozen=True)
class Found:
    """A file by its shown name: unpacked at `path`, or `problem` says why it is not (the end of a sentence).

    size: bytes that were unpacked for it
    """

    name: str
    path: Path | None = None
    problem: str = ""
    size: int = 0


def unpacked(path: Path, name: str, place: Path) -> Iterator[Found]:
    """The results and references in an upload, each unpacked into the folder `place` under a name of our own.

    The file at `Found.path` is removed when the next one is asked for. Files in a zip that are no results are passed
    over; its paths are shown and compared, never followed.
    """
    try:
        if not name.lower().endswith(".zip"):
            with path.open("rb") as file:
                yield from _one(file, name, place)
            return
        with zipfile.ZipFile(path) as archive:
            yield from _zipped(archive, name, place)
    except OSError as error:
        yield Found(name, problem=f"it cannot be read: {error.strerror or error}")
    except DAMAGED:
        yield Found(name, problem="it is damaged or cut off: copy it again")


def is_references(name: str) -> bool:
    """Is it a JSON or CSV file, by its name?"""
    return name.lower().endswith(REFERENCES)


def _zipped(archive: zipfile.ZipFile, name: str, place: Path) -> Iterator[Found]:
    members = [m for m in archive.infolist() if not m.is_dir()]
    if len(members) > MAX_MEMBERS:
        yield Found(name, problem=f"it holds {len(members):,} files, more than {MAX_MEMBERS:,}: split it")
        return
    wanted = [m for m in members if _is_wanted(m.filename)]
    if not wanted:
        yield Found(name, problem="it holds no vasprun.xml and no OUTCAR")
    if len(wanted) > MAX_RUNS:
        yield Found(name, problem=f"it holds {len(wanted):,} results, more than {MAX_RUNS:,}: split it")
        return
    left = MAX_TOTAL
    for member in wanted:
        shown = f"{name}: {member.filename[-200:]}"
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            yield Found(shown, problem="its path leads out of the zip, which an honest zip has not: it is not read")
            continue
        for found in _member(archive, member, shown, place):
            left -= found.size
            if left < 0:
                yield Found(name, problem=f"it unpacks to more than {MAX_TOTAL // 10**9} GB: split it")
                return
            yield found


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, shown: str, place: Path) -> Iterator[Found]:
    try:
        with archive.open(member) as file:
            yield from _one(file, shown, place)
    except NotImplementedError:
        yield Found(shown, problem="it is packed in a way that cannot be read here: pack the zip again")
    except RuntimeError:
        yield Found(shown, problem="it is encrypted: pack the zip without a password")
    except DAMAGED:
        yield Found(shown, problem="it is damaged in the zip: pack it again")


def _one(file: IO[bytes], name: str, place: Path) -> Iterator[Found]:
    """One file, gunzipped where it is packed; no more than `MAX_RUN` bytes of it, whatever its header says."""
    target = place / "run"
    try:
        file_head = file.read(2)
        file.seek(0)
        source: IO[bytes] = gzip.GzipFile(fileobj=file) if file_head == b"\x1f\x8b" else file  # type: ignore[assignment]
        left = MAX_RUN
        with target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    break
                out.write(chunk)
        if left < 0:
            yield Found(
                name, problem=f"it is longer than {MAX_RUN // 10**6} MB unpacked: it is not taken", size=MAX_RUN
            )
        elif left == MAX_RUN:
            yield Found(name, problem="it is empty")
        else:
            yield Found(name, target, size=MAX_RUN - left)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield Found(name, problem="it is damaged or cut off: copy it again")
    finally:
        target.unlink(missing_ok=True)


def _is_wanted(filename: str) -> bool:
    path = PurePosixPath(filename.replace("\\", "/"))
    if path.name.startswith("._") or "__MACOSX" in path.parts:
        return False
    base = path.name.lower()
    return "vasprun" in base or "outcar" in base or base in ("references.json", "references.csv")
