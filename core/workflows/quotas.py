"""What one person may have: jobs that run or wait, and room on the disk."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from core.settings import accounts
from core.workflows.acting import Acting, acting
from core.workflows.context import UserError
from core.workflows.store import folder, store
from db import people as rows
from db.tables import Person


@dataclass(frozen=True)
class Limits:
    """None is no limit. disk: bytes."""

    jobs: int | None
    disk: int | None


def usual_limits() -> Limits:
    """Those of the settings."""
    here = accounts()
    return Limits(here.jobs or None, here.disk or None) if here else Limits(None, None)


def limits_of(person: Person) -> Limits:
    """Those that an administrator gave, else those of the settings."""
    usual = usual_limits()
    jobs = person.max_jobs if person.max_jobs is not None else usual.jobs
    disk = person.max_bytes if person.max_bytes is not None else usual.disk
    return Limits(jobs or None, disk or None)


def check_jobs(session: Session, who: Acting, more: int = 1) -> None:
    """May they have so many jobs more? Asked in the transaction that adds it, under `write_lock`. Raises UserError."""
    person = rows.get_person(session, who.id) if who.id is not None else None
    limit = limits_of(person).jobs if person else None
    if person is None or limit is None:
        return
    active = rows.active_jobs_of(session, person.id)
    if active + more > limit:
        wanted = f"; this needs {more} more and was not begun" if more > 1 else ""
        raise UserError(
            f"You have {active} jobs running or waiting, and {limit} are allowed at once{wanted}: "
            "wait for one to end, cancel one, or ask an administrator for more."
        )


def check_disk(more: int = 0) -> None:
    """May the one who acts keep so many more bytes? Raises UserError with the numbers."""
    who = acting()
    if who.id is None:
        return
    with store().session() as session:
        person = rows.get_person(session, who.id)
    limit = limits_of(person).disk if person else None
    if person is None or limit is None:
        return
    used = disk_of(person.id)
    if used + more >= limit:
        asked = f", this needs {_size(more)} more" if more else ""
        raise UserError(
            f"What is yours takes {_size(used)} of the {_size(limit)} that you are allowed{asked}: "
            "delete models or datasets that you no longer need, or ask an administrator for more."
        )


def jobs_of(person_id: int) -> int:
    """How many of a person's jobs run or wait."""
    with store().session() as session:
        return rows.active_jobs_of(session, person_id)


def disk_of(person_id: int) -> int:
    """Bytes of a person's job folders, models, datasets, imported structures and uploads that wait to be read.

    Rows of the database are not counted. A dataset's file that two people have by the same recipe counts for both.
    """
    with store().session() as session:
        paths = [Path(f) for f in rows.job_folders_of(session, person_id)]
        paths += [Path(f) for f in rows.model_folders_of(session, person_id)]
        paths += [folder("datasets") / f"{digest}.safetensors" for digest in rows.dataset_hashes_of(session, person_id)]
        paths += [folder("imports") / str(i) for i in rows.imports_of(session, person_id)]
    paths += folder("uploads").glob(f"{upload_prefix(person_id)}*")
    return sum(_bytes(path) for path in paths)


def upload_prefix(person_id: int | None) -> str:
    """What the file names of a person's uploads begin with."""
    return "" if person_id is None else f"{person_id}-"


def _bytes(path: Path) -> int:
    """Of a file, or of all files in a folder; 0 for what is not there."""
    total = 0
    with suppress(OSError):
        if not path.is_dir():
            return path.stat().st_size
        for parent, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 10**7 else f"{number / 1e6:.2f} MB"
