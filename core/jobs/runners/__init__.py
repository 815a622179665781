"""Where jobs run. A runner starts a worker for a job, tells whether it lives, stops it and reads its log."""

from __future__ import annotations

from functools import cache
from typing import Protocol

from core.settings import settings
from core.workflows.context import UserError
from db.tables import Job

CLUSTERS = {"slurm": "slurm", "slurm-gpu": "slurm", "ray": "ray", "ray-gpu": "ray"}  # device -> runner


class Runner(Protocol):
    """A place for workers: this machine, Slurm, Ray. What it needs to find a job again is in the job's row."""

    label: str

    def submit(self, job: Job) -> dict[str, object]:
        """Start the job's worker; returns columns that say where it runs. Raises OSError and UserError."""

    def status(self, job: Job) -> str:
        """ "alive", "waiting" in a cluster's queue, "gone", or "unknown" where this machine cannot tell."""

    def cancel(self, job: Job, force: bool) -> None:
        """Ask the worker to stop (SIGTERM), or end it (SIGKILL)."""

    def logs(self, job: Job, lines: int) -> str:
        """The end of the log."""


@cache
def runner_for(name: str) -> Runner:
    """The runner of that name. Its packages are imported when it is first used."""
    if name == "local":
        from core.jobs.runners.local import LocalRunner

        return LocalRunner()
    if name == "slurm":
        from core.jobs.runners.slurm import SlurmRunner

        return SlurmRunner()
    if name == "ray":
        from core.jobs.runners.ray import RayRunner

        return RayRunner()
    raise ValueError(f"no runner is called {name!r}")


def runner_of(device: str) -> str:
    """The runner that a device's jobs go to. Raises UserError for a cluster that is not configured."""
    if device not in CLUSTERS:
        return "local"
    if device not in settings().places:
        wanted = {"slurm": "SUBHULL_SLURM", "slurm-gpu": "SUBHULL_SLURM_GPU", "ray": "SUBHULL_RAY_ADDRESS"}
        name = wanted.get(device, "SUBHULL_RAY_ADDRESS and SUBHULL_RAY_GPU")
        raise UserError(f"There is no device {device!r} here: it needs the setting {name}, as the README describes.")
    return CLUSTERS[device]


def cluster_devices() -> list[str]:
    """Devices of the clusters that are configured."""
    return list(settings().places)
