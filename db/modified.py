"""Questions about the candidates of a modification: numbers alone, so that a run of any size is put in order."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import Candidate, Relaxation


class Moved(NamedTuple):
    """A candidate's id and energies by one method, eV/atom; None where it has none."""

    id: int
    valid: bool
    asked: float | None
    drawn: float | None
    relaxed: float | None
    status: str | None
    formation_drawn: float | None
    formation_relaxed: float | None


def moved_of_run(session: Session, job_id: int, method: str) -> list[Moved]:
    """Every candidate of a run that is not in the bin, by number, with its energies by a method where it has them."""
    of = Relaxation
    query = (
        select(
            Candidate.id, Candidate.valid, Candidate.energy_asked, of.total_before, of.total_after, of.status,
            of.formation_before, of.formation_after,
        )
        .outerjoin(of, (of.candidate_id == Candidate.id) & (of.method == method))
        .where(Candidate.job_id == job_id, Candidate.deleted_at.is_(None))
        .order_by(Candidate.index)
    )  # fmt: skip
    return [Moved(*row) for row in session.execute(query)]
