"""Jobs on Slurm, handed over by submitit. No accounting database is needed: `squeue` answers."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

import psutil

from core.jobs.runners.cluster import ClusterError, Remembered, command, environment, gpus_of, place_of
from core.jobs.runners.local import last_lines
from core.settings import ROOT, Place
from db.tables import Job

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_HELD = {"SUSPENDED", "STOPPED"}
_RUNNING = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"}
_NOTICE_S = 60  # seconds before its time is up a job is told
_LOCAL = "local-"  # what cluster ids of submitit's own executor begin with


class SlurmRunner:
    """One Slurm job per attempt. It is never requeued by Slurm: the store does that, from what the job kept."""

    label = "Slurm"

    def __init__(self) -> None:
        self._states = Remembered(_states)

    def submit(self, job: Job) -> dict[str, object]:
        try:
            import submitit
        except ImportError:
            raise ClusterError("Slurm needs the package submitit: pip install -r requirements-cluster.txt.") from None
        place, folder = place_of(job), _folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # what is handed over holds the database's address
        work = Work(command(job, place), environment(place), str(ROOT))
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=place.cluster, **_python(place))
            executor.update_parameters(**_parameters(job, place))
            made = executor.submit(work)
        except (subprocess.SubprocessError, submitit.core.utils.FailedJobError, RuntimeError) as error:
            raise ClusterError(f"Slurm did not take the job: {_reason(error)}") from error
        self._states.forget()
        return {"cluster_id": f"{_LOCAL if place.cluster == 'local' else ''}{made.job_id}"}

    def status(self, job: Job) -> str:
        if not job.cluster_id:
            return "unknown"  # it is just being handed over
        if job.cluster_id.startswith(_LOCAL):
            return "alive" if _processes(job) else "gone"
        states = self._states.get()
        if states and job.pid is not None and states.get(job.cluster_id) in _WAITING:
            states = self._states.get(anew=True)  # what is kept may be from before its worker began
        if states is None:
            return "unknown"
        state = states.get(job.cluster_id, "")
        if state in _WAITING:  # a worker that had begun was taken off its machine
            return "waiting" if job.pid is None else "gone"
        if state in _HELD:
            return "waiting"
        return "alive" if state in _RUNNING else "gone"

    def cancel(self, job: Job, force: bool) -> None:
        """Slurm's own cancelling: SIGTERM, and SIGKILL after the cluster's KillWait; a waiting job is gone at once."""
        if not job.cluster_id:
            return
        if job.cluster_id.startswith(_LOCAL):
            for process in _processes(job):
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL if force else signal.SIGTERM)
            return
        kill = ["--signal=KILL"] if force and job.pid is not None else []
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", *kill, job.cluster_id], capture_output=True, timeout=20)
        self._states.forget()

    def logs(self, job: Job, lines: int) -> str:
        """Of every attempt, the earliest first."""
        files = sorted(_folder(job).glob("*_log.out"), key=lambda path: path.stat().st_mtime)
        text = "\n".join(filter(None, (last_lines(path, lines) for path in files)))
        return "\n".join(text.splitlines()[-lines:])


class Work:
    """What submitit carries to the cluster's machine: starts the worker there and hands signals on to it."""

    def __init__(self, command: list[str], settings: dict[str, str], root: str) -> None:
        self.command, self.settings, self.root = command, settings, root

    def __call__(self) -> int:
        # Lightning and PyTorch would take Slurm's variables for a launch of their own
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SUBMITIT_"))}
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm may send it to all; it would end what does not know it
        child = subprocess.Popen(self.command, cwd=self.root, env=ours | self.settings)
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):  # pre-empted, time is nearly up, submitit's end
            signal.signal(number, lambda *_: child.terminate())
        return child.wait()


def _folder(job: Job) -> Path:
    return Path(job.folder) / "slurm"


def _python(place: Place) -> dict[str, Any]:
    if not place.python:
        return {}
    return {"slurm_python": quote(place.python)} if place.cluster == "slurm" else {"local_python": quote(place.python)}


def _parameters(job: Job, place: Place) -> dict[str, Any]:
    """As submitit calls them; what is not asked for stays the cluster's own."""
    name = f"subhull-{job.id}-{job.attempts}"
    setup = [f"cd {quote(str(ROOT))}", f"export PYTHONPATH={quote(str(ROOT))}"]
    notice = min(_NOTICE_S, 30 * place.time) if place.time else _NOTICE_S
    shared = {"name": name, "timeout_min": place.time or 60 * 24, "stderr_to_stdout": True}
    if place.cluster == "local":
        return shared | {"gpus_per_node": gpus_of(job, place), "local_setup": setup}
    asked = {"cpus_per_task": place.cpus, "mem_gb": place.memory, "gpus_per_node": gpus_of(job, place)}
    asked |= {f"slurm_{k}": getattr(place, k) for k in ("partition", "account", "qos", "constraint")}
    return (
        shared
        | {k: v for k, v in asked.items() if v}
        | {
            "slurm_setup": setup,
            "slurm_signal_delay_s": notice,
            "slurm_additional_parameters": {"no-requeue": True},
        }
    )


def _states() -> dict[str, str] | None:
    """Slurm's word for each of this user's jobs; None where it does not answer."""
    try:
        done = subprocess.run(
            ["squeue", "--me", "--noheader", "--states=all", "--format=%i %T"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)


def _processes(job: Job) -> list[psutil.Process]:
    """Those of a job of submitit's own executor: its controller and all below."""
    try:
        controller = psutil.Process(int(job.cluster_id.removeprefix(_LOCAL)))
        ours = controller.status() != psutil.STATUS_ZOMBIE and "submitit" in " ".join(controller.cmdline())
        return [*controller.children(recursive=True), controller] if ours else []
    except (psutil.Error, ValueError):
        return []


def _reason(error: BaseException) -> str:
    """Slurm's own line, where there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "sbatch: error:" in line), lines[0] if lines else type(error).__name__)
    return said.removeprefix("sbatch: error: ").rstrip(".") + "."
