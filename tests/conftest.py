"""Fixtures: a fresh store per test, the shared data, a real Postgres, a real Chromium."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import psutil
import pytest
from streamlit.components.v2 import manifest_scanner

from tests.oidc_provider import OidcProvider
from tests.postgres_server import PostgresServer, find_initdb
from tests.transactions import watch

os.environ.setdefault("OMP_NUM_THREADS", "1")
watch()
ROOT = Path(__file__).resolve().parent.parent
TEARDOWN_S = 300
STRICT = os.environ.get("SUBHULL_TEST_STRICT") == "1"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where the machine must have everything (SUBHULL_TEST_STRICT=1), a test that skips has failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although this machine must have it all: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fixtures may hang after a test that failed, when pytest's own limits are no longer set."""
    faulthandler.dump_traceback_later(TEARDOWN_S, file=sys.__stderr__, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What failed is said at once, too: a run that is ended from outside prints no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid} failed in its {report.when}:", *report.longreprtext.splitlines()[-30:], sep="\n")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, where it is."""
    folder = Path(os.environ.get("SUBHULL_SHARED") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}: set SUBHULL_SHARED")
    return folder


@pytest.fixture(scope="session")
def m3gnet_folder(shared: Path) -> Path:
    return shared / "weights" / "M3GNet-MP-2021.2.8-PES"


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings or the store of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("SUBHULL_") and name not in ("SUBHULL_SHARED", "SUBHULL_TEST_STRICT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SUBHULL_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("MATGL_CACHE", str(tmp_path / "no-matgl-cache"))


@pytest.fixture(scope="session", autouse=True)
def _packages_are_read_once() -> Iterator[None]:
    """AppTest looks through every installed package for components before each run: half a second."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """The folder of an empty store."""
    return tmp_path / "var"


@pytest.fixture(scope="session")
def _starter_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that ships, made once by the real installation."""
    folder = tmp_path_factory.mktemp("starter") / "var"
    code = "from core.workflows.starter import install; install()"
    env = {**os.environ, "SUBHULL_VAR": str(folder)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env=env, check=True, timeout=120)
    return folder


@pytest.fixture
def starter(_starter_template: Path, var: Path) -> Path:
    """The folder of a store with the starter dataset, hulls and models."""
    shutil.copytree(_starter_template, var)
    return var


class TestContext:
    """A workflow's context for tests: keeps what it is told; cancels after `stop_after` calls of cancelled()."""

    __test__ = False
    job_id = 0
    device = "cpu"

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        self.folder, self.stop_after = folder, stop_after
        self.messages: list[str] = []
        self.values: list[tuple[int, dict[str, float]]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        assert fraction is None or 0 <= fraction <= 1
        self.messages.append(message)

    def metrics(self, step: int, **values: float) -> None:
        self.values.append((step, values))

    def cancelled(self) -> bool:
        if self.stop_after is None:
            return False
        self.stop_after -= 1
        return self.stop_after < 0


@pytest.fixture
def context(tmp_path: Path) -> TestContext:
    return TestContext(tmp_path / "job")


@pytest.fixture
def no_workers_left(var: Path) -> Iterator[None]:
    """Ends workers that a test left behind, by pid, and fails if there were any."""
    yield
    deadline = time.monotonic() + 10  # a worker writes its last state a moment before its process ends
    while (left := workers_of(var)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        process.send_signal(signal.SIGKILL)
    assert not left, f"{len(left)} workers were left running"


def workers_of(var: Path) -> list[psutil.Process]:
    """Living workers of the store in `var`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if "core.jobs.worker" not in (process.info["cmdline"] or []) or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get("SUBHULL_VAR") == str(var):
                found.append(process)
        except psutil.Error:
            continue
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Postgres of our own, in a folder of its own, on loopback; ended by pid.

    One for each module: over a whole run of many minutes one was seen to end by itself. Its log lies beside its data.
    """
    if find_initdb() is None:
        pytest.skip("no Postgres here (initdb was not found)")
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of an empty Postgres database."""
    import psycopg

    name = f"test_{time.monotonic_ns()}"
    base = postgres_server.replace("+psycopg", "")
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.rsplit("/", 1)[0] + f"/{name}"


def _wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended while it was starting"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port} after {seconds} s")


def _wait_for_connection(url: str, seconds: float = 60.0) -> None:
    """A server that starts listens before it lets anybody in."""
    import psycopg

    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(url.replace("+psycopg", ""), connect_timeout=5).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


class AppServer:
    """The real app on a port of its own, with a store of its own."""

    def __init__(self, var: Path, env: dict[str, str]) -> None:
        self.var, self.port = var, free_port()
        self.env = {**os.environ, "SUBHULL_VAR": str(var), **env}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.var.mkdir(parents=True, exist_ok=True)
        with (self.var / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)],
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
            )
        _wait_for_port(self.port, self.process)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture
def app(var: Path) -> Iterator[AppServer]:
    """The app on a fresh store; nothing it started is left."""
    shared_weights = Path(os.environ.get("SUBHULL_SHARED") or ROOT.parent / "shared") / "weights"
    folder = shared_weights / "M3GNet-MP-2021.2.8-PES"
    server = AppServer(var, {"SUBHULL_M3GNET": str(folder)} if folder.is_dir() else {})
    server.start()
    yield server
    server.stop()
    for process in workers_of(var):
        process.kill()


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    """A provider of accounts on loopback, which signs in whom a test names."""
    made = OidcProvider()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Debian's Chromium."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no Chromium here")
    return found
