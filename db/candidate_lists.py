"""Lists of candidates: what passes a filter, in which order, where energies above hulls are part of the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    String,
    and_,
    column,
    null,
    or_,
    select,
    type_coerce,
    values,
)
from sqlalchemy.orm import aliased
from sqlalchemy.types import Double

from db.tables import Candidate, HullLevel, Relaxation


@dataclass(frozen=True)
class CandidateFilter:
    """Which candidates; None asks for all. Energies in eV/atom.

    above: no further above its hull than this (needs a `Placing`); relaxed: by the method of the placing, or by any;
    usable: valid as drawn, or relaxed by any method;
    deleted: what lies in the bin instead of what does not
    """

    job_id: int | None = None
    model: str | None = None
    reduced_formula: str | None = None
    chemical_system: str | None = None
    group_asked: int | None = None
    group_found: int | None = None
    above: float | None = None
    valid: bool | None = None
    novel: bool | None = None
    unique: bool | None = None
    starred: bool | None = None
    charge_balanced: bool | None = None
    relaxed: bool | None = None
    usable: bool | None = None
    series: str | None = None
    deleted: bool = False


@dataclass(frozen=True)
class Placing:
    """Whose energies count, and the hull on which each chemical system stands: (system, hull's id)."""

    method: str
    hulls: tuple[tuple[str, int], ...] = ()


_EQUAL = (
    "job_id", "model", "reduced_formula", "chemical_system", "group_asked", "group_found", "valid", "novel", "unique",
    "starred", "charge_balanced", "series",
)  # fmt: skip

ORDERS: dict[str, tuple[str, ...]] = {  # name -> columns; "above", "energy" and "drawn" are of the relaxation
    "run": (),
    "formula": ("reduced_formula", "natoms"),
    "above": ("above",),
    "energy": ("energy",),
    "drawn": ("drawn",),
    "asked": ("energy_asked",),
    "verdict": ("valid", "novel", "unique"),
    "group_asked": ("group_asked",),
    "group_found": ("group_found",),
    "atoms": ("natoms",),
    "distance": ("min_distance",),
    "volume": ("volume",),
    "displacement": ("displacement",),
    "volume_change": ("volume_change",),
    "model": ("model",),
    "series": ("series",),
    "starred": ("starred",),
    "note": ("note",),
}
_FROM_RELAXATION = {"above", "energy", "drawn"}


def filtered(
    columns: Sequence[Any], wanted: CandidateFilter, placing: Placing | None = None, needs: Sequence[str] = ()
) -> Select[Any]:
    """These columns of the candidates that pass; `needs` names what of the relaxation they use ("above", "energy")."""
    query = select(*columns).select_from(Candidate)
    if placing is not None and (needs or wanted.above is not None):
        method = placing.method
        query = query.outerjoin(Relaxation, and_(Relaxation.candidate_id == Candidate.id, Relaxation.method == method))
        if placing.hulls and ("above" in needs or wanted.above is not None):
            hulls = _hulls(placing)
            query = query.outerjoin(hulls, hulls.c.system == Candidate.chemical_system).outerjoin(
                HullLevel,
                and_(HullLevel.hull_id == hulls.c.hull, HullLevel.reduced_formula == Candidate.reduced_formula),
            )
    return query.where(*_conditions(wanted, placing))


def ordered(wanted: CandidateFilter, order: str, descending: bool, placing: Placing | None) -> Select[Any]:
    """Ids of the candidates that pass, in order: unknown values last, ties by run (newest first) and number there.

    Raises KeyError for an order that is none.
    """
    names = ORDERS[order]
    query = filtered([Candidate.id], wanted, placing, [n for n in names if n in _FROM_RELAXATION])
    keys = [_column(name, placing) for name in names]
    query = query.order_by(*((k.desc() if descending else k.asc()).nulls_last() for k in keys))
    newest = Candidate.job_id.asc() if descending and not names else Candidate.job_id.desc()
    return query.order_by(newest, Candidate.index, Candidate.id)


def above_hull(placing: Placing | None) -> ColumnElement[Any]:
    """The energy above the hull, eV/atom, in a query that joins what it needs; NULL where there is no hull."""
    if placing is None or not placing.hulls:
        return type_coerce(null(), Double)
    return Relaxation.formation_after - HullLevel.energy


def _column(name: str, placing: Placing | None) -> ColumnElement[Any]:
    if name == "above":
        return above_hull(placing)
    if name in _FROM_RELAXATION:
        if placing is None:
            return type_coerce(null(), Double)
        return (Relaxation.formation_after if name == "energy" else Relaxation.formation_before).expression
    return getattr(Candidate, name).expression


def _hulls(placing: Placing) -> CTE:
    table = values(column("system", String), column("hull", Integer), name="chosen_hulls")
    return table.data(list(placing.hulls)).cte("hulls_of_systems")


def _conditions(wanted: CandidateFilter, placing: Placing | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        Candidate.deleted_at.is_not(None) if wanted.deleted else Candidate.deleted_at.is_(None)
    ]
    for name in _EQUAL:
        value = getattr(wanted, name)
        if value is not None:
            attribute = getattr(Candidate, name)
            found.append(attribute.is_(value) if isinstance(value, bool) else attribute == value)
    if wanted.above is not None:
        found.append(above_hull(placing) <= wanted.above)
    if wanted.relaxed is not None:
        done = _relaxed(placing.method if placing is not None else None)
        found.append(done if wanted.relaxed else ~done)
    if wanted.usable is not None:
        sound = or_(Candidate.valid.is_(True), _relaxed(None))
        found.append(sound if wanted.usable else ~sound)
    return found


def _relaxed(method: str | None) -> ColumnElement[bool]:
    """Is there an energy after a relaxation, by this method or by any?"""
    theirs = aliased(Relaxation)
    done = select(theirs.candidate_id).where(theirs.candidate_id == Candidate.id, theirs.total_after.is_not(None))
    done = done.where(theirs.method == method) if method is not None else done
    return done.correlate(Candidate).exists()
