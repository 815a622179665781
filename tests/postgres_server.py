"""A real Postgres of our own on loopback, in a folder of its own; started, restarted and ended by pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

NOBODY = "nobody"  # Postgres does not run as root


def find_initdb() -> str | None:
    """The newest Debian keeps, or the one on the path."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(binaries[-1]) if binaries else shutil.which("initdb")


class PostgresServer:
    """folder: holds its data and its log; it and its parents become readable for the user that it runs as."""

    def __init__(self, folder: Path) -> None:
        from tests.conftest import free_port

        initdb = find_initdb()
        if initdb is None:
            raise FileNotFoundError("no Postgres here (initdb was not found)")
        self.folder, self.data, self.port = folder, folder / "data", free_port()
        self._as_other = ["su", "-s", "/bin/sh", NOBODY, "-c"] if os.geteuid() == 0 else ["sh", "-c"]
        self._server = Path(initdb).with_name("postgres")
        for parent in [folder, *folder.parents][:4]:
            parent.chmod(parent.stat().st_mode | 0o055)
        self.data.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.data, NOBODY)
        command = f"{initdb} -D {self.data} -U tester -A trust --no-sync"
        subprocess.run([*self._as_other, command], check=True, capture_output=True, timeout=120)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://tester@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        from tests.conftest import _wait_for_connection, _wait_for_port

        options = "-h 127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._as_other, f"exec {self._server} -D {self.data} -p {self.port} {options}"],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        _wait_for_port(self.port, self.process)
        _wait_for_connection(self.url)

    def stop(self, sig: int = signal.SIGINT) -> None:
        """SIGTERM waits for its clients, SIGINT cuts them off, SIGQUIT ends at once."""
        if self.process is None or self.process.poll() is not None:
            return
        children = psutil.Process(self.process.pid).children(recursive=True)
        main = [c for c in children if _is_postmaster(c, self.process.pid)]
        for process in main[:1] or [psutil.Process(self.process.pid)]:  # su waits for it
            with suppress(psutil.NoSuchProcess):
                process.send_signal(sig)
        _, left = psutil.wait_procs([*children, self.process], timeout=15)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=10)

    def create(self, name: str, template: str = "template1") -> str:
        """An empty database, or a copy of another one, in the place of what was there; returns its URL."""
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url.rsplit("/", 1)[0] + f"/{name}"


def _is_postmaster(child: psutil.Process, of: int) -> bool:
    """The server itself; its own children come and go while they are looked at."""
    try:
        return child.name().startswith("postgres") and child.ppid() == of
    except psutil.NoSuchProcess:
        return False


class GivenServer(PostgresServer):
    """A server that runs already, by its URL: nothing of it is started or ended."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def url(self) -> str:
        return self._url

    def start(self) -> None:
        """It runs."""

    def stop(self, sig: int = signal.SIGINT) -> None:
        """It is not ours."""
