"""Entries of AFLOW as a dataset: fetched page by page into the job's folder, then imported like a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.data.aflow import CITATION, DFT_TYPE, METHOD, TERMS
from core.data.aflow.client import AfluxClient, AfluxError, Progress
from core.data.aflow.query import check_summons
from core.settings import settings
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import check_new_name
from core.workflows.imports import ImportParams, import_files
from core.workflows.made import made_before


@dataclass(frozen=True)
class AflowParams:
    """summons: what to ask AFLUX; name: of the import and its dataset.

    dft_type: entries of other types are left out ("": all are taken)
    page_size: entries per request; pause_s: between two requests
    """

    summons: str
    name: str
    dft_type: str = DFT_TYPE
    page_size: int = 1000
    pause_s: float = 0.5


@dataclass
class _Fetched:
    """What has come so far, kept beside the file of entries so that a cut run goes on at its page."""

    summons: str
    size: int = 0  # bytes of the file that belong to finished pages
    page: int = 1
    turn: int = 1
    fresh: int = 0
    total: int | None = None
    finished: bool = False


def import_aflow(params: AflowParams, context: Context) -> dict[str, Any]:
    """Fetch all entries of a summons (resuming where an earlier run was cut) and import them. Raises UserError.

    Returns what an import returns, and `matching`: how many entries AFLOW counted.
    """
    path = context.folder / "entries.jsonl"
    if (made := made_before(context.job_id)) is not None:
        return made | {"matching": _kept_state(path, _checked(params.summons)).total}
    check_new_name(params.name)
    summons = _checked(params.summons)
    state = fetch(summons, params, path, context)
    if not path.stat().st_size:
        raise UserError("AFLOW has no entry that matches: ask for less.")
    notes = (("summons", summons), ("terms", TERMS), ("citation", CITATION))
    source = f"AFLOW: {summons[:300]}"
    wanted = (params.dft_type,) if params.dft_type else ()
    given = ImportParams((str(path),), params.name, METHOD, source, notes=notes, dft_types=wanted)
    result = import_files(given, context)
    path.unlink()
    return result | {"matching": state.total}


def count_entries(summons: str) -> int:
    """How many entries match, asked of the server now. Raises UserError."""
    try:
        return client_for(AflowParams("", ""), retries=1, timeout_s=20).count(_checked(summons))
    except AfluxError as error:
        raise UserError(str(error)) from error


def _checked(summons: str) -> str:
    try:
        return check_summons(summons)
    except ValueError as error:
        raise UserError(str(error)) from error


def client_for(
    params: AflowParams, retries: int = 5, timeout_s: float = 120, sleep: Callable[[float], None] = time.sleep
) -> AfluxClient:
    """A client of the server that the settings name."""
    return AfluxClient(settings().aflux_url, params.page_size, timeout_s, params.pause_s, retries, sleep)


def fetch(summons: str, params: AflowParams, path: Path, context: Context) -> _Fetched:
    """All entries of a checked summons into `path`, one JSON line each. Raises UserError."""
    kept = path.with_suffix(".state")
    state = _resume(summons, path)
    seen = _names(path)
    started, before = time.monotonic(), len(seen)
    if state.finished:
        return state

    def patient(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if context.cancelled():
                raise Cancelled
            time.sleep(min(0.2, left))

    client = client_for(params, sleep=patient)
    context.progress(None, "Asking AFLOW")
    try:
        with path.open("ab") as file:
            for page, after in client.walk(summons, seen, Progress(state.page, state.turn, state.fresh)):
                file.writelines(json.dumps(e, separators=(",", ":")).encode() + b"\n" for e in page.entries)
                file.flush()
                os.fsync(file.fileno())
                state.size, state.total = file.tell(), page.total if page.total is not None else state.total
                state.page, state.turn, state.fresh = after.page, after.turn, after.fresh
                _keep(kept, state)
                _tell(context, len(seen), state.total, before, started)
                if context.cancelled():
                    raise Cancelled
    except AfluxError as error:
        raise UserError(str(error)) from error
    if state.total is not None and len(seen) < state.total:
        print(f"AFLOW counts {state.total:,} entries and gave {len(seen):,} with an auid", flush=True)
    state.finished = True
    _keep(kept, state)
    return state


def _resume(summons: str, path: Path) -> _Fetched:
    """Where an earlier run stopped; what it wrote after its last finished page is cut off."""
    state = _kept_state(path, summons)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.truncate(state.size)
    return state


def _kept_state(path: Path, summons: str) -> _Fetched:
    """What is known of the file at `path`; of another summons, or where it cannot be read: nothing."""
    try:
        state = _Fetched(**json.loads(path.with_suffix(".state").read_text()))
    except (OSError, ValueError, TypeError):
        return _Fetched(summons)
    return state if state.summons == summons else _Fetched(summons)


def _keep(path: Path, state: _Fetched) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(state)))
    os.replace(partial, path)


def _names(path: Path) -> set[str]:
    with path.open("rb") as file:
        return {name for line in file if (name := str(json.loads(line).get("auid") or ""))}


def _tell(context: Context, count: int, total: int | None, before: int, started: float) -> None:
    rate = (count - before) / max(1e-9, time.monotonic() - started)
    if total:
        left = max(0, total - count) / rate if rate > 0 else None
        context.progress(min(1.0, count / total), f"{count:,} of {total:,} entries from AFLOW", left)
    else:
        context.progress(None, f"{count:,} entries from AFLOW")
