"""Files of jobs where no folder is shared: kept under one address (SUBHULL_ARTEFACTS), a folder or S3, by fsspec.

A file or folder below SUBHULL_VAR has its path from there as its key. Its contents lie under the key by their SHA-256,
each uploaded under a temporary name first; KEY.json, written last, says what belongs to it. What it does not name is
not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from core.settings import settings
from core.workflows.context import UserError
from core.workflows.store import store
from db import datasets as rows
from db.tables import Job

_MADE = ("models", "datasets", "imports")  # folders of what jobs make for others
_LEFT_OUT = ("slurm", "log.txt", "given-up")  # logs are the runner's, and what a user wants is said here
_TRIES = 3

log = logging.getLogger(__name__)


class ArtefactError(OSError):
    """The address cannot be used now; the message is a sentence. A job that failed for it can be resumed."""


def in_use() -> bool:
    """Is an address configured?"""
    return bool(settings().artefacts)


def check() -> None:
    """Can something be written there? Raises ArtefactError, UserError."""
    if not in_use():
        return
    with _remote() as (fs, root):
        place = f"{root}/.writable-{uuid4().hex}"
        fs.pipe_file(place, b"")
        fs.rm_file(place)


def send(job: Job) -> None:
    """Before a worker starts elsewhere: upload what it needs and does not find there yet. Raises ArtefactError."""
    if not in_use():
        return
    for path in needed(job.params):
        push(path)
    if not job.away:  # else the last worker's upload is the newer one
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        push(Path(job.folder))
    with _remote() as (fs, root):
        if fs.exists(_finish_key(root, job.id)):
            fs.rm(_finish_key(root, job.id))


def fetch(job: Job) -> None:
    """On the machine of a worker: bring what its job needs, and what the job kept. Raises ArtefactError."""
    for path in [*needed(job.params), Path(job.folder)]:
        pull(path)


def take_home(job: Job) -> None:
    """Bring what a worker left: the job's folder and all that it made. Raises ArtefactError."""
    if not in_use():
        return
    for key in pull(Path(job.folder)):
        pull(settings().var / key)


def made() -> set[str]:
    """Keys of all models, datasets and imports that lie in the folders here."""
    var = settings().var
    found = [p for name in _MADE if (var / name).is_dir() for p in (var / name).iterdir()]
    return {_key(path) for path in found if not path.name.startswith(".")}


def needed(params: dict[str, Any]) -> list[Path]:
    """Files and folders of the datasets and models that a job's params name, also within "refine:MODEL:DATASET"."""
    var, found = settings().var, dict[Path, None]()
    names = {part for text in _strings(params) for part in (text, *text.split(":"))}
    with store().session() as session:
        for name in sorted(names):
            model = rows.find_model(session, name)
            digest = model.card.get("dataset_hash") if model else None
            if model and Path(model.folder).is_relative_to(var):
                found[Path(model.folder)] = None
            dataset = rows.find_dataset(session, name) or (rows.find_dataset(session, digest) if digest else None)
            if dataset:
                found[var / "datasets" / f"{dataset.hash}.safetensors"] = None
                for import_id in sorted(rows.imports_of(session, dataset.id)):
                    found[var / "imports" / str(import_id)] = None
    return list(found)


def push(path: Path, made: Sequence[str] = ()) -> None:
    """Upload a file or folder below SUBHULL_VAR; what is there already is not sent again. Raises ArtefactError.

    made: keys of other artefacts that belong to it
    """
    if not path.exists():
        return
    key = _key(path)
    with _remote() as (fs, root):
        before = _manifest(fs, root, key)
        known = {entry["sha256"] for entry in before["files"].values()} if before else set()
        files = {}
        for name, file in _files(path):
            entry = _upload(fs, f"{root}/{key}", file, known)
            if entry:
                files[name] = entry
        manifest = {"folder": path.is_dir(), "files": files, "made": list(made)}
        if manifest == before:
            return
        _put(fs, f"{root}/{key}.json", lambda at: fs.pipe_file(at, json.dumps(manifest).encode()))
        for digest in known - {entry["sha256"] for entry in files.values()}:
            with suppress(OSError):
                fs.rm_file(f"{root}/{key}/{digest}")


