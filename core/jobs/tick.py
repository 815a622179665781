"""One turn of the job system: mark the lost, queue them again, enforce cancelling, start what fits.

Everybody runs it (the app every second, each command of the command line, each worker at its end), at any time and at
once: every change is a compare-and-set on the row.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy.orm import Session

from core.jobs.kinds import KINDS
from core.jobs.runners import runner_for
from core.workflows.store import store
from db import jobs as rows
from db.session import now, write_lock
from db.tables import Job

MAX_ATTEMPTS = 3
STALE_S = 60.0  # a heartbeat older than this, and silent as long as it is watched, is a lost worker
SILENT_S = 15.0  # of watching; workers beat every second
START_S = 20.0  # a worker has this long to start and write its pid
TERM_AFTER_S, KILL_AFTER_S = 5.0, 20.0  # after cancelling was asked for
CAPACITY = {"io": 2}  # jobs at once per queue; 1 elsewhere

log = logging.getLogger(__name__)


def tick() -> None:
    """One turn; never raises for a single job's sake."""
    with store().session() as session:
        running = rows.ages(session)
        waiting = rows.list_jobs(session, ["queued", "lost"], limit=1000)
    for job, age, asked in running:
        _check(job, age, asked)
    if waiting or running:
        _requeue()
        _start()


def _check(job: Job, age: float, asked: float | None) -> None:
    """Find out whether a running job still runs; hurry it along if it was cancelled."""
    runner = runner_for(job.runner)
    alive = runner.status(job)
    fresh_start = job.pid is None and abs(age) < START_S
    silent = _silent_for(job, age) > SILENT_S
    if (alive == "gone" and not fresh_start) or (alive == "unknown" and silent):
        _end_lost(job, asked)
    elif silent:  # it hangs: ended first, so that there are never two
        runner.cancel(job, force=True)
    elif asked is not None and asked > TERM_AFTER_S:
        runner.cancel(job, force=asked > KILL_AFTER_S)


_heard: dict[int, tuple[float | None, float]] = {}  # job -> its last heartbeat, and when it was first seen here


def _silent_for(job: Job, age: float) -> float:
    """Seconds for which a stale heartbeat has stood still while this process watched; 0 where it is not stale.

    A clock that was set, or a machine that slept, makes every heartbeat old at once; a living worker's moves on.
    """
    beat, since = _heard.get(job.id, (None, 0.0))
    if age <= STALE_S:
        _heard.pop(job.id, None)
        return 0.0
    if job.id not in _heard or beat != job.heartbeat:
        since = time.monotonic()
        _heard[job.id] = (job.heartbeat, since)
    return time.monotonic() - since


def _end_lost(job: Job, asked: float | None) -> None:
    with store().session() as session:
        status = "cancelled" if asked is not None else "lost"
        message = "Stopped" if asked is not None else "The worker disappeared"
        if rows.change_status(
            session, job.id, "running", status, job.attempts, message=message, eta_s=None, finished_at=now(session)
        ):
            log.warning("job %s (%s) is %s", job.id, job.kind, status)


def _requeue() -> None:
    """Lost jobs that can go on from what they kept are queued again."""
    with store().session() as session:
        write_lock(session)
        for job in rows.list_jobs(session, ["lost"], limit=1000):
            if KINDS[job.kind].resumable and job.attempts < MAX_ATTEMPTS:
                rows.change_status(session, job.id, "lost", "queued", job.attempts, finished_at=None)


def _start() -> None:
    """Claim every queued job whose device has room, oldest first, and start its worker."""
    with store().session() as session:
        write_lock(session)
        claimed = [job.id for job in rows.next_queued(session) if _claim(session, job)]
    for job_id in claimed:
        _launch(job_id)


def _claim(session: Session, job: Job) -> bool:
    if rows.running_on(session, job.device) >= CAPACITY.get(job.device, 1):
        return False
    return rows.change_status(
        session,
        job.id,
        "queued",
        "running",
        attempts=job.attempts + 1,
        heartbeat=now(session),
        started_at=now(session),
        finished_at=None,
        cancel_requested_at=None,
        pid=None,
        process_started=None,
        message="Starting",
    )


def _launch(job_id: int) -> None:
    with store().session() as session:
        job = rows.get_job(session, job_id)
    if job is None:
        return
    try:
        where = runner_for(job.runner).submit(job)
    except OSError as error:
        log.exception("job %s could not be started", job_id)
        with store().session() as session:
            sentence = f"The worker could not be started: {error.strerror or error}."
            rows.change_status(session, job_id, "running", "failed", error=sentence, finished_at=now(session))
        return
    with store().session() as session:
        rows.update_job(session, job_id, **where)
