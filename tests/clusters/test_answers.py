"""What a cluster said is kept for seconds; what was said before a worker began does not end it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.jobs.runners import ray
from core.jobs.runners.slurm import SlurmRunner
from db.tables import Job


def submitted(pid: int | None) -> Job:
    return Job(id=1, kind="train", status="running", attempts=1, cluster_id="7", pid=pid)


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file whose lines the command answers; each question leaves a line in `asked`."""
    program, says = tmp_path / "squeue", tmp_path / "says"
    program.write_text(f"#!/bin/sh\necho >> '{tmp_path}/asked'\nexec cat '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return says


def test_a_worker_that_began_after_the_answer_is_alive(squeue: Path) -> None:
    runner = SlurmRunner()
    squeue.write_text("7 PENDING\n")
    assert runner.status(submitted(None)) == "waiting"
    squeue.write_text("7 RUNNING\n")
    assert runner.status(submitted(None)) == "waiting"  # asked a moment ago
    assert runner.status(submitted(4242)) == "alive"
    assert runner.status(submitted(4242)) == "alive"
    assert (squeue.parent / "asked").read_text().count("\n") == 2


@pytest.mark.parametrize("state", ["PENDING", "REQUEUED", "FAILED", "TIMEOUT", "NODE_FAIL"])
def test_a_worker_whose_machine_was_taken_is_gone(squeue: Path, state: str) -> None:
    squeue.write_text(f"7 {state}\n")
    assert SlurmRunner().status(submitted(4242)) == "gone"


def test_silence_of_slurm_ends_nothing(squeue: Path) -> None:
    runner = SlurmRunner()
    squeue.write_text("7 PENDING\n")
    assert runner.status(submitted(None)) == "waiting"
    squeue.unlink()
    assert runner.status(submitted(4242)) == "unknown"


@pytest.mark.parametrize(("says", "before", "begun"), [("PENDING", "waiting", "alive"), ("STOPPED", "gone", "gone")])
def test_a_worker_that_began_is_not_waiting_in_ray(
    says: str, before: str, begun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "_states", lambda: {"7": says})
    runner = ray.RayRunner()
    assert [runner.status(submitted(pid)) for pid in (None, 4242)] == [before, begun]
