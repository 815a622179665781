"""Workers and servers as forks of this process: they start in a moment, since torch is loaded already."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from core.jobs import worker
from core.jobs.runners.local import LocalRunner, started_at
from core.jobs.tick import tick
from core.workflows.store import store
from db.tables import Job

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Processes whose parent was killed become children of this one, so that none is overlooked (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def fork(work: Callable[[], None], log: Path) -> int:
    """Run `work` in a session of its own; returns its pid."""
    store().dispose()  # connections must not be shared
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        work()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


@contextmanager
def forked_workers() -> Iterator[None]:
    """The local runner forks its workers instead of starting Python anew."""

    def submit(_: LocalRunner, job: Job) -> dict[str, object]:
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)

        def work() -> None:
            sys.argv = ["worker", str(job.id), str(job.attempts)]
            worker.main()

        pid = fork(work, folder / "log.txt")
        return {"host": socket.gethostname(), "pid": pid, "process_started": started_at(pid)}

    before: Any = LocalRunner.submit
    LocalRunner.submit = submit  # type: ignore[method-assign]
    try:
        yield
    finally:
        LocalRunner.submit = before  # type: ignore[method-assign]


def tick_for_ever() -> None:
    """What a server does beside its pages."""
    while True:
        try:
            tick()
        except Exception:
            traceback.print_exc()
        reap()
        time.sleep(0.05)


def reap() -> None:
    """Collect ended children, those of killed parents too."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def living(besides: set[int] = frozenset()) -> list[psutil.Process]:  # type: ignore[assignment]
    """Descendants of this process that run, but for those with these pids and what they started."""
    reap()
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            ancestors = {process.pid, *(p.pid for p in process.parents())}
            if not ancestors & besides and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_for_none(besides: set[int], seconds: float = 10.0) -> list[psutil.Process]:
    """Those that are left after so long, ended now."""
    deadline = time.monotonic() + seconds
    while (left := living(besides)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    return left
