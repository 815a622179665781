"""Models as files: packed to be taken away, and taken in again. Nothing in a stranger's file is trusted."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any
from uuid import uuid4

from core.data.zips import UNREADABLE
from core.models.checkpoint import CARD, CONFIG, WEIGHTS
from core.workflows.acting import EDITOR, require
from core.workflows.audit import record_alone
from core.workflows.context import UserError
from core.workflows.models import get_model, register
from core.workflows.quotas import check_disk
from core.workflows.store import folder
from db.tables import Model

MAX_WEIGHTS, MAX_JSON, MAX_MEMBERS = 2 * 1024**3, 1024**2, 1000  # bytes, bytes, files in a zip
PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".npz")
_CHUNK = 1024**2


def pack_model(name: str) -> bytes:
    """One zip with the model's weights, configuration and card, as `add_upload` takes it back. Raises UserError."""
    model = get_model(name)
    record_alone("download", "model", name)
    source, packed = Path(model.folder), io.BytesIO()
    try:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # weights do not shrink
            archive.write(source / WEIGHTS, f"{name}/{WEIGHTS}")
            archive.write(source / CONFIG, f"{name}/{CONFIG}")
            card = {**model.card, "name": name, "weights_sha256": model.hash}
            archive.writestr(f"{name}/{CARD}", json.dumps(card, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"The files of {name} cannot be read: {error.strerror}.") from error
    return packed.getvalue()


def add_upload(files: Sequence[tuple[str, IO[bytes]]], name: str = "") -> Model:
    """A model from one .zip, or from its files (safetensors, config.json, card.json), as (file name, bytes).

    Without a name the card's, else the file's is taken. Raises UserError, and then nothing of it is kept.
    """
    require(EDITOR)
    check_disk()
    if not files:
        raise UserError("Choose the model's .zip, or its model.safetensors with its config.json.")
    staged = folder("models") / f".upload-{uuid4().hex}"
    staged.mkdir()
    try:
        _stage(files, staged)
        _read_json(staged / CONFIG)
        card = _read_json(staged / CARD) if (staged / CARD).is_file() else {}
        return register(name.strip() or _name_in(card, files[0][0]), staged)
    except OSError as error:
        raise UserError(f"The model cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def add_path(path: Path, name: str = "") -> Model:
    """A model from a folder, from a .zip, or from a safetensors file with config.json beside it. Raises UserError."""
    if path.is_dir():
        found = [path / part for part in (WEIGHTS, CONFIG, CARD)]
    elif path.is_file():
        beside = [] if _is_zip(path.name) else [path.parent / CONFIG, path.parent / CARD]
        found = [path, *beside]
    else:
        raise UserError(f"There is no folder or file {path}.")
    with ExitStack() as stack:
        opened = [(p.name, stack.enter_context(p.open("rb"))) for p in found if p.is_file()]
        return add_upload(opened, name or (path.resolve().name if path.is_dir() else ""))


def _stage(files: Sequence[tuple[str, IO[bytes]]], target: Path) -> None:
    """Write what makes a model into `target` under names of our own."""
    if any(_is_zip(name) for name, _ in files):
        if len(files) > 1:
            raise UserError("Take one .zip, or the files themselves: not both.")
        _unzip(files[0][1], target)
        return
    found = dict(_part(name) for name, _ in files)
    if len(found) < len(files):
        raise UserError("One model at a time: one safetensors file, one config.json, one card.json.")
    _need(found)
    for (name, source), part in zip(files, found, strict=True):
        _copy(source, target / part, _limit(part), name)


def _unzip(source: IO[bytes], target: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            for part, member in _members(archive).items():
                with archive.open(member) as file:
                    _copy(file, target / part, _limit(part), member.filename)
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError("This .zip is damaged, encrypted or of a kind that cannot be read.") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The parts of the one model in an archive. Its paths are only compared: nothing is written where they point."""
    infos = [i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX/")]
    if len(infos) > MAX_MEMBERS:
        raise UserError(f"This .zip holds {len(infos):,} files: a model has three.")
    paths = [PurePosixPath(i.filename.replace("\\", "/")) for i in infos]
    places = [path.parent for path in paths if path.suffix == ".safetensors"]
    if len(places) > 1:
        raise UserError("This .zip holds several safetensors files: pack one model.")
    found: dict[str, zipfile.ZipInfo] = {}
    for info, path in zip(infos, paths, strict=True):
        part = WEIGHTS if path.suffix == ".safetensors" else path.name
        if part not in (WEIGHTS, CONFIG, CARD) or path.parent not in places:
            continue
        if part in found:
            raise UserError(f"This .zip holds {part} twice.")
        if info.file_size > _limit(part):
            raise UserError(_too_large(path.name, _limit(part)))
        found[part] = info
    _need(found, [i.filename for i in infos])
    return found


def _need(found: Mapping[str, Any], names: Sequence[str] = ()) -> None:
    missing = [part for part in (WEIGHTS, CONFIG) if part not in found]
    if WEIGHTS in missing and any(n.lower().endswith(PICKLED) for n in names):
        raise UserError("Pickled weights (.pt, .ckpt, .bin) can run code when they are opened: only safetensors are.")
    if missing:
        raise UserError(f"{' and '.join(missing)} missing: a model is {WEIGHTS} with its {CONFIG}.")


def _part(name: str) -> tuple[str, str]:
    """(what it is in a model's folder, its name). Raises UserError for a file that is no part of a model."""
    last = PurePosixPath(name.replace("\\", "/")).name
    if last.lower().endswith(PICKLED):
        _need({}, [last])
    part = WEIGHTS if last.lower().endswith(".safetensors") else last.lower()
    if part not in (WEIGHTS, CONFIG, CARD):
        raise UserError(f"{last[:80]} is no part of a model: those are {WEIGHTS}, {CONFIG} and {CARD}.")
    return part, last


def _copy(source: IO[bytes], target: Path, limit: int, name: str) -> None:
    """At most `limit` bytes, whatever a header says of the size."""
    left = limit
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise UserError(_too_large(PurePosixPath(name).name, limit))
            file.write(chunk)


def _read_json(path: Path) -> dict[str, Any]:
    """An object without what no database keeps (NaN, NUL). Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} cannot be read: it is no JSON.") from error
    if not isinstance(values, dict) or "\\u0000" in text:
        raise UserError(f"{path.name} cannot be read: it is no JSON object.")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _name_in(card: Mapping[str, Any], file: str) -> str:
    known = card.get("name")
    return known if isinstance(known, str) else PurePosixPath(file.replace("\\", "/")).stem


def _limit(part: str) -> int:
    return MAX_WEIGHTS if part == WEIGHTS else MAX_JSON


def _too_large(name: str, limit: int) -> str:
    size = f"{limit // 1024**3} GiB" if limit >= 1024**3 else f"{limit // 1024**2} MiB"
    return f"{name[:80]} is larger than {size}: it is not taken."


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")
