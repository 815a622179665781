"""kill -9 at seeded moments over each kind of job: nothing half-written is shown, the end is that of a quiet run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from core.jobs import queue
from core.jobs.tick import tick
from core.workflows import train as train_workflow
from core.workflows.datasets import get_dataset
from core.workflows.imports import ImportParams
from core.workflows.store import store
from db import jobs as rows
from tests.data.test_readers import TIB2, cif_of
from tests.faults.forking import living
from tests.faults.killing import Killer
from tests.faults.scene import Scene, content
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


def test_rounds_on_sqlite(tmp_path: Path, forked: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(_scene(tmp_path, monkeypatch), 1, forked)
    for kind, target in (("import", "worker"), ("hull-build", "server and worker"), ("import", "group")):
        killer.round(kind, target)
    assert killer.tally.breaches == []
    assert killer.tally.rounds == 3


@pytest.mark.postgres
def test_rounds_on_postgres(
    tmp_path: Path, forked: set[int], restartable: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    besides = forked | {restartable.process.pid} if restartable.process else forked
    killer = Killer(_scene(tmp_path, monkeypatch, restartable), 2, besides)
    for kind, target in (("import", "server"), ("hull import", "worker")):
        killer.round(kind, target)
    assert killer.tally.breaches == []


def _scene(place: Path, monkeypatch: pytest.MonkeyPatch, server: PostgresServer | None = None) -> Scene:
    monkeypatch.setenv("SUBHULL_VAR", "x")  # so that both are put back
    monkeypatch.setenv("SUBHULL_DATABASE_URL", "x")
    return Scene(place / "scene", server)


@pytest.mark.parametrize("kind", ["import", "hull-build"])
def test_a_job_killed_after_its_product_was_stored_ends_with_it(
    kind: str, tmp_path: Path, forked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between the two transactions: the product's, and the job's end."""
    scene = _scene(tmp_path, monkeypatch)
    with monkeypatch.context() as patched:
        from core.jobs import worker

        patched.setattr(worker, "_end", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        job_id = scene.submit(kind)
        _wait(lambda: _status(job_id) == "lost", without_restart=True)
    before = content(scene)
    job = queue.follow(job_id)
    assert (job.status, job.attempts) == ("done", 2)
    assert content(scene) == before, "nothing was made twice"
    assert job.result is not None
    assert "made" not in job.result
    assert job.result.get("structures", job.result.get("entries")), "the whole result is there"


def _status(job_id: int) -> str:
    return queue.get(job_id).status


def _wait(condition: object, without_restart: bool = False) -> None:
    """Tick until it holds; jobs that were lost are not started again."""
    from core.jobs import tick as module

    before = module.MAX_ATTEMPTS
    module.MAX_ATTEMPTS = 1 if without_restart else before
    deadline = time.monotonic() + 60
    try:
        while not condition():  # type: ignore[operator]
            tick()
            time.sleep(0.05)
            assert time.monotonic() < deadline
    finally:
        module.MAX_ATTEMPTS = before


def test_a_trained_model_is_found_again(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.workflows.test_training_faults import QUICK
    from tests.workflows.test_workflows import run_of

    monkeypatch.setattr(train_workflow.Judge, "__call__", lambda *_: None)
    context = run_of("train", QUICK)
    first = train_workflow.train(QUICK, context)
    again = train_workflow.train(QUICK, context)
    assert {k: again[k] for k in ("model", "hash", "steps")} == {k: first[k] for k in ("model", "hash", "steps")}


def test_processes_that_parse_end_with_their_worker(
    tmp_path: Path, forked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker alone is killed, as the system does that runs out of memory: nobody is left to end its pool."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    lines = ["cif"] + ['"' + cif_of(TIB2).replace('"', "'").replace("TiB2", f"T{i}") + '"' for i in range(3000)]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    job_id = queue.submit("import", "i", ImportParams((str(tmp_path / "x.csv"),), "x", "M"), "io")
    worker = int(queue.get(job_id).pid or 0)
    _wait(lambda: len([p for p in living(forked) if p.pid != worker]) >= 2)
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while living(forked) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [p.pid for p in living(forked)] == []
    with store().session() as session:
        rows.update_job(session, job_id, status="cancelled")
    with pytest.raises(ValueError, match="no dataset"):
        get_dataset("x")
