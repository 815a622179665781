"""The process of one job: `python -m core.jobs.worker ID ATTEMPT`. It writes its own row until it ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core.jobs.kinds import KINDS
from core.jobs.queue import REFUSED
from core.jobs.runners import started_at
from core.jobs.tick import tick
from core.workflows.context import Cancelled, UserError
from core.workflows.store import store
from db import jobs as rows
from db.session import in_words, is_away, now, write_lock

BEAT_S = 1.0

log = logging.getLogger("worker")


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
    with store().session() as session:
        write_lock(session)  # it reads first: another writer in between would end this one at once
        job = rows.get_job(session, job_id)
        if job is None or job.status != "running" or job.attempts != attempt:
            log.error("job %s is not this worker's (attempt %s)", job_id, attempt)
            return "lost"
        rows.update_job(session, job_id, pid=os.getpid(), process_started=started_at(os.getpid()))
    context = JobContext(job_id, attempt, Path(job.folder), job.device)
    signal.signal(signal.SIGTERM, context.stop)
    signal.signal(signal.SIGINT, context.stop)
    context.start()
    kind = KINDS[job.kind]
    ending: dict[str, Any] = {"eta_s": None}
    try:
        result = kind.function()(kind.parse(job.params), context)
        status, ending["result"], ending["progress"] = "done", result, 1.0
    except Cancelled:
        # without a request it was SIGTERM from outside (a shutdown): the next tick queues the job again
        status = "cancelled" if context.asked else "lost"
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
    status = run(int(sys.argv[1]), int(sys.argv[2]))
    tick()
    sys.exit(0 if status in ("done", "cancelled") else 1)


if __name__ == "__main__":
    main()