def pull(path: Path) -> list[str]:
    """Make a file or folder what was last uploaded for it; returns the keys that belong to it. Raises ArtefactError.

    Each file is complete or not there. Nothing happens where nothing was uploaded.
    """
    key = _key(path)
    with _remote() as (fs, root):
        for attempt in range(_TRIES):
            manifest = _manifest(fs, root, key)
            if manifest is None:
                return []
            try:
                _download(fs, f"{root}/{key}", path, manifest)
                return list(manifest["made"])
            except FileNotFoundError:  # a newer upload took its place meanwhile
                if attempt == _TRIES - 1:
                    raise
    return []


def ask_to_finish(job: Job) -> None:
    """Tell a worker elsewhere that its training is to end with its model. Raises UserError."""
    try:
        with _remote() as (fs, root):
            fs.pipe_file(_finish_key(root, job.id), b"")
    except ArtefactError as error:
        raise UserError(f"It cannot be told: {error}.") from error


def is_asked_to_finish(job_id: int) -> bool:
    with _remote() as (fs, root):
        return bool(fs.exists(_finish_key(root, job_id)))


def _finish_key(root: str, job_id: int) -> str:
    return f"{root}/jobs/{job_id}.finish"


def _key(path: Path) -> str:
    try:
        return path.relative_to(settings().var).as_posix()
    except ValueError:
        raise UserError(f"{path} is not below SUBHULL_VAR, which has to be the same path on every machine.") from None


@contextmanager
def _remote() -> Iterator[tuple[Any, str]]:
    """The file system of the address and the path there. Whatever goes wrong with it is said in a sentence."""
    where = settings().artefacts
    try:
        import fsspec

        local = where.startswith("file:")
        options = {"auto_mkdir": True} if local else {"use_listings_cache": False, "skip_instance_cache": True}
        fs, root = fsspec.core.url_to_fs(where, **options)
        yield fs, root.rstrip("/")
    except (UserError, ArtefactError):
        raise
    except ImportError:
        raise UserError("SUBHULL_ARTEFACTS on S3 needs s3fs: pip install -r requirements-cluster.txt.") from None
    except Exception as error:  # botocore's have no base in common with OSError
        raise ArtefactError(f"the artefacts at {where} cannot be used ({type(error).__name__}: {error})") from error


def _manifest(fs: Any, root: str, key: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(fs.cat_file(f"{root}/{key}.json"))
    except FileNotFoundError:
        return None
    return found


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(name below the path, file) of all that is complete: names with a leading point are being written."""
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        if file.is_file() and parts[0] not in _LEFT_OUT and not any(part.startswith(".") for part in parts):
            yield file.relative_to(path).as_posix(), file


def _upload(fs: Any, folder: str, file: Path, known: set[str]) -> dict[str, Any] | None:
    """The file's line of the manifest, once its contents are there; None where it is gone or never holds still."""
    for _ in range(_TRIES):
        try:
            before = file.stat()
            digest = _digest(file, before.st_size, before.st_mtime_ns, before.st_ino)
            if digest not in known:
                _put(fs, f"{folder}/{digest}", lambda at: fs.put_file(str(file), at))
            after = file.stat()
        except FileNotFoundError:
            if file.exists():
                raise
            return None
        if (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino):
            return {"sha256": digest, "size": before.st_size}
    return None


def _put(fs: Any, target: str, write: Callable[[str], object]) -> None:
    """Under a temporary name first: the target is complete or not there."""
    partial = f"{target}.{uuid4().hex}.partial"
    try:
        write(partial)
        fs.mv(partial, target)
    except BaseException:
        with suppress(Exception):
            fs.rm_file(partial)
        raise


def _download(fs: Any, folder: str, path: Path, manifest: dict[str, Any]) -> None:
    for name, entry in manifest["files"].items():
        target = path / name if manifest["folder"] else path
        if not target.resolve().is_relative_to(settings().var):
            raise ValueError(f"{name} would lie outside of SUBHULL_VAR")
        if not _is_same(target, entry):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{os.getpid()}")
            fs.get_file(f"{folder}/{entry['sha256']}", str(partial))
            os.replace(partial, target)
    if manifest["folder"]:
        path.mkdir(parents=True, exist_ok=True)
        for name, file in list(_files(path)):
            if name not in manifest["files"]:
                file.unlink(missing_ok=True)


def _is_same(path: Path, entry: dict[str, Any]) -> bool:
    if not path.is_file():
        return False
    found = path.stat()
    return found.st_size == entry["size"] and (
        _digest(path, found.st_size, found.st_mtime_ns, found.st_ino) == entry["sha256"]
    )


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int, node: int) -> str:
    """SHA-256 of a file as it was then."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) <= 200:  # a name, not a structure
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)
