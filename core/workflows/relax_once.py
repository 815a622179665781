"""Candidates of a run that are the very same cell are relaxed once: every rung of a ladder may find one template."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy.orm import Session

from core.workflows.relax import trajectory_path
from db import candidates as rows

_PART = 5_000


def firsts_of(session: Session, ids: Sequence[int]) -> dict[int, int]:
    """Each candidate -> the first of these with the same cell, bit by bit; itself where there is none before it."""
    seen: dict[bytes, int] = {}
    found: dict[int, int] = {}
    for start in range(0, len(ids), _PART):
        for candidate in rows.get_candidates(session, ids[start : start + _PART]):
            found[candidate.id] = seen.setdefault(candidate.cell, candidate.id)
    return found


def share(session: Session, firsts: Mapping[int, int], method: str, job_id: int, folder: Path) -> None:
    """What came of the first of each is written for the others that this job has not relaxed, with its frames."""
    made = {r.candidate_id: r for r in rows.relaxations(session, list(firsts), method) if r.job_id == job_id}
    for one, first in firsts.items():
        if one in made or first not in made:
            continue
        names = [c.name for c in made[first].__table__.columns if c.name != "created_at"]
        values = {name: getattr(made[first], name) for name in names}
        rows.put_relaxation(session, **values | {"candidate_id": one})
        _link(trajectory_path(folder, first), trajectory_path(folder, one))


def _link(there: Path, here: Path) -> None:
    """One file under two names, or a copy; no room for it costs the frames alone."""
    if here.exists() or not there.is_file():
        return
    with suppress(OSError):
        try:
            os.link(there, here)
        except OSError:
            shutil.copyfile(there, here)
