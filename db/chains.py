"""Questions about one run of candidates as a whole: how many, which are relaxed, at which energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.tables import Candidate, Job, Relaxation


class RunCounts(NamedTuple):
    """Of a run: candidates drawn, and how many of them are valid, unique among their siblings, new.

    novel: None where none was compared with known structures
    """

    candidates: int
    valid: int
    unique: int
    novel: int | None


class RunEnergy(NamedTuple):
    """A candidate of a run with its relaxation by one method; energies in eV/atom."""

    id: int
    job_id: int
    number: int
    formula: str
    series: str
    status: str
    formation_before: float | None
    formation_after: float | None


def _of_run(query: Any, job_id: int) -> Any:
    return query.where(Candidate.job_id == job_id, Candidate.deleted_at.is_(None))


def run_counts(session: Session, job_id: int) -> RunCounts:
    """Deleted candidates are not counted."""
    query = select(
        func.count(),
        func.count().filter(Candidate.valid.is_(True)),
        func.count().filter(Candidate.unique.is_(True)),
        func.count().filter(Candidate.novel.is_(True)),
        func.count().filter(Candidate.novel.is_not(None)),
    ).select_from(Candidate)
    drawn, valid, unique, novel, compared = (int(n) for n in session.execute(_of_run(query, job_id)).one())
    return RunCounts(drawn, valid, unique, novel if compared else None)


def ids_within(session: Session, job_id: int, distance: float, volumes: tuple[float, float]) -> list[int]:
    """Ids of a run's candidates with no atoms closer than `distance` (Å) and these Å³ per atom; small cells first."""
    query = _of_run(select(Candidate.id), job_id).where(
        Candidate.min_distance >= distance, Candidate.volume.between(*volumes)
    )
    return list(session.scalars(query.order_by(Candidate.natoms, Candidate.index)))


class Energies(NamedTuple):
    """Of a run: candidates that can be relaxed, how many of these have energies, how many others have, and failures."""

    able: int
    done: int
    others: int
    failed: int


def count_energies(
    session: Session, job_id: int, method: str, distance: float, volumes: tuple[float, float]
) -> Energies:
    """By one method; "can be relaxed" as `ids_within` has it."""
    within = (Candidate.min_distance >= distance) & Candidate.volume.between(*volumes)
    known = Relaxation.candidate_id.is_not(None)
    query = (
        select(
            func.count().filter(within),
            func.count().filter(within & known),
            func.count().filter(known),
            func.count().filter(Relaxation.status.startswith("failed")),
        )
        .select_from(Candidate)
        .outerjoin(Relaxation, (Relaxation.candidate_id == Candidate.id) & (Relaxation.method == method))
    )
    able, done, every, failed = (int(n) for n in session.execute(_of_run(query, job_id)).one())
    return Energies(able, done, every - done, failed)


def statuses_of_run(session: Session, job_id: int, method: str) -> dict[int, str]:
    """Candidate id -> how its relaxation by a method ended, for those of a run that have one."""
    query = select(Relaxation.candidate_id, Relaxation.status).join(Candidate, Candidate.id == Relaxation.candidate_id)
    return {int(i): str(s) for i, s in session.execute(_of_run(query, job_id).where(Relaxation.method == method))}


def run_energies(session: Session, job_id: int, method: str) -> list[RunEnergy]:
    """Every candidate of a run that has a relaxation by a method, in order."""
    query = (
        select(
            Candidate.id,
            Candidate.job_id,
            Candidate.index,
            Candidate.formula,
            Candidate.series,
            Relaxation.status,
            Relaxation.formation_before,
            Relaxation.formation_after,
        )
        .join(Relaxation, Relaxation.candidate_id == Candidate.id)
        .where(Relaxation.method == method)
        .order_by(Candidate.index)
    )
    return [RunEnergy(*row) for row in session.execute(_of_run(query, job_id))]


def methods_of_runs(session: Session, job_ids: Sequence[int]) -> dict[int, list[str]]:
    """Job -> the methods that its candidates have relaxations by."""
    query = (
        select(Candidate.job_id, Relaxation.method)
        .join(Relaxation, Relaxation.candidate_id == Candidate.id)
        .where(Candidate.job_id.in_(list(job_ids)))
        .distinct()
    )
    found: dict[int, list[str]] = {}
    for job_id, method in session.execute(query):
        found.setdefault(int(job_id), []).append(str(method))
    return found


def mean_steps(session: Session, method: str) -> float | None:
    """Steps of a relaxation by a method, over all that took any; None where there are fewer than 20."""
    query = select(func.count(), func.avg(Relaxation.steps)).where(Relaxation.method == method, Relaxation.steps > 0)
    count, mean = session.execute(query).one()
    return float(mean) if count >= 20 else None


def jobs_of_experiments(session: Session, limit: int = 2000) -> list[Job]:
    """Generations, newest first; which of them are an experiment is in their params."""
    return list(session.scalars(select(Job).where(Job.kind == "generate").order_by(Job.id.desc()).limit(limit)))
