"""Questions about candidates and their relaxations. What lies in the bin is left out unless it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from db.candidate_lists import CandidateFilter, Placing, filtered, ordered
from db.tables import Candidate, Job, Relaxation

__all__ = ["CandidateFilter", "Placing"]

Which = Sequence[int] | CandidateFilter  # candidates by their ids, or all that pass a filter
_PART = 5000  # ids sent at once


def add_candidates(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(Candidate), list(rows))


def candidate_indices(session: Session, job_id: int) -> set[int]:
    """Which samples of a run were drawn already, those in the bin too: they are not drawn again."""
    return set(session.scalars(select(Candidate.index).where(Candidate.job_id == job_id)))


def unique_cells(session: Session, job_id: int, reduced_formula: str) -> list[bytes]:
    """Cells of a run's candidates of a formula that are no repeats, in the order they were kept; the bin's too."""
    query = select(Candidate.cell).where(Candidate.job_id == job_id, Candidate.reduced_formula == reduced_formula)
    return list(session.scalars(query.where(Candidate.unique.is_(True)).order_by(Candidate.id)))


def page_candidates(session: Session, wanted: CandidateFilter, limit: int = 50, offset: int = 0) -> list[Candidate]:
    """A page of candidates, the newest run first."""
    return get_candidates(session, ordered_ids(session, wanted, limit, offset), deleted=None)


def ordered_ids(
    session: Session,
    wanted: CandidateFilter,
    limit: int = 50,
    offset: int = 0,
    order: str = "run",
    descending: bool = False,
    placing: Placing | None = None,
) -> list[int]:
    """Ids of a page of candidates; no cell is read for it."""
    query = ordered(wanted, order, descending, placing)
    return list(session.scalars(query.limit(limit).offset(offset)))


def count_candidates(session: Session, wanted: CandidateFilter, placing: Placing | None = None) -> int:
    return int(session.scalar(filtered([func.count(Candidate.id)], wanted, placing)) or 0)


def get_candidates(session: Session, ids: Sequence[int], deleted: bool | None = False) -> list[Candidate]:
    """In the order asked; ids that are gone are left out. deleted: in the bin, False outside of it, None both."""
    found: dict[int, Candidate] = {}
    for start in range(0, len(ids), _PART):
        query = select(Candidate).where(Candidate.id.in_(list(ids[start : start + _PART])))
        if deleted is not None:
            query = query.where(Candidate.deleted_at.is_not(None) if deleted else Candidate.deleted_at.is_(None))
        found |= {c.id: c for c in session.scalars(query)}
    return [found[i] for i in ids if i in found]


def find_candidate(session: Session, job_id: int, index: int) -> Candidate | None:
    """By its run and its number there."""
    query = select(Candidate).where(Candidate.job_id == job_id, Candidate.index == index)
    return session.scalar(query.where(Candidate.deleted_at.is_(None)).limit(1))


def runs(session: Session) -> list[tuple[int, str, int]]:
    """(job, model, candidates) of every run that made candidates, newest first."""
    query = select(Candidate.job_id, Candidate.model, func.count()).where(Candidate.deleted_at.is_(None))
    query = query.group_by(Candidate.job_id, Candidate.model).order_by(Candidate.job_id.desc())
    return [(int(j), m, int(n)) for j, m, n in session.execute(query)]


def chemical_systems(session: Session) -> list[str]:
    query = select(Candidate.chemical_system).distinct().order_by(Candidate.chemical_system)
    return list(session.scalars(query))


def star(session: Session, which: Which, starred: bool, placing: Placing | None = None) -> int:
    """Returns how many were changed."""
    changed = update(Candidate).where(_chosen(which, placing), Candidate.starred != starred)
    return _rows(session.execute(changed.values(starred=starred)))


def put_note(session: Session, which: Which, text: str, placing: Placing | None = None, add: bool = False) -> int:
    """In the place of the notes they have; add: on a line of its own under them."""
    note: Any = case((Candidate.note == "", text), else_=Candidate.note + "\n" + text) if add else text
    return _rows(session.execute(update(Candidate).where(_chosen(which, placing)).values(note=note)))


def longest_note(session: Session, which: Which, placing: Placing | None = None) -> int:
    """Characters of the longest note that one of them has."""
    return int(session.scalar(select(func.max(func.length(Candidate.note))).where(_chosen(which, placing))) or 0)


def passing(session: Session, ids: Sequence[int], wanted: CandidateFilter, placing: Placing | None = None) -> list[int]:
    """Those of these ids that pass a filter, in the order given."""
    found = set(session.scalars(filtered([Candidate.id], wanted, placing).where(Candidate.id.in_(list(ids)))))
    return [i for i in ids if i in found]


def put_in_bin(session: Session, which: Which, at: datetime, placing: Placing | None = None) -> int:
    """Returns how many; `at` names this deletion."""
    changed = update(Candidate).where(_chosen(which, placing), Candidate.deleted_at.is_(None))
    return _rows(session.execute(changed.values(deleted_at=at)))


def restore(session: Session, which: Which | datetime, placing: Placing | None = None) -> int:
    """Take candidates out of the bin: these, or what one deletion put there."""
    chosen = Candidate.deleted_at == which if isinstance(which, datetime) else _chosen(which, placing)
    changed = update(Candidate).where(chosen, Candidate.deleted_at.is_not(None))
    return _rows(session.execute(changed.values(deleted_at=None)))


def deleted_at(session: Session, at: datetime) -> int:
    """How many of a deletion are still in the bin."""
    return int(session.scalar(select(func.count(Candidate.id)).where(Candidate.deleted_at == at)) or 0)


def frames_in_bin(session: Session) -> list[tuple[int, str]]:
    """(candidate, folder of the job that relaxed it) of what lies in the bin."""
    query = (
        select(Relaxation.candidate_id, Job.folder)
        .join(Candidate, Candidate.id == Relaxation.candidate_id)
        .join(Job, Job.id == Relaxation.job_id)
        .where(Candidate.deleted_at.is_not(None), Job.folder != "")
    )
    return [(int(i), folder) for i, folder in session.execute(query)]


def empty_bin(session: Session) -> int:
    """Remove what lies in the bin, relaxations too; returns how many candidates."""
    return _rows(session.execute(delete(Candidate).where(Candidate.deleted_at.is_not(None))))


def put_relaxation(session: Session, **values: Any) -> None:
    """Write a relaxation; an earlier one by the same method is replaced."""
    session.execute(
        delete(Relaxation).where(
            Relaxation.candidate_id == values["candidate_id"], Relaxation.method == values["method"]
        )
    )
    session.execute(insert(Relaxation).values(**values))


def relaxations(session: Session, candidate_ids: Sequence[int], method: str | None = None) -> list[Relaxation]:
    found: list[Relaxation] = []
    for start in range(0, len(candidate_ids), _PART):
        query = select(Relaxation).where(Relaxation.candidate_id.in_(list(candidate_ids[start : start + _PART])))
        found += session.scalars(query.where(Relaxation.method == method) if method else query)
    return found


def relaxations_by(session: Session, method: str) -> list[tuple[Relaxation, str]]:
    """Every relaxation by a method, with the formula of its candidate, also of those in the bin: they may come back."""
    query = select(Relaxation, Candidate.formula).join(Candidate, Candidate.id == Relaxation.candidate_id)
    return [(row, str(formula)) for row, formula in session.execute(query.where(Relaxation.method == method))]


def relaxation_methods(session: Session) -> list[str]:
    return list(session.scalars(select(Relaxation.method).distinct().order_by(Relaxation.method)))


def count_relaxations(session: Session) -> int:
    """Of candidates outside of the bin."""
    query = select(func.count()).select_from(Relaxation).join(Candidate, Candidate.id == Relaxation.candidate_id)
    return int(session.scalar(query.where(Candidate.deleted_at.is_(None))) or 0)


def relaxed_candidates(
    session: Session, chemical_systems: Sequence[str], method: str, job_id: int | None = None, limit: int = 1000
) -> list[int]:
    """Ids of candidates of these systems that were relaxed by a method, lowest formation energy first."""
    query = (
        select(Candidate.id)
        .join(Relaxation, Relaxation.candidate_id == Candidate.id)
        .where(Relaxation.method == method, Relaxation.formation_after.is_not(None))
        .where(Candidate.chemical_system.in_(chemical_systems), Candidate.deleted_at.is_(None))
        .order_by(Relaxation.formation_after)
    )
    if job_id is not None:
        query = query.where(Candidate.job_id == job_id)
    return list(session.scalars(query.limit(limit)))


def not_of(session: Session, which: Which | datetime, owner_id: int | None, placing: Placing | None = None) -> int:
    """How many of these candidates, or of one deletion, come from runs of others or of nobody."""
    chosen = Candidate.deleted_at == which if isinstance(which, datetime) else _chosen(which, placing)
    query = select(func.count(Candidate.id)).join(Job, Job.id == Candidate.job_id).where(chosen)
    return int(session.scalar(query.where(or_(Job.owner_id.is_(None), Job.owner_id != owner_id))) or 0)


def _chosen(which: Which, placing: Placing | None) -> ColumnElement[bool]:
    if isinstance(which, CandidateFilter):
        return Candidate.id.in_(filtered([Candidate.id], which, placing).correlate(None))
    return Candidate.id.in_(list(which))


def _rows(result: Any) -> int:
    return int(result.rowcount)
