"""Jobs on a real Ray with token authentication."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from core.jobs import queue
from core.jobs.runners import runner_for
from core.settings import settings
from core.workflows.train import TrainParams
from tests.clusters.conftest import learning, wait
from tests.clusters.servers import RayHead
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def configured(ray: RayHead, monkeypatch: pytest.MonkeyPatch) -> RayHead:
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", ray.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray.token)
    return ray


def test_nobody_is_answered_without_the_token(configured: RayHead, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requests.get(f"{configured.address}/api/jobs/", timeout=10).status_code in (401, 403)
    assert configured.token not in repr(settings())
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    job_id = queue.submit("train", "t", TrainParams("starter", "m", steps=5), "ray")
    job = queue.get(job_id)
    assert job.status == "failed"
    assert job.error.startswith(f"Ray at {configured.address} refused: ")
    assert "f" * 64 not in job.error
    assert queue.can_resume(job)


def test_a_training_is_preempted_and_cancelled_on_ray(configured: RayHead, starter: Path) -> None:
    job_id = queue.submit("train", "t", TrainParams("starter", "m", preset="quick", minutes=5.0), "ray")
    begun = wait(job_id, learning, 90)
    assert (begun.runner, begun.attempts) == ("ray", 1)
    assert begun.cluster_id.startswith(f"subhull-{job_id}-1-")
    code = f"from core.jobs import queue; print(queue.logs({job_id}))"  # a process that knows nothing but the row
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "alembic" in told.stdout, told.stderr
    assert configured.token not in told.stdout
    runner_for("ray").cancel(queue.get(job_id), force=True)  # as the cluster does to make room: SIGTERM
    wait(job_id, lambda j: learning(j) and j.attempts == 2, 60)
    assert queue.get(job_id).preempted == 1
    assert "going on from the checkpoint at step" in queue.logs(job_id)
    queue.cancel(job_id)
    cancelled = wait(job_id, lambda j: j.status == "cancelled", 30)
    wait(job_id, lambda _: runner_for("ray").status(cancelled) == "gone", 30)
