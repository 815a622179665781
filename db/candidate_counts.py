"""Candidates counted and sampled by the database: what filters offer, and what charts are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, case, cast, func, literal, select
from sqlalchemy.orm import Session

from db.candidate_lists import CandidateFilter, Placing, above_hull, filtered
from db.tables import Candidate, Job, Relaxation

COLUMNS = ("model", "reduced_formula", "chemical_system", "group_asked", "group_found", "energy_asked", "series")

SAMPLED = ("id", "job_id", "index", "reduced_formula", "group_found", "energy_asked", "energy_method")


@dataclass(frozen=True)
class Verdicts:
    """How many candidates have one value of a column, how many are valid, and how many of these new and no repeat."""

    value: Any
    count: int
    valid: int
    fresh: int


def values_of(session: Session, column: str, wanted: CandidateFilter | None = None) -> list[tuple[Any, int]]:
    """(value, candidates that have it), by value; NULL and "" are left out. `column` is one of COLUMNS."""
    key = _column(column)
    query = filtered([key, func.count()], wanted or CandidateFilter()).where(key.is_not(None))
    if column in ("series", "model"):
        query = query.where(key != "")
    return [(value, int(n)) for value, n in session.execute(query.group_by(key).order_by(key))]


def above_hulls(
    session: Session, wanted: CandidateFilter, placing: Placing, most: int
) -> list[tuple[str, int | None, float]]:
    """(reduced formula, space group found, eV/atom above its hull) of all that stand on one; of more than `most` some.

    Which ones is the same each time, and spread over all.
    """
    above = above_hull(placing)
    query = filtered([Candidate.reduced_formula, Candidate.group_found, above], wanted, placing, ["above"])
    query = query.where(above.is_not(None))
    found = session.execute(query.limit(most + 1)).all()
    if len(found) > most:
        found = session.execute(query.order_by(_scattered()).limit(most)).all()
    return [tuple(row) for row in found]


def verdicts(
    session: Session, column: str, wanted: CandidateFilter, placing: Placing | None = None, most: int = 30
) -> list[Verdicts]:
    """By value of a column, the `most` frequent values first."""
    key, valid = _column(column), Candidate.valid.is_(True)
    fresh = valid & Candidate.novel.is_(True) & Candidate.unique.is_(True)
    query = filtered([key, func.count(), _sum(valid), _sum(fresh)], wanted, placing).where(key.is_not(None))
    query = query.group_by(key).order_by(func.count().desc(), key).limit(most)
    return [Verdicts(v, int(n), int(good or 0), int(new or 0)) for v, n, good, new in session.execute(query)]


@dataclass(frozen=True)
class Summary:
    """Of all that pass a filter: how many, and how they fared; `lowest` in eV/atom above its hull.

    novel: None where none was compared with known structures
    """

    count: int
    valid: int
    novel: int | None
    unique: int
    relaxed: int
    placed: int
    lowest: float | None


def summary(session: Session, wanted: CandidateFilter, placing: Placing) -> Summary:
    """novel and unique count valid ones only; relaxed: by the method of the placing."""
    above, valid = above_hull(placing), Candidate.valid.is_(True)
    columns = [
        func.count(),
        _sum(valid),
        _sum(valid & Candidate.novel.is_(True)),
        _sum(valid & Candidate.unique.is_(True)),
        func.count(Candidate.novel),
        func.count(Relaxation.total_after),
        func.count(above),
        func.min(above),
    ]
    *counts, low = session.execute(filtered(columns, wanted, placing, ["above", "energy"])).one()
    n, valid_ones, novel, unique, compared, relaxed, placed = (int(c or 0) for c in counts)
    return Summary(n, valid_ones, novel if compared else None, unique, relaxed, placed, _number(low))


def sample(
    session: Session, wanted: CandidateFilter, placing: Placing, most: int, kind: str | None = None
) -> list[dict[str, Any]]:
    """Up to `most` relaxed candidates spread over all that pass, the same ones each time.

    kind: of the job that made them. Keys: SAMPLED, energy and above (eV/atom)
    """
    columns = [*(getattr(Candidate, n) for n in SAMPLED), Relaxation.formation_after, above_hull(placing)]
    query = filtered(columns, wanted, placing, ["above", "energy"]).where(Relaxation.formation_after.is_not(None))
    if kind is not None:
        query = query.where(Candidate.job_id.in_(select(Job.id).where(Job.kind == kind)))
    found = session.execute(query.order_by(_scattered()).limit(most))
    return [dict(zip((*SAMPLED, "energy", "above"), row, strict=True)) for row in found]


def _scattered() -> ColumnElement[Any]:
    """An order that has nothing to do with how candidates came: Knuth's multiplicative hash."""
    return (Candidate.id * literal(2_654_435_761)) % literal(4_294_967_296)


def _column(name: str) -> Any:
    if name not in COLUMNS:
        raise KeyError(name)
    return getattr(Candidate, name)


def _sum(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return cast(func.sum(case((condition, 1), else_=0)), Integer)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
