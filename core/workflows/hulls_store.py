"""Writing a hull into the store: checked, measured against itself, with every doubt in its notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import IntegrityError

from core.energy.hull import ConvexHull, HullError, Phase
from core.energy.hull_checks import disagreement, warnings_of
from core.energy.hull_source import HullSource, SourcePhase
from core.workflows.acting import EDITOR, require
from core.workflows.audit import record
from core.workflows.context import UserError
from core.workflows.made import keep_made
from core.workflows.store import store
from db import hulls as hull_rows


def put_hull(source: HullSource, job_id: int = 0, more: Mapping[str, Any] | None = None) -> int:
    """Write a hull with all its entries, or nothing; distances are computed here, whatever the source says.

    job_id: of the job that makes it: killed now, it finds the id and `more` when it goes on. Returns the id.
    Raises UserError where it is no hull or its name is taken.
    """
    who = require(EDITOR)
    source = replace(source, method=_clean(source.method)[:64], name=_clean(source.name)[:80])
    check_new_hull(source.chemical_system, source.method, source.name)
    try:
        phases = [Phase(p.label, p.composition, p.formation) for p in source.shaping]
        hull = ConvexHull(source.chemical_system, phases)
        above = hull.above_of([p.composition for p in source.phases], [p.formation for p in source.phases])
    except HullError as error:
        raise UserError(str(error)) from error
    entries = [_entry(phase, value) for phase, value in zip(source.phases, above, strict=True)]
    values = {
        "chemical_system": source.chemical_system,
        "method": source.method,
        "name": source.name,
        "source": source.source[:500],
        "notes": _notes(source, hull),
    }
    try:
        with store().session() as session:
            hull_id = hull_rows.add_hull(session, entries, **_clean(values), owner_id=who.id)
            name = f"{source.chemical_system} by {source.method} ({source.name})"
            record(session, "import", "hull", name)
            keep_made(session, job_id, {"hull_id": hull_id, **(more or {})})
            return hull_id
    except IntegrityError as error:  # two at once
        raise UserError(_taken(source.chemical_system, source.method, source.name)) from error


def check_new_hull(chemical_system: str, method: str, name: str) -> None:
    """Raises UserError where a hull of that system, method and name is here already."""
    with store().session() as session:
        if hull_rows.find_hull(session, chemical_system, method[:64], name[:80]):
            raise UserError(_taken(chemical_system, method, name))


def _taken(chemical_system: str, method: str, name: str) -> str:
    return f"There is a hull {name[:80]!r} of {chemical_system} by {method} already: choose another name."


def _clean(value: Any) -> Any:
    """Text as every database takes it: no NUL, no half of a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list) else value


def _entry(phase: SourcePhase, above: float) -> dict[str, Any]:
    return {
        "label": _clean(phase.label)[:200],
        "formula": phase.formula,
        "composition": dict(phase.composition),
        "formation": phase.formation,
        "above_hull": above,
        "space_group": phase.space_group,
        "source": _clean(phase.source),
        "flag": _clean(phase.flag),
        "cell": phase.cell,
    }


def _better_known(source: HullSource, hull: ConvexHull) -> list[str]:
    """What hulls of the same method that are here already know to lie lower."""
    wanted = set(source.chemical_system.split("-"))
    found = []
    with store().session() as session:
        for other in hull_rows.list_hulls(session):
            if other.method != source.method or not wanted <= set(other.chemical_system.split("-")):
                continue
            entries = [e for e in hull_rows.hull_entries(session, other.id) if not e.flag]
            theirs = ConvexHull(other.chemical_system, [Phase(e.label, e.composition, e.formation) for e in entries])
            stable = [p for p in hull.stable() if len(p.composition) > 1]
            above = theirs.above_of([p.composition for p in stable], [p.formation for p in stable])
            worst = max(zip(above, stable, strict=True), key=lambda pair: pair[0], default=None)
            if worst and worst[0] > 0.001:
                found.append(
                    f"The hull {other.name!r} of {other.chemical_system} by the same method lies lower: there "
                    f"{worst[1].formula} is {worst[0]:.3f} eV/atom above it. This one lacks phases, or their "
                    "structures are not relaxed."
                )
    return found


def _notes(source: HullSource, hull: ConvexHull) -> dict[str, Any]:
    """entries: rows of the source; used: those that shape the hull; agreement: meV/atom to the source's distances."""
    agreed = disagreement(source, hull)
    flagged: dict[str, int] = {}
    for phase in source.phases:
        if phase.flag:
            flagged[phase.flag] = flagged.get(phase.flag, 0) + 1
    return {
        **source.notes,
        "entries": source.rows,
        "used": len(source.shaping),
        "flagged": flagged,
        "left_out": source.left_out,
        "warnings": [*warnings_of(source, hull), *_better_known(source, hull)],
        **({} if agreed is None else {"agreement": 1000 * agreed}),
    }
