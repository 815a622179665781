"""What the store holds at a glance, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from core.energy.load import Choice, choices, default_choice
from core.settings import settings
from core.workflows.store import store
from db import candidates as candidate_rows
from db import datasets as dataset_rows
from db import hulls as hull_rows
from db import jobs as job_rows
from db.tables import Dataset, Hull, Job


@dataclass(frozen=True)
class Step:
    """One thing to do next: its page's name, what to call it and why."""

    title: str
    why: str
    page: str
    action: str


@dataclass(frozen=True)
class Overview:
    """missing: the potential that would be preferred but is not here, or None."""

    structures: int
    models: int
    candidates: int
    hulls: int
    datasets: list[Dataset]
    hull_rows: list[Hull]
    active: list[Job]
    ended: list[Job]
    potential: Choice
    missing: Choice | None
    step: Step


def overview() -> Overview:
    """Count what is there."""
    folder = settings().m3gnet
    with store().session() as session:
        datasets = dataset_rows.list_datasets(session)
        models = dataset_rows.list_models(session)
        candidates = candidate_rows.count_candidates(session, candidate_rows.CandidateFilter())
        relaxed = candidate_rows.count_relaxations(session)
        hulls = hull_rows.list_hulls(session)
        active = job_rows.list_jobs(session, job_rows.ACTIVE, limit=10)
        ended = job_rows.list_jobs(session, job_rows.ENDED, limit=5)
    return Overview(
        sum(d.summary["structures"] for d in datasets),
        len(models),
        candidates,
        len(hulls),
        datasets[:6],
        hulls[:6],
        active,
        ended,
        default_choice(folder),
        next((c for c in choices(folder) if c.problem), None),
        _next_step(len(datasets), len(models), candidates, relaxed),
    )


def _next_step(datasets: int, models: int, candidates: int, relaxed: int) -> Step:
    if not datasets:
        return Step("bring structures", "A model learns from a dataset.", "datasets", "Import a file")
    if not models:
        why = "There is a dataset to learn from. Generate and Modify work without: its structures are templates."
        return Step("train a model", why, "train", "Train")
    if not candidates:
        why = "A trained model is here: type a composition and it draws crystals of it."
        return Step("generate your first crystals", why, "generate", "Generate")
    if not relaxed:
        why = f"{candidates:,} candidates wait to be relaxed and placed on a hull."
        return Step("relax candidates", why, "candidates", "Look at the candidates")
    why = "Relaxed candidates can be seen against the hull and taken home as CIFs."
    return Step("choose what to take home", why, "candidates", "Look at the candidates")
