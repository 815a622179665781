"""The process of one job: `python -m core.jobs.worker ID ATTEMPT`. It writes its own row until it ends.

Under PyTorch's launcher it is several processes: the first is the worker, the others train with it and write nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core.jobs import queue
from core.jobs.away import files_of
from core.jobs.kinds import KINDS
from core.jobs.queue import REFUSED
from core.jobs.runners import CLUSTERS
from core.jobs.runners.local import started_at
from core.jobs.tick import tick
from core.workflows.acting import EDITOR, Acting, acting_as, local_administrator
from core.workflows.context import Cancelled, UserError
from core.workflows.store import store
from db import jobs as rows
from db.session import in_words, is_away, now
from db.tables import Job

BEAT_S = 1.0

log = logging.getLogger("worker")


class FollowerContext:
    """The `Context` of a process that trains with the first one, which decides, reports and writes."""

    def __init__(self, job: Job, device: str) -> None:
        self.job_id, self.folder, self.device = job.id, Path(job.folder), device

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        """The first process reports."""

    def metrics(self, step: int, **values: float) -> None:
        """The first process reports."""

    def cancelled(self) -> bool:
        return False


class JobContext:
    """The `Context` of a job: progress and metrics are kept here and written by the heartbeat, once a second."""

    def __init__(self, job_id: int, attempt: int, folder: Path, device: str) -> None:
        self.job_id, self.attempt, self.folder, self.device = job_id, attempt, folder, device
        self.asked = False
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._progress: dict[str, Any] = {}
        self._metrics: list[tuple[int, str, float]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        with self._lock:
            self._progress = {"progress": fraction, "message": message, "eta_s": eta_s}

    def metrics(self, step: int, **values: float) -> None:
        with self._lock:
            self._metrics += [(step, name, float(value)) for name, value in values.items()]

    def cancelled(self) -> bool:
        return self._stop.is_set()

    def stop(self, *_: object) -> None:
        """Make `cancelled` true: the user asked, or SIGTERM came."""
        self._stop.set()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop the heartbeat and write what is left."""
        self._ended.set()
        self._thread.join(timeout=10)
        self._write()

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._write()
            except LookupError:
                log.error("the job was taken from this worker: stopping")
                self._stop.set()
                return
            except SQLAlchemyError as error:  # the database may be back in a moment
                log.warning("heartbeat not written: %s", error)

    def _write(self) -> None:
        with self._lock:
            progress, metrics = self._progress, self._metrics
            self._progress, self._metrics = {}, []
        try:
            with store().session() as session:
                asked = rows.beat(session, self.job_id, self.attempt)
                if progress:
                    rows.update_job(session, self.job_id, **progress)
                rows.write_metrics(session, self.job_id, metrics)
        except SQLAlchemyError:
            with self._lock:
                self._metrics = metrics + self._metrics
                self._progress = self._progress or progress
            raise
        if asked is not None:
            self.asked = True
            self._stop.set()


def run(job_id: int, attempt: int) -> str:
    """Do the job and write how it ended; returns the status."""
    with store().writing() as session:
        job = rows.get_job(session, job_id)
        if job is None or job.status != "running" or job.attempts != attempt:
            log.error("job %s is not this worker's (attempt %s)", job_id, attempt)
            return "lost"
        where = {"host": socket.gethostname(), "pid": os.getpid(), "process_started": started_at(os.getpid())}
        rows.update_job(session, job_id, **where)
    context = JobContext(job_id, attempt, Path(job.folder), device_for(job.device))
    signal.signal(signal.SIGTERM, context.stop)
    signal.signal(signal.SIGINT, context.stop)
    context.start()
    ending: dict[str, Any] = {"eta_s": None}
    try:
        with acting_as(_owner(job)), files_of(job, attempt):
            _mark_ready(context.folder, attempt)
            kind = KINDS[job.kind]
            result = kind.function()(kind.parse(job.params), context)
        status, ending["result"], ending["progress"] = "done", result, 1.0
    except Cancelled:
        # without a request it was SIGTERM from outside (a shutdown): the next tick queues the job again
        status = "cancelled" if context.asked else "lost"
        if status == "lost" and job.runner != "local":
            ending["preempted"] = job.preempted + 1
    except (UserError, MemoryError, OSError) as error:
        traceback.print_exc()
        status, ending["error"] = "failed", _sentence(error)
        if isinstance(error, UserError):
            ending["result"] = {REFUSED: True}
    except SQLAlchemyError as error:
        traceback.print_exc()
        # a database that is away for a moment: the next tick queues the job again, and it goes on from what it kept
        status = "lost" if is_away(error) else "failed"
        ending |= {"error": in_words(error)} if status == "failed" else {"message": in_words(error)}
    except Exception as error:
        traceback.print_exc()
        sentence = f"Something went wrong that is not your doing: {type(error).__name__}. The log has the details."
        status, ending["error"] = "failed", sentence
    return _end(context, status, ending)


def follow(job_id: int, attempt: int) -> None:
    """Train with the first process, once the job's files are here."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process decides when all of them stop
    with store().session() as session:
        job = rows.get_job(session, job_id)
    if job is None:
        return
    while not (Path(job.folder) / _ready(attempt)).exists():
        time.sleep(0.2)  # the launcher ends this process if the first one fails
    kind = KINDS[job.kind]
    with acting_as(_owner(job)):
        kind.function()(kind.parse(job.params), FollowerContext(job, device_for(job.device)))


def device_for(device: str) -> str:
    """PyTorch's name for it: of a cluster's machine its GPU, where there is one."""
    if device not in CLUSTERS:
        return device
    if not device.endswith("-gpu"):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    log.warning("no GPU was found on %s: going on with its processor", socket.gethostname())
    return "cpu"


def _ready(attempt: int) -> str:
    return f".ready-{attempt}"


def _mark_ready(folder: Path, attempt: int) -> None:
    """The job's files are here: the others may begin."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _ready(attempt)).touch()


def _owner(job: Job) -> Acting:
    """For whom the work is done: what they were allowed to start is finished, whatever their role is by then."""
    return local_administrator() if job.owner_id is None else Acting(job.owner_id, job.owner, EDITOR)


def _end(context: JobContext, status: str, ending: dict[str, Any]) -> str:
    """Write the last state, for as long as the database takes to be reachable (at most a minute)."""
    deadline = time.monotonic() + 60
    while True:
        try:
            context.close()
            with store().session() as session:
                message = {"cancelled": "Stopped", "done": "Done"}.get(status)
                if message:
                    ending["message"] = message
                rows.change_status(
                    session, context.job_id, "running", status, context.attempt, finished_at=now(session), **ending
                )
            return status
        except LookupError:
            return "lost"
        except SQLAlchemyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "The machine ran out of memory: take smaller batches or fewer structures."
    if isinstance(error, OSError) and not isinstance(error, UserError):
        return f"A file could not be read or written: {error.strerror or error}."
    return str(error)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stdout)
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    os.environ.setdefault("OMP_NUM_THREADS", threads)  # more than there are idle cores makes torch slower, not faster
    job_id, attempt = int(sys.argv[1]), int(sys.argv[2])
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":
        follow(job_id, attempt)
        return
    status = run(job_id, attempt)
    if queue.get(job_id).runner == "local":  # a cluster's machine starts nobody else's jobs
        tick()
    sys.exit(0 if status in ("done", "cancelled") else 1)


if __name__ == "__main__":
    main()
