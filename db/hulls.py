"""Questions about hulls, their entries, and their energy at a composition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.orm import Session

from db.tables import Candidate, Hull, HullEntry, HullLevel

_PART = 500  # systems asked for at once


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


def phases_at(session: Session, hull_id: int, formulas: Sequence[str]) -> list[HullEntry]:
    """Its phases of these reduced formulas, the lowest first."""
    query = select(HullEntry).where(HullEntry.hull_id == hull_id, HullEntry.formula.in_(formulas))
    return list(session.scalars(query.order_by(HullEntry.formation)))


def drop_hull(session: Session, hull_id: int) -> None:
    session.execute(delete(Hull).where(Hull.id == hull_id))


def formulas_without_level(session: Session, hull_id: int, chemical_systems: Sequence[str]) -> list[str]:
    """Reduced formulas of candidates of these systems for which the hull's energy is not kept yet."""
    found: list[str] = []
    for start in range(0, len(chemical_systems), _PART):
        query = (
            select(Candidate.reduced_formula)
            .distinct()
            .outerjoin(
                HullLevel,
                (HullLevel.hull_id == hull_id) & (HullLevel.reduced_formula == Candidate.reduced_formula),
            )
            .where(Candidate.chemical_system.in_(chemical_systems[start : start + _PART]))
            .where(HullLevel.hull_id.is_(None))
        )
        found += session.scalars(query)
    return found


def levels(session: Session, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], float]:
    """(hull, reduced formula) -> energy of the hull there, eV/atom, where it is kept."""
    found = {}
    for start in range(0, len(wanted), _PART):
        part = wanted[start : start + _PART]
        query = select(HullLevel).where(tuple_(HullLevel.hull_id, HullLevel.reduced_formula).in_(list(part)))
        found.update({(level.hull_id, level.reduced_formula): level.energy for level in session.scalars(query)})
    return found


def add_levels(session: Session, hull_id: int, levels: Mapping[str, float]) -> None:
    """Keep the hull's energy (eV/atom) at these reduced formulas; what is kept already stays."""
    rows = [{"hull_id": hull_id, "reduced_formula": f, "energy": e} for f, e in levels.items()]
    if not rows:
        return
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as upsert
    else:
        from sqlalchemy.dialects.postgresql import insert as upsert  # type: ignore[assignment]
    session.execute(upsert(HullLevel).on_conflict_do_nothing(), rows)
