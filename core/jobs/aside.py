"""Transfers of files beside the tick: a large upload of one job holds up no other, and its job counts as alive."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

AT_ONCE = 4
BEAT_S = 5.0

log = logging.getLogger(__name__)
_pool = ThreadPoolExecutor(AT_ONCE, "transfer")  # its threads end before the process does
_going: set[int] = set()
_lock = threading.Lock()


def aside(job_id: int, work: Callable[[], None]) -> None:
    """Do it in another thread, unless something of this job is being done there already."""
    with _lock:
        if job_id in _going:
            return
        _going.add(job_id)

    def run() -> None:
        try:
            work()
        except Exception:
            log.exception("the files of job %s", job_id)
        finally:
            with _lock:
                _going.discard(job_id)

    _pool.submit(run)


@contextmanager
def beating(beat: Callable[[], object]) -> Iterator[None]:
    """Within it `beat` is called at once and every few seconds."""
    ended = threading.Event()

    def run() -> None:
        while True:
            try:
                beat()
            except Exception:  # a database that is away for a moment; the next beat may arrive
                log.warning("a heartbeat was not written", exc_info=True)
            if ended.wait(BEAT_S):
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
