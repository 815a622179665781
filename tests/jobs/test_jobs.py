"""Jobs as processes: killed, cancelled, queued, resumed; nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.jobs import queue
from core.jobs.tick import tick
from core.models.checkpoint import read_tensor_file
from core.training.loop import CHECKPOINT
from core.workflows import models
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset
from core.workflows.imports import ImportParams
from core.workflows.store import store
from core.workflows.train import TrainParams
from db import jobs as rows
from db.tables import Job
from tests.conftest import ROOT, workers_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_workers_left")]


def training(name: str = "m", minutes: float = 5.0) -> TrainParams:
    return TrainParams("starter", name, preset="quick", minutes=minutes)


def wait(job_id: int, condition, seconds: float = 60.0) -> Job:
    """Tick until the job meets the condition."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        tick()
        job = queue.get(job_id)
        if condition(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"job {job_id} is {job.status}: {job.message} {job.error}\n{queue.logs(job_id)}")


def learning(job: Job) -> bool:
    """Does it run and has it reported a step?"""
    return job.status == "running" and "structures/s" in job.message


def stop(job_id: int) -> None:
    queue.cancel(job_id)
    wait(job_id, lambda j: j.status == "cancelled", 30)


def test_a_training_outlives_the_server_that_started_it(starter: Path) -> None:
    """kill -9 of the process that submitted it: the worker goes on and its row moves."""
    code = (
        "import time; from core.jobs.queue import submit; from core.workflows.train import TrainParams\n"
        "print(submit('train', 't', TrainParams('starter', 'm', preset='quick', minutes=5.0)), flush=True)\n"
        "time.sleep(600)"
    )
    env = {**os.environ, "SUBHULL_VAR": str(starter)}
    server = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE)
    assert server.stdout is not None
    job_id = int(server.stdout.readline())
    wait(job_id, learning)
    server.kill()
    server.wait()
    before = queue.get(job_id)
    after = wait(job_id, lambda j: (j.progress or 0) > (before.progress or 0), 20)
    assert after.status == "running"
    assert after.pid == before.pid
    assert after.attempts == 1
    stop(job_id)


def test_a_killed_worker_is_lost_and_goes_on_from_its_checkpoint(starter: Path) -> None:
    job_id = queue.submit("train", "t", TrainParams("starter", "m", preset="quick", steps=900))
    job = wait(job_id, learning)
    checkpoint = Path(job.folder) / CHECKPOINT
    queue.cancel(job_id)
    wait(job_id, lambda j: j.status == "cancelled", 30)
    assert checkpoint.is_file(), "cancelling keeps the checkpoint"
    queue.resume(job_id)
    job = wait(job_id, learning)
    os.kill(int(job.pid or 0), signal.SIGKILL)
    seen: set[str] = set()
    done = wait(job_id, lambda j: seen.add(j.status) or j.status == "done", 90)  # type: ignore[func-returns-value]
    assert done.attempts == 3
    assert "going on from the checkpoint at step" in queue.logs(job_id)
    assert models.get_model("m").card["steps"] == 900
    assert models.get_model("m").card["uninterrupted"] is False


def test_a_worker_that_keeps_dying_is_given_up(starter: Path) -> None:
    job_id = queue.submit("train", "t", training())
    for attempt in (1, 2, 3):
        job = wait(job_id, lambda j, n=attempt: j.status == "running" and j.attempts == n and j.pid)
        os.kill(int(job.pid or 0), signal.SIGKILL)
        wait(job_id, lambda j, p=job.pid: j.pid != p or j.status == "lost")
    assert wait(job_id, lambda j: j.status == "lost").attempts == 3
    queue.resume(job_id)
    wait(job_id, learning)
    stop(job_id)


def test_cancelling_leaves_no_process_and_keeps_the_checkpoint(starter: Path) -> None:
    job_id = queue.submit("train", "t", training())
    job = wait(job_id, learning)
    started = time.monotonic()
    stop(job_id)
    assert time.monotonic() - started < 15
    gone = not psutil.pid_exists(int(job.pid or 0)) or psutil.Process(job.pid).status() == psutil.STATUS_ZOMBIE
    assert gone or wait(job_id, lambda _: not workers_of(starter), 10)
    tensors, _ = read_tensor_file(Path(job.folder) / CHECKPOINT)
    assert any(name.startswith("average.") for name in tensors)
    with pytest.raises(UserError, match="ended already"):
        queue.cancel(job_id)


def test_a_worker_that_does_not_listen_is_ended_by_signals(starter: Path) -> None:
    """A stopped process cannot poll the flag; SIGKILL ends it 20 s after the request."""
    job_id = queue.submit("train", "t", training())
    job = wait(job_id, learning)
    os.kill(int(job.pid or 0), signal.SIGSTOP)
    with store().session() as session:
        from db.session import now

        rows.update_job(session, job_id, cancel_requested_at=now(session) - 21.0)
    ended = wait(job_id, lambda j: j.status == "cancelled", 15)
    assert ended.message == "Stopped"


def test_the_second_job_of_a_device_waits_for_the_first(starter: Path) -> None:
    first = queue.submit("train", "one", training("one"))
    second = queue.submit("train", "two", training("two"))
    wait(first, learning)
    waiting = queue.get(second)
    assert waiting.status == "queued"
    with store().session() as session:
        assert rows.queue_position(session, waiting) == 0
    assert len(workers_of(starter)) == 1
    stop(first)
    wait(second, learning)
    stop(second)


def test_a_queued_job_is_cancelled_at_once(starter: Path) -> None:
    first = queue.submit("train", "one", training("one"))
    second = queue.submit("train", "two", training("two"))
    queue.cancel(second)
    assert queue.get(second).status == "cancelled"
    stop(first)


def test_a_failing_job_says_why_in_a_sentence(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{\n")
    job_id = queue.submit("import", "i", ImportParams((str(tmp_path / "x.jsonl"),), "x"), "io")
    failed = queue.follow(job_id)
    assert failed.status == "failed"
    assert failed.error.startswith("The only row could not be used. The first: line 1")
    assert "Traceback" not in failed.error
    assert "Traceback" in queue.logs(job_id)
    assert queue.is_refused(failed)
    assert not queue.can_resume(failed), "it would fail in the same way"
    with pytest.raises(UserError, match="no dataset"):
        get_dataset("x")


def test_a_killed_import_starts_again_and_nothing_is_doubled(starter: Path, shared: Path) -> None:
    path = shared / "data" / "perov_5_train_val.jsonl.gz"
    job_id = queue.submit("import", "i", ImportParams((str(path),), "perov", "JARVIS"), "io")
    job = wait(job_id, lambda j: j.status == "running" and "structures read" in j.message)
    os.killpg(int(job.pid or 0), signal.SIGKILL)
    done = wait(job_id, lambda j: j.status == "done", 90)
    assert done.result is not None
    assert done.result["structures"] == get_dataset("perov").summary["structures"] == 11356 + 3787
    assert done.attempts == 2
