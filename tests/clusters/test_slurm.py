"""Jobs on a real Slurm of one node, and by submitit's own executor."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from core.jobs import queue
from core.jobs.runners import runner_for
from core.workflows import models
from core.workflows.store import store
from core.workflows.train import TrainParams
from db import jobs as rows
from db.session import now
from tests.clusters.conftest import learning, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def configured(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.setenv("SUBHULL_SLURM", "partition=work cpus=1 time=10")
    monkeypatch.setenv("SUBHULL_SLURM_GPU", "partition=work cpus=2 gpus=2 time=10")
    return slurm


def training(minutes: float | None = 5.0, steps: int | None = None) -> TrainParams:
    return TrainParams("starter", "m", preset="quick", minutes=minutes, steps=steps)


def slurm_says(cluster_id: str) -> str:
    """Slurm's word for a job."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={cluster_id}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()


def test_a_training_is_preempted_vanishes_and_is_cancelled_on_slurm(configured: Path, starter: Path) -> None:
    job_id = queue.submit("train", "t", training(), "slurm")
    first = wait(job_id, learning)
    found = (first.runner, first.attempts, slurm_says(first.cluster_id))
    assert found == ("slurm", 1, "RUNNING"), queue.logs(job_id)
    runner_for.cache_clear()  # as after a restart of the app: the row holds all that is needed
    assert "JobEnvironment" in queue.logs(job_id)
    subprocess.run(["scancel", "--signal=TERM", first.cluster_id], check=True, timeout=20)
    second = wait(job_id, lambda j: learning(j) and j.attempts == 2)
    assert second.cluster_id != first.cluster_id
    assert second.preempted == 1
    assert "going on from the checkpoint at step" in queue.logs(job_id)
    subprocess.run(["scancel", "--signal=KILL", second.cluster_id], check=True, timeout=20)
    third = wait(job_id, lambda j: j.attempts == 3 and j.pid is not None)
    queue.cancel(job_id)
    wait(job_id, lambda j: j.status == "cancelled", 40)
    wait(job_id, lambda _: slurm_says(third.cluster_id) not in ("RUNNING", "COMPLETING"), 30)


def test_a_job_that_waits_is_not_lost_and_is_cancelled_there_too(
    configured: Path, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBHULL_SLURM", "partition=closed")
    job_id = queue.submit("train", "t", training(), "slurm")
    waiting = wait(job_id, lambda j: j.message == "Waiting in Slurm's queue", 20)
    with store().session() as session:
        rows.update_job(session, job_id, heartbeat=now(session) - 3600.0)
    assert wait(job_id, lambda j: True).status == "running"
    assert (queue.get(job_id).attempts, slurm_says(waiting.cluster_id)) == (1, "PENDING")
    queue.cancel(job_id)
    wait(job_id, lambda j: j.status == "cancelled", 10)
    assert slurm_says(waiting.cluster_id) == "CANCELLED"


def test_a_training_with_two_gpus_runs_in_two_processes(configured: Path, starter: Path) -> None:
    """The GPUs are only Slurm's belief: each process says so and takes the processor."""
    job_id = queue.submit("train", "t", training(None, 40), "slurm-gpu")
    wait(job_id, lambda j: j.status == "done", 90)
    log = queue.logs(job_id)
    assert "All distributed processes registered. Starting with 2 processes" in log
    assert log.count("no GPU was found on") == 2
    assert models.get_model("m").card["steps"] == 40


def test_what_slurm_refuses_is_said(configured: Path, starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_SLURM", "partition=nowhere")
    job_id = queue.submit("train", "t", training(), "slurm")
    assert queue.get(job_id).error.startswith("Slurm did not take the job: ")
    assert "nvalid partition" in queue.get(job_id).error
    monkeypatch.setenv("PATH", "/nowhere")
    job_id = queue.submit("train", "t", training(), "slurm")
    assert queue.get(job_id).error.startswith("Slurm did not take the job: ")


def test_submitits_own_executor_runs_a_job_and_ends_it(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_SLURM", "cluster=local time=5")
    job_id = queue.submit("train", "t", training(), "slurm")
    job = wait(job_id, learning)
    assert "JobEnvironment" in queue.logs(job_id)
    runner_for.cache_clear()
    assert runner_for("slurm").status(job) == "alive"
    queue.cancel(job_id)
    wait(job_id, lambda j: j.status == "cancelled", 30)
    wait(job_id, lambda _: not psutil.pid_exists(int(job.pid or 0)), 20)
    wait(job_id, lambda j: runner_for("slurm").status(j) == "gone", 20)
