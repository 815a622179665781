"""A job's files on a machine without a shared folder: brought before it, uploaded now and then and after it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from core.settings import settings
from core.workflows import artefacts
from core.workflows.context import UserError
from core.workflows.store import store
from core.workflows.trainings import FINISH
from db import jobs as rows
from db.tables import Job

PUSH_S = 60.0  # between uploads of what the job has kept so far
ASK_S = 5.0  # between looks for a request to finish

log = logging.getLogger("worker")


@contextmanager
def files_of(job: Job, attempt: int) -> Iterator[None]:
    """Within it the job's files are here; at its end, however that is, what the job kept and made is uploaded."""
    if job.runner == "local" or not artefacts.in_use():
        yield
        return
    artefacts.fetch(job)
    before = artefacts.made()
    keeping = _Keeping(job, attempt)
    keeping.start()
    try:
        yield
    finally:
        keeping.close()
        new = sorted(artefacts.made() - before)
        _persist(lambda: _leave(keeping, new))


def _leave(keeping: _Keeping, new: list[str]) -> None:
    for key in new:
        artefacts.push(settings().var / key)
    keeping.push(new)


def _persist(work: Callable[[], None]) -> None:
    """Hours of work are not lost to a minute without a network."""
    for pause in (2.0, 5.0, 15.0):
        try:
            return work()
        except OSError as error:
            log.warning("not uploaded, tried again: %s", error)
            time.sleep(pause)
    return work()


class _Keeping(threading.Thread):
    """Uploads the job's folder now and then, so that a machine that vanishes costs minutes."""

    def __init__(self, job: Job, attempt: int) -> None:
        super().__init__(daemon=True)
        self.job, self.attempt = job, attempt
        self._ended = threading.Event()

    def run(self) -> None:
        waited = 0.0
        while not self._ended.wait(ASK_S):
            waited += ASK_S
            try:
                if self.job.kind == "train" and artefacts.is_asked_to_finish(self.job.id):
                    (Path(self.job.folder) / FINISH).touch()
                if waited >= PUSH_S:
                    waited = 0.0
                    self.push([])
            except (UserError, OSError) as error:
                log.warning("not uploaded, tried again later: %s", error)

    def push(self, made: list[str]) -> None:
        """Unless the job was taken from this worker: another one's upload is the newer one then."""
        with store().session() as session:
            job = rows.get_job(session, self.job.id)
        if job is None or job.status != "running" or job.attempts != self.attempt:
            return
        artefacts.push(Path(self.job.folder), made=made)
        with suppress(SQLAlchemyError), store().session() as session:
            rows.keep_where(session, self.job.id, self.attempt, away=True)

    def close(self) -> None:
        self._ended.set()
        self.join()
