"""Jobs as processes of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from core.settings import ROOT
from db.tables import Job


class LocalRunner:
    """One detached process per job on this machine: it outlives whoever started it."""

    label = "this machine"

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def submit(self, job: Job) -> dict[str, object]:
        path = Path(job.folder)
        path.mkdir(parents=True, exist_ok=True)
        with (path / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "core.jobs.worker", str(job.id), str(job.attempts)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._lock:
            self._children.append(child)
        return {"host": socket.gethostname(), "pid": child.pid, "process_started": started_at(child.pid)}

    def status(self, job: Job) -> str:
        self.reap()
        if job.host != socket.gethostname():
            return "unknown"
        if job.pid is None:
            return "gone"
        started = started_at(job.pid)
        same = started is not None and (job.process_started is None or abs(started - job.process_started) < 1.0)
        return "alive" if same else "gone"

    def cancel(self, job: Job, force: bool) -> None:
        if job.pid is None or self.status(job) != "alive":
            return
        try:
            os.killpg(job.pid, signal.SIGKILL if force else signal.SIGTERM)
        except ProcessLookupError:
            return

    def logs(self, job: Job, lines: int) -> str:
        return last_lines(Path(job.folder) / "log.txt", lines)

    def reap(self) -> None:
        """Collect ended children, so that none stays behind as a zombie of this process."""
        with self._lock:
            self._children = [child for child in self._children if child.poll() is None]


def last_lines(path: Path, lines: int) -> str:
    """The end of a text file, "" where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 300 * lines))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def started_at(pid: int) -> float | None:
    """When the process began, None where it is gone or a zombie: seconds since the machine's start where it tells them.

    Seconds since 1970, which psutil makes of them, would be others after the clock was set, for the same process.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        stat = Path(f"/proc/{pid}/stat")
        if not stat.is_file():
            return process.create_time()
        fields = stat.read_text().rpartition(")")[2].split()  # the name before it may hold anything
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return None
