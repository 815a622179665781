"""Jobs on a Ray cluster, through its job server."""

from __future__ import annotations

import shlex
import socket
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from core.jobs.runners.cluster import ClusterError, Remembered, command, environment, gpus_of, place_of
from core.settings import ROOT, Place, settings
from db.tables import Job

_STATES = {"PENDING": "waiting", "RUNNING": "alive"}
_ANSWER_S = 3.0
_KILL_S = 60  # a worker has this long to keep what it has, once its time is up


class RayRunner:
    """One Ray job per attempt; the project and its packages lie at the same place on the cluster's machines."""

    label = "Ray"

    def __init__(self) -> None:
        self._states = Remembered(_states)

    def submit(self, job: Job) -> dict[str, object]:
        place = place_of(job)
        name = f"subhull-{job.id}-{job.attempts}-{uuid4().hex[:8]}"
        asked: dict[str, Any] = {
            "entrypoint_num_cpus": place.cpus or 1,
            "entrypoint_num_gpus": gpus_of(job, place),
            "entrypoint_memory": place.memory * 10**9,
        }
        try:
            _client().submit_job(
                entrypoint=_entrypoint(job, place),
                submission_id=name,
                runtime_env={"env_vars": environment(place)},
                **{k: v for k, v in asked.items() if v},
            )
        except (RuntimeError, OSError) as error:
            raise ClusterError(f"Ray did not take the job: {_reason(error)}") from error
        self._states.forget()
        return {"cluster_id": name}

    def status(self, job: Job) -> str:
        states = self._states.get() if job.cluster_id else None
        if states is None:
            return "unknown"
        state = _STATES.get(states.get(job.cluster_id, ""), "gone")
        return "alive" if state == "waiting" and job.pid is not None else state  # its worker began since Ray was asked

    def cancel(self, job: Job, force: bool) -> None:
        """A worker that has begun polls the request itself; Ray would kill it three seconds after SIGTERM."""
        if not job.cluster_id or (job.pid is not None and not force):
            return
        try:
            _client().stop_job(job.cluster_id)
        except (RuntimeError, OSError, ClusterError):
            return  # it has ended, or Ray does not answer: the next tick sees which
        self._states.forget()

    def logs(self, job: Job, lines: int) -> str:
        if not job.cluster_id:
            return ""
        try:
            text = str(_client().get_job_logs(job.cluster_id))
        except (RuntimeError, OSError) as error:
            return f"Ray has no log of this job: {_reason(error)}"
        except ClusterError as error:
            return str(error)
        return "\n".join(text.splitlines()[-lines:])


def _entrypoint(job: Job, place: Place) -> str:
    """In the project's folder, with the time limit that Ray itself does not have."""
    words = command(job, place)
    if place.time:
        words = ["timeout", "--signal=TERM", f"--kill-after={_KILL_S}", str(60 * place.time), *words]
    return f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(words)}"


def _client() -> Any:
    """Ray's client with the token, if there is one. Raises ClusterError where Ray does not answer or lets nobody in."""
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise ClusterError("Ray needs the package ray: pip install -r requirements-cluster.txt.") from None
    ours = settings()
    _check_reachable(ours.ray_address)
    headers = {"Authorization": f"Bearer {ours.ray_token}"} if ours.ray_token else {}
    try:
        return JobSubmissionClient(ours.ray_address, headers=headers)
    except ConnectionError:
        raise ClusterError(f"Ray does not answer at {ours.ray_address}: is its head running?") from None
    except Exception as error:
        raise ClusterError(f"Ray at {ours.ray_address} refused: {_reason(error)}") from None


def _check_reachable(address: str) -> None:
    """Ray's client would wait without end for a machine that drops what it is sent. Raises ClusterError."""
    if not address:
        raise ClusterError("Ray is no longer configured here: set SUBHULL_RAY_ADDRESS, as the README describes.")
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_ANSWER_S).close()
    except OSError:
        raise ClusterError(f"Ray does not answer at {address}: is its head running?") from None


def _states() -> dict[str, str] | None:
    """Ray's word for each job; None where it does not answer."""
    try:
        return {job.submission_id: str(job.status.value) for job in _client().list_jobs() if job.submission_id}
    except (RuntimeError, OSError, ClusterError):
        return None


def _reason(error: BaseException) -> str:
    """One line of what Ray said; never a token."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    token = settings().ray_token
    said = (lines[0] if lines else type(error).__name__)[:200]
    return (said.replace(token, "…") if token else said).rstrip(".") + "."
