"""Back-up and restore: every row and every file of a store in one archive, from SQLite or Postgres into either.

The archive is a tar of rows/TABLE.parquet, files/… (what lies under SUBHULL_VAR) and, last, manifest.json with the
SHA-256 of all of them: one that was cut off has no manifest. Jobs may run while it is made: the rows are one snapshot,
and files are taken after it, so that every file a row speaks of is there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy import Connection

from core.settings import ASSETS, settings
from core.workflows.backup_rows import arrow_rows, moved_rows, write_parquet
from core.workflows.context import UserError
from core.workflows.store import made_var, store
from db import dump
from db.jobs import ages

FORMAT = 1
_MANIFEST = "manifest.json"
_LEFT_OUT = ("cache",)  # folders that are made again when they are missed
_HELD_S = 60.0  # a job whose heartbeat is younger than this runs
_PIECE = 1 << 20

Progress = Callable[[str], None]


@dataclass
class Manifest:
    """made: UTC; revision: of the tables; var: where the files lay; rows: by table; files, sha256: by member's name"""

    format: int
    made: str
    revision: str
    var: str
    rows: dict[str, int] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        return [name for name in self.sha256 if name.startswith("files/")]


def back_up(path: Path, replace: bool = False, tell: Progress = lambda _: None) -> Manifest:
    """Write an archive of the store, readable by its user alone; the file appears when it is whole. Raises UserError.

    replace: also where a file is there; it stays as it is until the new one is whole.
    """
    target = Path(os.path.realpath(path))
    try:
        _check_target(target, path, replace)
        with _part_of(target) as (part, file):
            with tarfile.open(fileobj=file, mode="w") as archive:
                manifest = _write(archive, {part, target}, tell)
            file.flush()
            os.fsync(file.fileno())
            _check_target(target, path, replace)  # somebody else may have made it meanwhile
            os.replace(part, target)
    except OSError as error:
        raise UserError(f"The back-up could not be written to {path}: {error.strerror or error}.") from error
    return manifest


def _check_target(target: Path, named: Path, replace: bool) -> None:
    """Raises UserError where no archive may be put, OSError where that cannot be known."""
    if target.is_dir():
        raise UserError(f"{named} is a folder: name a file, such as subhull.tar.")
    if not target.parent.is_dir():
        raise UserError(f"There is no folder {target.parent}: make it, or see whether its disk is mounted.")
    if not target.exists():
        return
    if not target.is_file():
        raise UserError(f"{named} is no regular file but a device, a pipe or the like: name a file.")
    if not replace:
        raise UserError(f"{named} is there already: name another file, or say --replace to give it up.")


@contextmanager
def _part_of(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside `target` that its user alone can read; it is gone afterwards, unless it was moved."""
    number, name = tempfile.mkstemp(prefix=".backup-", suffix=".part", dir=target.parent)
    try:
        with open(number, "wb") as file:
            yield Path(name), file
    finally:
        with suppress(OSError):  # moved, or on a disk that became read-only, which the first error says
            os.unlink(name)


def _write(archive: tarfile.TarFile, own: set[Path], tell: Progress) -> Manifest:
    database, var = store(), settings().var
    with dump.snapshot(database) as connection, tempfile.TemporaryDirectory(prefix=".backup-", dir=made_var()) as place:
        manifest = Manifest(
            FORMAT, datetime.now(UTC).isoformat(timespec="seconds"), dump.revision(connection), str(var)
        )
        for name in dump.TABLES:
            tell(f"table {name}")
            file = Path(place) / f"{name}.parquet"
            manifest.rows[name] = write_parquet(file, name, dump.read_rows(connection, name))
            manifest.sha256[f"rows/{name}.parquet"] = _add(archive, f"rows/{name}.parquet", file)
    for file in _files(var):
        if file.resolve() in own:
            continue
        name = f"files/{file.relative_to(var)}"
        try:
            manifest.sha256[name] = _add(archive, name, file)
        except FileNotFoundError:  # deleted meanwhile, with its row
            continue
        tell(f"file {file.relative_to(var)}")
    text = json.dumps(asdict(manifest)).encode()
    header = tarfile.TarInfo(_MANIFEST)
    header.size = len(text)
    archive.addfile(header, io.BytesIO(text))
    return manifest


def _files(var: Path) -> Iterator[Path]:
    """Regular files of the store, less the database, what is half-written, and what can be made again."""
    for folder, folders, names in os.walk(var):
        here = Path(folder)
        folders[:] = sorted(
            f
            for f in folders
            if not (f.startswith(".") or (here == var and f in _LEFT_OUT))
            and not (here == var / "uploads" and f.startswith("tmp"))
        )
        for name in sorted(names):
            file = here / name
            if not (_is_database(file) or file.is_symlink() or name.endswith((".part", ".tmp")) or not file.is_file()):
                yield file


def _add(archive: tarfile.TarFile, name: str, file: Path) -> str:
    """Put a file into the archive as long as it is now, even if it grows; returns its SHA-256."""
    with file.open("rb") as opened:
        header = archive.gettarinfo(arcname=name, fileobj=opened)
        header.uid = header.gid = 0
        header.uname = header.gname = ""
        reader = _Hashed(opened)
        archive.addfile(header, reader)
    return reader.sha256


class _Hashed:
    """Reads a file and hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._hash.update(piece)
        return piece

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def restore(path: Path, replace: bool = False, tell: Progress = lambda _: None) -> Manifest:
    """Make the store what the archive holds: all of it, or it stays as it is. Raises UserError.

    replace: also where the store holds work; what it holds is gone then. Refused while jobs run.
    """
    database, var = store(), settings().var
    try:
        with _opened(path) as (archive, manifest):
            if not database.knows(manifest.revision):
                raise UserError(f"{path.name} was made by a newer version of the project: update this one first.")
            _check_free(replace)
            with tempfile.TemporaryDirectory(prefix=".restoring-", dir=made_var()) as place:
                _unpack(archive, manifest, Path(place), tell)
                with _undone() as moves, dump.rebuilt(database, manifest.revision) as connection:
                    _write_rows(connection, manifest, Path(place), tell)
                    _swap(Path(place), var, moves)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path.name} cannot be read as a back-up: it is damaged or something else.") from error
    except OSError as error:
        raise UserError(f"The store could not be restored: {error.strerror or error}. It is as it was.") from error
    return manifest


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    with tarfile.open(path, "r:") as archive:
        try:
            member = archive.extractfile(_MANIFEST)
            manifest = Manifest(**json.load(member)) if member else None
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path.name} is no back-up, or it was cut off: it has no table of contents.") from error
        if manifest is None or manifest.format != FORMAT:
            raise UserError(f"{path.name} is of a format that this version does not read.")
        yield archive, manifest


