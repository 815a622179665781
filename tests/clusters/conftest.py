"""Fixtures: one Slurm and one Ray for each file that needs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from core.jobs import queue
from core.jobs.runners import runner_for
from core.jobs.tick import tick
from db.tables import Job
from tests.clusters.servers import RayHead, ray_head, slurm_cluster


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture(scope="module")
def ray() -> Iterator[RayHead]:
    with TemporaryDirectory(prefix="ray-", dir="/tmp") as folder, ray_head(Path(folder)) as head:  # paths of sockets
        yield head


@pytest.fixture(autouse=True)
def _fresh_runners() -> Iterator[None]:
    """What a runner was told by one test's cluster is not another's."""
    runner_for.cache_clear()
    yield
    runner_for.cache_clear()


def wait(job_id: int, condition: Callable[[Job], object], seconds: float = 60.0) -> Job:
    """Tick until the job meets the condition."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        tick()
        job = queue.get(job_id)
        if condition(job):
            return job
        assert job.status != "failed" or job.attempts == 0, f"{job.error}\n{queue.logs(job_id)}"
        time.sleep(0.2)
    raise AssertionError(f"job {job_id} is {job.status}: {job.message} {job.error}\n{queue.logs(job_id)}")


def learning(job: Job) -> bool:
    """Does it run and has it reported a step?"""
    return job.status == "running" and "structures/s" in job.message
