"""Fixtures of the faults: an own Postgres that may be restarted, a small disk, a place for forked workers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.forking import adopt_orphans, forked_workers, wait_for_none
from tests.postgres_server import PostgresServer, find_initdb


@pytest.fixture
def forked() -> Iterator[set[int]]:
    """Workers are forks of this process; whatever is left at the end is ended, and a failure."""
    from core.workflows.store import store

    adopt_orphans()
    besides = {p.pid for p in psutil.Process().children()}
    with forked_workers():
        yield besides
    left = wait_for_none(besides)
    store().dispose()
    assert not left, f"{len(left)} processes were left"


@pytest.fixture
def restartable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres server of one test alone."""
    if find_initdb() is None:
        pytest.skip("no Postgres here (initdb was not found)")
    server = PostgresServer(tmp_path_factory.mktemp("restartable"))
    yield server
    server.stop()


class Disk:
    """A small disk of memory; `room` in MB."""

    def __init__(self, place: Path, room: int) -> None:
        self.place = place
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={room}m", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if done.returncode:
            place.rmdir()
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.place)], check=True, timeout=20)

    def fill(self, left: int) -> None:
        """Leave so many bytes free."""
        stat = os.statvfs(self.place)
        (self.place / "filler").write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - left)))

    def clear(self) -> None:
        (self.place / "filler").unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=True, timeout=20)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """24 MB; skips where nothing can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    made = Disk(tmp_path / "disk", 24)
    yield made
    made.unmount()
