"""Questions about candidates, their relaxations and hulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.orm import Session

from db.tables import Candidate, Hull, HullEntry, Relaxation


@dataclass(frozen=True)
class CandidateFilter:
    """Which candidates; None asks for all. `valid_only` leaves out what failed its checks."""

    job_id: int | None = None
    model: str | None = None
    reduced_formula: str | None = None
    chemical_system: str | None = None
    valid_only: bool = False


def add_candidates(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(Candidate), list(rows))


def candidate_indices(session: Session, job_id: int) -> set[int]:
    """Which samples of a run are in the store already."""
    return set(session.scalars(select(Candidate.index).where(Candidate.job_id == job_id)))


def unique_cells(session: Session, job_id: int, reduced_formula: str) -> list[bytes]:
    """Cells of a run's candidates of a formula that are no repeats, in the order they were kept; the bin's too."""
    query = select(Candidate.cell).where(Candidate.job_id == job_id, Candidate.reduced_formula == reduced_formula)
    return list(session.scalars(query.where(Candidate.unique.is_(True)).order_by(Candidate.id)))


def page_candidates(session: Session, wanted: CandidateFilter, limit: int = 50, offset: int = 0) -> list[Candidate]:
    """Newest run first, in a run by number."""
    query = _filtered(select(Candidate), wanted).order_by(Candidate.job_id.desc(), Candidate.index)
    return list(session.scalars(query.limit(limit).offset(offset)))


def count_candidates(session: Session, wanted: CandidateFilter) -> int:
    return int(session.scalar(_filtered(select(func.count()).select_from(Candidate), wanted)) or 0)


def get_candidates(session: Session, ids: Sequence[int]) -> list[Candidate]:
    """In the order asked; ids that are gone are left out."""
    found = {c.id: c for c in session.scalars(select(Candidate).where(Candidate.id.in_(list(ids))))}
    return [found[i] for i in ids if i in found]


def find_candidate(session: Session, job_id: int, index: int) -> Candidate | None:
    """By its run and its number there."""
    return session.scalar(select(Candidate).where(Candidate.job_id == job_id, Candidate.index == index).limit(1))


def runs(session: Session) -> list[tuple[int, str, int]]:
    """(job, model, candidates) of every run that made candidates, newest first."""
    query = select(Candidate.job_id, Candidate.model, func.count()).group_by(Candidate.job_id, Candidate.model)
    return [(int(j), m, int(n)) for j, m, n in session.execute(query.order_by(Candidate.job_id.desc()))]


def chemical_systems(session: Session) -> list[str]:
    query = select(Candidate.chemical_system).distinct().order_by(Candidate.chemical_system)
    return list(session.scalars(query))


def put_relaxation(session: Session, **values: Any) -> None:
    """Write a relaxation; an earlier one by the same method is replaced."""
    session.execute(
        delete(Relaxation).where(
            Relaxation.candidate_id == values["candidate_id"], Relaxation.method == values["method"]
        )
    )
    session.execute(insert(Relaxation).values(**values))


def relaxations(session: Session, candidate_ids: Sequence[int], method: str | None = None) -> list[Relaxation]:
    query = select(Relaxation).where(Relaxation.candidate_id.in_(list(candidate_ids)))
    return list(session.scalars(query.where(Relaxation.method == method) if method else query))


def relaxations_by(session: Session, method: str) -> list[tuple[Relaxation, str]]:
    """Every relaxation by a method, with the formula of its candidate."""
    query = select(Relaxation, Candidate.formula).join(Candidate, Candidate.id == Relaxation.candidate_id)
    return [(row, str(formula)) for row, formula in session.execute(query.where(Relaxation.method == method))]


def relaxation_methods(session: Session) -> list[str]:
    return list(session.scalars(select(Relaxation.method).distinct().order_by(Relaxation.method)))


def _filtered(query: Select[Any], wanted: CandidateFilter) -> Select[Any]:
    for column in ("job_id", "model", "reduced_formula", "chemical_system"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(getattr(Candidate, column) == value)
    return query.where(Candidate.valid) if wanted.valid_only else query


def add_hull(session: Session, entries: Sequence[dict[str, Any]], **values: Any) -> int:
    row = Hull(**values)
    session.add(row)
    session.flush()
    if entries:
        session.execute(insert(HullEntry), [{**e, "hull_id": row.id} for e in entries])
    return row.id


def list_hulls(session: Session, chemical_system: str | None = None) -> list[Hull]:
    query = select(Hull).order_by(Hull.chemical_system, Hull.id)
    return list(session.scalars(query.where(Hull.chemical_system == chemical_system) if chemical_system else query))


def find_hull(session: Session, chemical_system: str, method: str, name: str) -> Hull | None:
    return session.scalar(
        select(Hull).where(Hull.chemical_system == chemical_system, Hull.method == method, Hull.name == name)
    )


def hull_entries(session: Session, hull_id: int) -> list[HullEntry]:
    """Lowest above the hull first."""
    query = select(HullEntry).where(HullEntry.hull_id == hull_id)
    return list(session.scalars(query.order_by(HullEntry.above_hull, HullEntry.formula)))


def drop_hull(session: Session, hull_id: int) -> None:
    session.execute(delete(Hull).where(Hull.id == hull_id))


def count_relaxations(session: Session) -> int:
    return int(session.scalar(select(func.count()).select_from(Relaxation)) or 0)


def relaxed_candidates(
    session: Session, chemical_systems: Sequence[str], method: str, job_id: int | None = None, limit: int = 1000
) -> list[int]:
    """Ids of candidates of these systems that were relaxed by a method, lowest formation energy first."""
    query = (
        select(Candidate.id)
        .join(Relaxation, Relaxation.candidate_id == Candidate.id)
        .where(Relaxation.method == method, Relaxation.formation_after.is_not(None))
        .where(Candidate.chemical_system.in_(chemical_systems))
        .order_by(Relaxation.formation_after)
    )
    if job_id is not None:
        query = query.where(Candidate.job_id == job_id)
    return list(session.scalars(query.limit(limit)))
