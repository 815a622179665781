"""What the commands share: jobs that are followed, tables, progress on standard error."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.jobs import queue
from core.jobs.runners import CLUSTERS, runner_of
from core.workflows.context import UserError
from db.tables import Job

Command = Callable[[argparse.Namespace], dict[str, Any]]


def add(
    commands: Any, shared: argparse.ArgumentParser, name: str, help_: str, run: Command, store: bool = True
) -> argparse.ArgumentParser:
    """A command with its help; `store`: does it open the store?"""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_, parents=[shared])
    parser.set_defaults(run=run, needs_store=store)
    return parser


def add_detach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detach", action="store_true", help="start the job and do not wait for it")


def add_device(parser: argparse.ArgumentParser, default: str = "cpu") -> None:
    parser.add_argument(
        "--device", default=default, help="cpu, cuda:0; slurm, slurm-gpu, ray, ray-gpu where they are configured"
    )


def run_job(kind: str, title: str, params: Any, device: str = "cpu", detach: bool = False) -> dict[str, Any]:
    """Submit a job and follow it; Ctrl-C cancels it. Returns its result with `job` and `status`."""
    check_usable(device)
    job_id = queue.submit(kind, title, params, device)
    if detach:
        return {"job": job_id, "status": detached([job_id])}
    try:
        job = queue.follow(job_id, show)
    except KeyboardInterrupt:
        queue.cancel(job_id)
        print("\nstopping …", file=sys.stderr)
        job = queue.follow(job_id, show)
    print(file=sys.stderr)
    if job.status != "done":
        print(job.error or f"job {job_id} was {job.status}; its log: ./run cli jobs log {job_id}", file=sys.stderr)
    return {**(job.result or {}), "job": job_id, "status": job.status}


def detached(job_ids: Sequence[int]) -> str:
    """Say that they are queued, or why one could not be started; "queued" or "failed"."""
    failed = [job for job_id in job_ids if (job := queue.get(job_id)).status == "failed"]
    for job in failed:
        print(f"job {job.id} failed: {job.error}", file=sys.stderr)
    if failed:
        return "failed"
    several = f"jobs {job_ids[0]} to {job_ids[-1]} are queued; ./run cli jobs list shows them"
    one = f"job {job_ids[0]} is queued; ./run cli jobs list shows it"
    print(several if len(job_ids) > 1 else one, file=sys.stderr)
    return "queued"


def follow_all(job_ids: Sequence[int]) -> list[Job]:
    """Wait until all have ended, telling of each in turn; Ctrl-C cancels those that have not."""
    try:
        ended = [queue.follow(job_id, show) for job_id in job_ids]
    except KeyboardInterrupt:
        print("\nstopping …", file=sys.stderr)
        for job_id in job_ids:
            with suppress(UserError):  # it has ended
                queue.cancel(job_id)
        ended = [queue.follow(job_id, show) for job_id in job_ids]
    print(file=sys.stderr)
    for job in ended:
        if job.status != "done":
            print(job.error or f"job {job.id} was {job.status}; its log: ./run cli jobs log {job.id}", file=sys.stderr)
    return ended


def check_usable(device: str, here: bool = False) -> None:
    """Raises UserError for a device that is not here, or that only jobs can use where the work is done `here`."""
    if here and device in CLUSTERS:
        raise UserError(
            f"This is done by the command itself, not as a job: {device} cannot take it. Choose cpu or cuda."
        )
    if runner_of(device) == "local" and device not in ("cpu", "io"):
        from core.training.devices import DeviceError, check_device

        try:
            check_device(device)
        except DeviceError as error:
            raise UserError(str(error)) from error


def show(job: Job) -> None:
    """One line of progress, rewritten in place on a terminal."""
    share = f"{100 * job.progress:5.1f} % " if job.progress is not None else ""
    left = f", {duration(job.eta_s)} to go" if job.eta_s else ""
    line = f"job {job.id} {job.status}: {share}{job.message}{left}"
    end = "" if sys.stderr.isatty() else "\n"
    print(f"\r\033[K{line}" if sys.stderr.isatty() else line, end=end, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns on standard output."""
    text = [[("" if v is None else str(v)) for v in row] for row in rows]
    widths = [max(len(h), *(len(r[i]) for r in text)) if text else len(h) for i, h in enumerate(headings)]
    for row in [list(headings), *text]:
        print("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip())


def is_json(asked: argparse.Namespace) -> bool:
    return bool(asked.json)


class Console:
    """The context of work done in the command itself, outside any job."""

    job_id = 0

    def __init__(self, device: str = "cpu") -> None:
        self.folder, self.device = Path.cwd(), device
        self._last = 0.0

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        if time.monotonic() - self._last > 1:
            self._last = time.monotonic()
            print(message, file=sys.stderr)

    def metrics(self, step: int, **values: float) -> None:
        print(step, values, file=sys.stderr)

    def cancelled(self) -> bool:
        return False


def pair(text: str) -> tuple[int, int]:
    """ "4-20" -> (4, 20)."""
    low, _, high = text.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no range such as 4-20") from error


def new_folder(path: Path) -> Path:
    """A folder to write into. Raises UserError where it is a file."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; name a folder.")
    path.mkdir(parents=True, exist_ok=True)
    return path
