"""Trainings as the store knows them: their curves, thinned and kept in this process, their best values, their state."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.training.checkpoints import BEST, CHECKPOINT
from core.workflows import artefacts
from core.workflows.acting import require_owner
from core.workflows.audit import record_alone
from core.workflows.context import UserError
from core.workflows.store import store
from db import datasets as dataset_rows
from db import jobs as rows
from db.tables import Job, Model

LOSSES = ("loss", "loss_frac", "loss_lattice")
VALIDATION = tuple(f"validation_{name}" for name in LOSSES)
RATES = ("match_rate_paper", "match_rate_field", "valid")
PACE = ("learning_rate", "structures_per_s", "memory_mb")
MOST = 1000  # points of a series that is drawn
FINISH = "finish"  # a file of this name in a job's folder asks for the end
_GIVEN_UP = "given-up"  # a file of this name in the job's folder: its checkpoint is not wanted any more
_KEPT = 24  # trainings in memory

Point = tuple[int, float]
Series = Sequence[Point]


@dataclass(frozen=True)
class Curves:
    """points: (step, value) by name, at most 2 × `MOST` of each; best: lowest of losses, highest of the others."""

    points: Mapping[str, Series]
    best: Mapping[str, Point]

    @property
    def step(self) -> int:
        """The last step that anything was written for, 0 before."""
        return max((series[-1][0] for series in self.points.values() if series), default=0)

    def last(self, name: str) -> float | None:
        """The latest value."""
        series = self.points.get(name)
        return series[-1][1] if series else None


@dataclass
class _Kept:
    attempts: int
    points: dict[str, list[Point]] = field(default_factory=dict)
    best: dict[str, Point] = field(default_factory=dict)


_cache: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
_lock = threading.Lock()


def read_curves(job: Job) -> Curves:
    """What a training has written so far; what was read before is not read again.

    Rates come later than the losses of their step, and are few: they are read whole.
    """
    database = store()
    key = (database.url, job.id)
    with _lock:
        kept = _cache.pop(key, None)
        if kept is None or kept.attempts != job.attempts:  # a new attempt forgets what came after its checkpoint
            kept = _Kept(job.attempts)
        _cache[key] = kept
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
        with database.session() as session:
            if not kept.points:
                found = rows.extreme_metrics(session, [job.id], (*LOSSES, *VALIDATION), highest=False)
                found |= rows.extreme_metrics(session, [job.id], PACE, highest=True)
                kept.best = {name: point for (_, name), point in found.items()}
            fresh = []
            for names in ((*LOSSES, *PACE), VALIDATION):
                after = max((kept.points[name][-1][0] for name in names if name in kept.points), default=-1)
                fresh += rows.thinned_metrics(session, job.id, names, MOST, after)
            rates = rows.thinned_metrics(session, job.id, RATES, MOST)
        _add(kept, fresh)
        points = {name: list(series) for name, series in kept.points.items()}
        best = dict(kept.best)
    for step, name, value in rates:
        points.setdefault(name, []).append((step, value))
        best[name] = max(best.get(name, (step, value)), (step, value), key=lambda point: point[1])
    return Curves(points, best)


def _add(kept: _Kept, fresh: Sequence[tuple[int, str, float]]) -> None:
    for step, name, value in fresh:
        series = kept.points.setdefault(name, [])
        series.append((step, value))
        best = kept.best.get(name)
        better = best is None or (value > best[1] if name in PACE else value < best[1])
        if better:
            kept.best[name] = (step, value)
        if len(series) > 2 * MOST:
            del series[1:-1:2]


@dataclass(frozen=True)
class Training:
    """A row of the list of trainings. best_loss: of validation; match_rate: the highest, by the paper's tolerances."""

    job: Job
    state: str
    best_loss: float | None
    match_rate: float | None


def list_trainings(limit: int = 20, offset: int = 0) -> list[Training]:
    """Newest first."""
    with store().session() as session:
        jobs = rows.list_jobs(session, kinds=["train"], limit=limit, offset=offset)
        ids = [job.id for job in jobs]
        losses = rows.extreme_metrics(session, ids, ["validation_loss"], highest=False)
        rates = rows.extreme_metrics(session, ids, ["match_rate_paper"], highest=True)
    for job in jobs:
        tidy(job)
    return [
        Training(
            job,
            state_of(job),
            losses.get((job.id, "validation_loss"), (0, None))[1],
            rates.get((job.id, "match_rate_paper"), (0, None))[1],
        )
        for job in jobs
    ]


def count_trainings() -> int:
    with store().session() as session:
        return rows.count_jobs(session, kinds=["train"])


def state_of(job: Job) -> str:
    """The job's status in a training's words: one that was stopped and can go on is paused."""
    return "paused" if job.status == "cancelled" and can_go_on(job) else job.status


def can_go_on(job: Job) -> bool:
    """Is there a checkpoint to go on from?"""
    return (Path(job.folder) / CHECKPOINT).is_file() and not _given_up(job)


def is_finishing(job: Job) -> bool:
    """Was it asked to end early and keep its model?"""
    return job.status == "running" and (Path(job.folder) / FINISH).exists()


def finish(job_id: int) -> None:
    """Ask a running training to end now and keep its model. Raises UserError where it does not run."""
    with store().session() as session:
        job = rows.get_job(session, job_id)
    if job is None or job.kind != "train" or job.status != "running":
        raise UserError(f"Job {job_id} is no training that runs.")
    require_owner(f"Job {job_id}", job.owner_id)
    record_alone("finish", "job", job_id, job.title)
    if job.runner != "local" and artefacts.in_use():
        artefacts.ask_to_finish(job)
    else:
        (Path(job.folder) / FINISH).touch()


def give_up(job: Job) -> None:
    """Nobody will go on with it: its checkpoint is removed, at once or when it has ended (`tidy`). Curves stay."""
    require_owner(f"Job {job.id}", job.owner_id)
    record_alone("give up", "job", job.id, job.title)
    folder = Path(job.folder)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _GIVEN_UP).touch()
    tidy(job)


def tidy(job: Job) -> None:
    """Remove the checkpoint of a training that was given up and has ended."""
    if job.status in rows.ENDED and _given_up(job):
        for name in (CHECKPOINT, BEST):
            with suppress(OSError):
                (Path(job.folder) / name).unlink(missing_ok=True)


def _given_up(job: Job) -> bool:
    """Since its last start, that is: it may have been taken up again."""
    try:
        return (Path(job.folder) / _GIVEN_UP).stat().st_mtime >= (job.started_at or 0.0)
    except OSError:
        return False


def model_of(job: Job) -> Model | None:
    """The model that a training made, under whatever name it has now; None where it was deleted."""
    with store().session() as session:
        return dataset_rows.model_of_job(session, job.id)
