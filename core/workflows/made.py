"""What a job made, written in the transaction that made it: a job killed a moment later finds it when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.workflows.store import store
from db import jobs as rows

MADE = "made"  # marks such a result, until the job has ended


def keep_made(session: Session, job_id: int, result: Mapping[str, Any]) -> None:
    """Write the result of a job that is about to end; nothing outside jobs (job_id 0)."""
    if job_id:
        rows.update_job(session, job_id, result={**result, MADE: True})


def made_before(job_id: int) -> dict[str, Any] | None:
    """The result that an earlier attempt of this job came to, None where there is none."""
    if not job_id:
        return None
    with store().session() as session:
        job = rows.get_job(session, job_id)
    known = dict(job.result or {}) if job else {}
    return known if known.pop(MADE, False) else None
