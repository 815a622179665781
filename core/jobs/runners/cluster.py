"""What runners of clusters share: the worker's command and settings there, and answers that are kept for seconds."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from core.settings import ROOT, Place, settings
from core.workflows.context import UserError
from db.tables import Job

KEPT_S = 3.0  # clusters are not asked more often than that
_PASSED = ("SUBHULL_M3GNET", "SUBHULL_AFLUX_URL", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")

Found = TypeVar("Found")


class ClusterError(UserError):
    """A cluster that cannot be used or did not take a job; the message is a sentence."""


def place_of(job: Job) -> Place:
    """What its device asks for. Raises ClusterError where that is no longer configured."""
    place = settings().places.get(job.device)
    if place is None:
        raise ClusterError(f"The device {job.device!r} is no longer configured here: the README says which settings.")
    return place


def gpus_of(job: Job, place: Place) -> int:
    """How many it takes: only trainings can use several."""
    return place.gpus if job.kind == "train" else min(1, place.gpus)


def command(job: Job, place: Place) -> list[str]:
    """What runs on the cluster's machine: the worker, for a training on several GPUs under PyTorch's launcher."""
    python = place.python or sys.executable
    worker = ["-m", "core.jobs.worker", str(job.id), str(job.attempts)]
    if (gpus := gpus_of(job, place)) > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
        return [python, *launcher, *worker]
    return [python, *worker]


def environment(place: Place) -> dict[str, str]:
    """Settings that the worker needs: the same store. Credentials of S3 are not passed: its machines have their own."""
    ours = settings()
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return passed | {
        "SUBHULL_VAR": str(ours.var),
        "SUBHULL_DATABASE_URL": ours.database_url,
        "SUBHULL_ARTEFACTS": ours.artefacts,
        "SUBHULL_OWNER": ours.owner,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(max(1, place.cpus // max(1, place.gpus))),
    }


class Remembered(Generic[Found]):
    """The answer of a question that costs something, kept for seconds; None where it could not be answered."""

    def __init__(self, ask: Callable[[], Found | None]) -> None:
        self._ask, self._at = ask, -1e9
        self._found: Found | None = None
        self._lock = threading.Lock()

    def get(self, anew: bool = False) -> Found | None:
        with self._lock:
            if anew or time.monotonic() - self._at > KEPT_S:
                self._found = self._ask()
                self._at = time.monotonic()
            return self._found

    def forget(self) -> None:
        """Ask anew the next time."""
        self._at = -1e9
