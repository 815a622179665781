"""Clocks that are set, machines that sleep, databases that are away, two servers: a job has one living worker."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from core.jobs import queue
from core.jobs import tick as ticking
from core.jobs.runners.local import started_at
from core.jobs.tick import tick
from core.workflows import starter
from core.workflows.store import store
from core.workflows.train import TrainParams
from db import jobs as rows
from db.session import in_words, is_away, now
from db.tables import Job, Model
from tests.data.test_readers import GOOD
from tests.faults.forking import fork, tick_for_ever
from tests.postgres_server import PostgresServer
from tests.ui.test_pages import open_page, said

pytestmark = pytest.mark.slow
HOUR = 3600.0


def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        tick()
        time.sleep(0.05)
        assert time.monotonic() < deadline


def long_training() -> int:
    job_id = queue.submit("train", "t", TrainParams("starter", "m", preset="quick", minutes=5.0))
    wait(lambda: "structures/s" in queue.get(job_id).message)
    return job_id


def set_back(job_id: int, seconds: float) -> None:
    """What the heartbeat looks like after the database's clock was set forth by so much."""
    with store().session() as session:
        rows.update_job(session, job_id, heartbeat=now(session) - seconds)


def stop(job_id: int) -> None:
    queue.cancel(job_id)
    wait(lambda: queue.get(job_id).status == "cancelled", 30)


def test_a_clock_that_is_set_and_a_machine_that_slept_take_no_job(
    starter: Path, forked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = long_training()
    before = queue.get(job_id)
    worker = psutil.Process(before.pid)
    worker.suspend()  # as all processes are while the machine sleeps
    for seconds in (HOUR, -HOUR, 10 * HOUR):
        set_back(job_id, seconds)
        for _ in range(5):
            tick()
        assert queue.get(job_id).status == "running"
    worker.resume()
    wait(lambda: _age(job_id) < 5, 20)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: time.time() - 1.0)  # psutil counts from the clock
    tick()
    after = queue.get(job_id)
    assert (after.status, after.pid, after.attempts) == ("running", before.pid, 1)
    stop(job_id)


def _age(job_id: int) -> float:
    with store().session() as session:
        return next(age for job, age, _ in rows.ages(session) if job.id == job_id)


def test_a_worker_that_hangs_is_ended_before_another_starts(
    starter: Path, forked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticking, "SILENT_S", 1.0)
    job_id = long_training()
    first = int(queue.get(job_id).pid or 0)
    os.kill(first, signal.SIGSTOP)
    set_back(job_id, 61.0)
    wait(lambda: queue.get(job_id).attempts == 2, 20)
    assert started_at(first) is None, "the first is gone"
    wait(lambda: queue.get(job_id).pid not in (first, None))
    stop(job_id)


def test_a_job_elsewhere_is_lost_only_after_it_was_watched(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticking, "_start", lambda: None)
    with store().session() as session:
        job_id = rows.add_job(session, kind="import", title="i", params={}, device="io")
        rows.update_job(session, job_id, status="running", host="elsewhere", pid=1, attempts=3)
    set_back(job_id, HOUR)
    tick()
    assert queue.get(job_id).status == "running", "its heart may beat in a moment"
    monkeypatch.setattr(ticking, "SILENT_S", 0.2)
    wait(lambda: queue.get(job_id).status == "lost", 5)


@pytest.mark.postgres
def test_a_job_goes_on_after_its_database_was_restarted(
    var: Path, forked: set[int], restartable: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert restartable.process is not None
    forked.add(restartable.process.pid)
    monkeypatch.setenv("SUBHULL_DATABASE_URL", restartable.create("app"))
    starter.install()
    job_id = long_training()
    before = queue.get(job_id)
    restartable.stop()
    with pytest.raises(DBAPIError) as away:
        tick()
    assert "cannot be reached just now" in in_words(away.value)
    assert is_away(away.value)
    time.sleep(2)  # a heartbeat or two are missed
    restartable.start()
    forked.add(restartable.process.pid)
    wait_for_tick()
    page = open_page("jobs", job=str(job_id))
    assert not page.error, said(page)
    wait(lambda: (queue.get(job_id).progress or 0) > (before.progress or 0), 30)
    after = queue.get(job_id)
    assert (after.status, after.pid, after.attempts) == ("running", before.pid, 1)
    stop(job_id)


def wait_for_tick() -> None:
    """The first question after a restart may still meet a connection of before."""
    for _ in range(20):
        try:
            tick()
            return
        except Exception:
            time.sleep(0.2)
    raise AssertionError("the database does not answer again")


def test_two_servers_on_one_store_start_each_job_once(var: Path, forked: set[int], tmp_path: Path) -> None:
    """Both bring the tables up to date, put in what ships, and tick, at once."""
    var.mkdir(parents=True)
    (tmp_path / "x.jsonl").write_text(json.dumps(GOOD) + "\n")

    def serve() -> None:
        starter.install()
        tick_for_ever()

    servers = [fork(serve, var / f"server-{n}.log") for n in range(2)]
    wait_for_models()
    with store().session() as session:
        names = [m.name for m in session.scalars(select(Model))]
    assert len(names) == len(set(names))
    with store().session() as session:
        for n in range(6):
            given = {"files": [str(tmp_path / "x.jsonl")], "name": f"d{n}", "method": "M"}
            job_id = rows.add_job(session, kind="import", title="i", params=given, device="io")
            rows.update_job(session, job_id, folder=str(var / "jobs" / str(job_id)))
    deadline = time.monotonic() + 60
    while (jobs := _jobs()) and any(j.status != "done" for j in jobs) and time.monotonic() < deadline:
        time.sleep(0.1)
    for server in servers:
        os.kill(server, signal.SIGKILL)
    assert [(j.status, j.attempts, j.error) for j in jobs] == [("done", 1, "")] * 6
    logs = "".join(p.read_text() for p in sorted(var.glob("jobs/*/log.txt")) + sorted(var.glob("server-*.log")))
    assert "not this worker's" not in logs
    assert "Traceback" not in logs


def wait_for_models() -> None:
    from core.settings import ASSETS

    wanted = len(list((ASSETS / "models").glob("*/model.safetensors")))
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with store().session() as session:
            if len(session.scalars(select(Model)).all()) == wanted:
                return
        time.sleep(0.2)
    raise AssertionError("what ships was not installed")


def _jobs() -> list[Job]:
    with store().session() as session:
        return rows.list_jobs(session)
