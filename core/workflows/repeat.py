"""A run again, as the manifest of its bundle records it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.zips import UNREADABLE
from core.workflows.context import UserError
from core.workflows.recorded import method_here
from core.workflows.store import store
from db import hulls as hull_rows

KINDS = ("generate", "modify")
_MAX = 50_000_000  # bytes of a manifest


@dataclass(frozen=True)
class RecordedRun:
    """params: as the job had them, for this store's model and hull; notes: what is not as it was, in sentences."""

    run: str
    kind: str
    title: str
    params: dict[str, Any]
    device: str
    notes: list[str] = field(default_factory=list)


def recorded_run(path: Path, run: str = "") -> RecordedRun:
    """A run of a manifest.json, or of the bundle.zip that holds it; `run` may be left out where there is one alone.

    The model is found by the hash of its weights, a dataset of templates by that of its content, whatever the name is
    here. Raises UserError.
    """
    manifest = _read(path)
    runs = {k: v for k, v in _mapping(manifest.get("runs")).items() if _mapping(v).get("kind") in KINDS}
    if not runs:
        raise UserError(f"{path.name} records no run that can be repeated.")
    if not run and len(runs) > 1:
        raise UserError(f"{path.name} records the runs {', '.join(runs)}: say which with --run.")
    run = run or next(iter(runs))
    if run not in runs:
        raise UserError(f"{path.name} records no run {run}, but {', '.join(runs)}.")
    recorded = runs[run]
    params = _mapping(recorded.get("params"))
    known = _mapping(_mapping(manifest.get("models")).get(str(params.get("model"))))
    name = method_here(str(params.get("model")), known)
    notes = [] if name == params.get("model") else [f"The model {params.get('model')} is called {name} here."]
    params |= {"model": name}
    if "hull" in params:
        params["hull"] = _hull_here(_mapping(recorded.get("hull")), notes)
    title, device = str(recorded.get("title") or f"Repeat run {run}")[:200], str(recorded.get("device") or "cpu")
    return RecordedRun(run, str(recorded["kind"]), title, params, device, notes)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("manifest.json") as file:
                data = file.read(_MAX + 1)
        else:
            with path.open("rb") as plain:
                data = plain.read(_MAX + 1)
        values = json.loads(data) if len(data) <= _MAX else None
    except (OSError, KeyError, RecursionError, *UNREADABLE):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path.name} is no manifest.json of a bundle, nor a zip that holds one.")
    return values


def _hull_here(wanted: Mapping[str, Any], notes: list[str]) -> int | None:
    """The number of that hull in this store; None takes the newest of the method."""
    if not wanted:
        return None
    names = [str(wanted.get(k)) for k in ("chemical_system", "method", "name")]
    with store().session() as session:
        found = hull_rows.find_hull(session, *names)
    if found is None:
        notes.append(f"The hull {names[2]} of {names[0]} by {names[1]} is not here: the newest of its method is taken.")
    return found.id if found else None


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
