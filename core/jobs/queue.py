"""Submit, cancel, resume and watch jobs. The rows are the truth; `tick` moves them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from core.jobs.kinds import KINDS
from core.jobs.runners import runner_for, runner_of
from core.jobs.tick import may_retry, tick
from core.workflows import quotas
from core.workflows.acting import EDITOR, require, require_owner
from core.workflows.audit import record
from core.workflows.context import UserError
from core.workflows.store import folder, store
from db import jobs as rows
from db.session import now, write_lock
from db.tables import Job

RESUMABLE = ("failed", "cancelled", "lost")
REFUSED = "refused"  # in the result of a job that failed for something its user has to change


def submit(kind: str, title: str, params: Any, device: str = "cpu") -> int:
    """Queue a job with its params dataclass on a device's queue (cpu, cuda:0, io, slurm, …); returns its id.

    It belongs to the one who acts. Raises NotAllowed, and UserError over their quota or for a cluster that is not
    configured.
    """
    job_id = add(kind, title, params, device)
    tick()
    return job_id


def add(kind: str, title: str, params: Any, device: str = "cpu") -> int:
    """As `submit`, but the next tick starts it."""
    return add_all(kind, [(title, params)], device)[0]


def add_all(kind: str, asked: Sequence[tuple[str, Any]], device: str = "cpu") -> list[int]:
    """As `add` for each (title, params), all of them or none."""
    if kind not in KINDS:
        raise ValueError(f"no kind of job is called {kind!r}")
    runner = runner_of(device)
    who = require(EDITOR)
    quotas.check_disk()
    made = []
    with store().session() as session:
        write_lock(session)  # two submissions at once would both find room for one
        quotas.check_jobs(session, who, len(asked))
        for title, params in asked:
            values = {"kind": kind, "title": title, "params": asdict(params), "device": device, "runner": runner}
            job_id = rows.add_job(session, **values, owner=who.name, owner_id=who.id)
            rows.update_job(session, job_id, folder=str(folder("jobs") / str(job_id)))
            record(session, "submit", "job", job_id, title)
            made.append(job_id)
    return made


def cancel(job_id: int) -> None:
    """Ask a job to stop. A queued one is cancelled at once; a running one gets seconds, then signals."""
    with store().session() as session:
        write_lock(session)
        job = _need(rows.get_job(session, job_id), job_id)
        require_owner(f"Job {job_id}", job.owner_id)
        if job.status == "queued" and rows.change_status(
            session, job_id, "queued", "cancelled", finished_at=now(session)
        ):
            record(session, "cancel", "job", job_id, job.title)
            return
        if job.status != "running":
            raise UserError(f"Job {job_id} has ended already ({job.status}).")
        if job.cancel_requested_at is None:
            rows.update_job(session, job_id, cancel_requested_at=now(session), message="Stopping")
            record(session, "cancel", "job", job_id, job.title)


def resume(job_id: int) -> None:
    """Queue a job again that failed, was cancelled or lost; it goes on from what it kept."""
    quotas.check_disk()
    with store().session() as session:
        write_lock(session)
        job = _need(rows.get_job(session, job_id), job_id)
        who = require_owner(f"Job {job_id}", job.owner_id)
        if job.status not in RESUMABLE:
            raise UserError(f"Job {job_id} is {job.status}: only one that failed, was cancelled or lost can go on.")
        quotas.check_jobs(session, who)
        rows.change_status(
            session, job_id, job.status, "queued", error="", message="", cancel_requested_at=None, finished_at=None
        )
        record(session, "resume", "job", job_id, job.title)
    tick()


def can_resume(job: Job) -> bool:
    """Would it go on? One that failed for what it was asked would fail for it again."""
    return job.status in RESUMABLE and not is_refused(job)


def is_refused(job: Job) -> bool:
    """Did it fail for something that its user has to change?"""
    return job.status == "failed" and bool((job.result or {}).get(REFUSED))


def get(job_id: int) -> Job:
    """The job as it is now. Raises UserError where there is none."""
    with store().session() as session:
        return _need(rows.get_job(session, job_id), job_id)


def logs(job_id: int, lines: int = 200) -> str:
    """The last lines of a job's log."""
    job = get(job_id)
    return runner_for(job.runner).logs(job, lines)


def follow(job_id: int, on_change: Callable[[Job], None] | None = None, poll_s: float = 0.3) -> Job:
    """Wait until a job has ended, calling `on_change` whenever its row changed; returns it."""
    last: tuple[Any, ...] = ()
    while True:
        tick()
        job = get(job_id)
        seen = (job.status, job.progress, job.message)
        if on_change and seen != last:
            on_change(job)
        last = seen
        if job.status in rows.ENDED and not (job.status == "lost" and will_retry(job)):
            return job
        time.sleep(poll_s)


def will_retry(job: Job) -> bool:
    """Is a lost job about to be queued again by itself?"""
    return may_retry(job)


def _need(job: Job | None, job_id: int) -> Job:
    if job is None:
        raise UserError(f"There is no job {job_id}.")
    return job