def _check_free(replace: bool) -> None:
    """Raises UserError where a restore would take something away that was not given up, or from under a job."""
    shipped = [p.name for p in (ASSETS / "models").iterdir()] + ["starter"]
    with store().session() as session:
        held = dump.in_use(session.connection(), shipped)
        running = [job.id for job, age, _ in ages(session) if age < _HELD_S]
    if running:
        raise UserError("Jobs run on this store: wait for them or cancel them first.")
    if held and not replace:
        raise UserError(f"This store holds {held}: restore into an empty one, or say --replace to give them up.")


def _unpack(archive: tarfile.TarFile, manifest: Manifest, place: Path, tell: Progress) -> None:
    """Every member that the manifest names, each as its hash says. Raises UserError."""
    for folder in ("rows", "files"):
        (place / folder).mkdir()
    missing = dict(manifest.sha256)
    for member in archive:
        if member.name == _MANIFEST:
            continue
        wanted = missing.pop(member.name, None)
        target = place / member.name
        if wanted is None or not member.isfile() or not target.resolve().is_relative_to(place.resolve()):
            raise UserError(f"The back-up holds {member.name[:80]!r}, which does not belong there.")
        target.parent.mkdir(parents=True, exist_ok=True)
        opened = archive.extractfile(member)
        assert opened is not None
        reader = _Hashed(opened)
        with target.open("wb") as file:
            shutil.copyfileobj(reader, file, _PIECE)
        if reader.sha256 != wanted:
            raise UserError(f"The back-up is damaged: {member.name[:80]} is not what was written.")
        tell(member.name)
    if missing:
        raise UserError(f"The back-up is not whole: {next(iter(missing))} is missing.")


def _write_rows(connection: Connection, manifest: Manifest, place: Path, tell: Progress) -> None:
    for name in manifest.rows:
        tell(f"table {name}")
        table = dump.reflected(connection, name)
        for rows in arrow_rows(place / "rows" / f"{name}.parquet"):
            dump.write_rows(connection, table, moved_rows(rows, manifest.var, str(settings().var)))
    dump.stop_running(connection)


@contextmanager
def _undone() -> Iterator[list[tuple[Path, Path]]]:
    """Takes back the moves (from, to) that were made, in reverse, where the block fails."""
    moves: list[tuple[Path, Path]] = []
    try:
        yield moves
    except BaseException:
        for source, target in reversed(moves):
            os.rename(target, source)
        raise


def _swap(place: Path, var: Path, moves: list[tuple[Path, Path]]) -> None:
    """The files of the archive in the place of the store's, which go to `place`; each move is noted."""
    new, old = place / "files", place / "old"
    old.mkdir()
    mine = [n for n in os.listdir(var) if n != place.name and n not in _LEFT_OUT and not _is_database(var / n)]
    for source, target in [
        *((var / name, old / name) for name in sorted(mine)),
        *((new / name, var / name) for name in sorted(os.listdir(new))),
    ]:
        os.rename(source, target)
        moves.append((source, target))


def _is_database(file: Path) -> bool:
    """SQLite's file, and those that it keeps beside it."""
    if not store().is_sqlite:
        return False
    database = Path(store().engine.url.database or "")
    return file.parent == database.parent and file.name.startswith(database.name)
