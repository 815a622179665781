"""One turn of the job system: mark the lost, queue them again, enforce cancelling, start what fits.

Everybody runs it (the app every second, each command of the command line, each worker at its end), at any time and at
once: every change is a compare-and-set on the row.
"""

from __future__ import annotations

import logging
import time
from functools import partial

from sqlalchemy.orm import Session

from core.jobs.aside import aside, beating
from core.jobs.kinds import KINDS
from core.jobs.runners import CLUSTERS, Runner, runner_for
from core.workflows import artefacts
from core.workflows.context import UserError
from core.workflows.store import store
from db import jobs as rows
from db.session import now, write_lock
from db.tables import Job

MAX_ATTEMPTS = 3  # beside those that a cluster ended to make room
MAX_PREEMPTED = 100
STALE_S = 60.0  # a heartbeat older than this, and silent as long as it is watched, is a lost worker
SILENT_S = 15.0  # of watching; workers beat every second
START_S = 20.0  # a worker has this long to start and write its pid
TERM_AFTER_S, KILL_AFTER_S = 5.0, 20.0  # after cancelling was asked for
CAPACITY = {"io": 2} | dict.fromkeys(CLUSTERS, 200)  # jobs at once per queue, 1 elsewhere; clusters have their own

log = logging.getLogger(__name__)


def tick() -> None:
    """One turn; never raises for a single job's sake."""
    with store().session() as session:
        running = rows.ages(session)
        waiting = rows.list_jobs(session, ["queued", "lost"], limit=1000)
        away = rows.away(session)
    for job, age, asked in running:
        _check(job, age, asked)
    for job in away:
        aside(job.id, partial(_take_home, job))
    if waiting or running:
        _requeue()
        _start()


def _check(job: Job, age: float, asked: float | None) -> None:
    """Find out whether a running job still runs; hurry it along if it was cancelled."""
    runner = runner_for(job.runner)
    state = runner.status(job)
    silent = _silent_for(job, age) > SILENT_S
    if state == "waiting":
        _wait(job, runner, asked)
    elif _is_lost(job, state, age, silent):
        _end_lost(job, asked)
        if job.cluster_id:
            runner.cancel(job, force=True)  # so that nothing goes on there that nobody waits for
    elif silent and not _only_submitted(job):  # it hangs: ended first, so that there are never two
        runner.cancel(job, force=True)
    elif asked is not None and asked > TERM_AFTER_S:
        runner.cancel(job, force=asked > KILL_AFTER_S)


def _is_lost(job: Job, state: str, age: float, silent: bool) -> bool:
    if _only_submitted(job) and state != "gone":
        return False
    fresh_start = job.pid is None and abs(age) < START_S
    return (state == "gone" and not fresh_start) or (state == "unknown" and silent)


def _only_submitted(job: Job) -> bool:
    """Does a cluster have it, and its worker has not begun?"""
    return bool(job.cluster_id) and job.pid is None


def _wait(job: Job, runner: Runner, asked: float | None) -> None:
    """In a cluster's queue nobody beats: the heartbeat is written from here, and cancelling is done at once."""
    if asked is not None:
        runner.cancel(job, force=True)
        _end_lost(job, asked)
        return
    with store().session() as session:
        message = f"Waiting in {runner.label}'s queue"
        rows.change_status(session, job.id, "running", "running", job.attempts, heartbeat=now(session), message=message)


def _take_home(job: Job) -> None:
    """Bring what a worker left in the artefacts into the folders here."""
    try:
        artefacts.take_home(job)
    except (OSError, UserError) as error:
        log.warning("the files of job %s could not be fetched yet: %s", job.id, error)
        return
    with store().session() as session:
        rows.update_job(session, job.id, away=False)


def may_retry(job: Job) -> bool:
    """Does a lost job start again by itself? What a cluster ended to make room does not count."""
    failed = job.attempts - job.preempted
    return KINDS[job.kind].resumable and failed < MAX_ATTEMPTS and job.preempted < MAX_PREEMPTED


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
            if may_retry(job):
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
        cluster_id="",
        message="Starting",
    )


def _launch(job_id: int) -> None:
    with store().session() as session:
        job = rows.get_job(session, job_id)
    if job is None:
        return
    if job.runner == "local" or not artefacts.in_use():
        _submit(job)
    else:
        aside(job_id, partial(_send, job))


def _send(job: Job) -> None:
    """Upload what it needs, then submit it: unless it was cancelled or taken over meanwhile."""
    try:
        with beating(partial(_say_uploading, job)):
            artefacts.send(job)
    except (OSError, UserError) as error:
        _not_started(job, error)
        return
    with store().session() as session:
        now_there = rows.get_job(session, job.id)
    if now_there is None or (now_there.status, now_there.attempts) != ("running", job.attempts):
        return
    if now_there.cancel_requested_at is not None:
        _end_lost(job, asked=0.0)
        return
    _submit(job)


def _submit(job: Job) -> None:
    runner = runner_for(job.runner)
    try:
        where = runner.submit(job)
    except (OSError, UserError) as error:
        _not_started(job, error)
        return
    with store().session() as session:
        kept = rows.keep_where(session, job.id, job.attempts, **where)
    if not kept:  # it took so long that somebody else has started it, or it was cancelled
        for name, value in where.items():
            setattr(job, name, value)
        runner.cancel(job, force=True)


def _not_started(job: Job, error: OSError | UserError) -> None:
    log.warning("job %s could not be started: %s", job.id, error, exc_info=isinstance(error, OSError))
    said = error.strerror or error if isinstance(error, OSError) else error
    sentence = str(error) if isinstance(error, UserError) else f"The worker could not be started: {said}."
    with store().session() as session:
        values = {"error": sentence, "finished_at": now(session)}
        rows.change_status(session, job.id, "running", "failed", job.attempts, **values)


def _say_uploading(job: Job) -> None:
    """It takes its time: the job is not lost meanwhile."""
    with store().session() as session:
        values = {"heartbeat": now(session), "message": "Uploading what it needs"}
        rows.change_status(session, job.id, "running", "running", job.attempts, **values)
