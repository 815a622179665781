"""A hull to take home: its phases as CSV, and as the JSON that `hull import` reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from core.crystals import unpack_cells
from core.data.rows import row_of
from core.workflows.hulls import HullView, PlacedCandidate

CSV_COLUMNS = ("kind", "formula", "label", "method", "formation_energy", "above_hull", "space_group", "reference")


def hull_csv(view: HullView, candidates: Sequence[PlacedCandidate] = ()) -> bytes:
    """Phases, then candidates that stand on the hull; energies in eV/atom.

    Without its candidates it can be imported again: formula, formation_energy, method and label are what that needs.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    method = view.row.method
    for e in view.entries:
        writer.writerow(["phase", e.formula, e.label, method, e.formation, e.above_hull, e.space_group or "", e.source])
    for placed in candidates:
        if placed.place and placed.relaxation:
            c, r = placed.candidate, placed.relaxation
            numbers = [r.formation_after, placed.place.above]
            name = f"candidate {c.job_id}-{c.index}"
            writer.writerow(["candidate", c.reduced_formula, name, method, *numbers, r.group_found or "", c.model])
    return text.getvalue().encode()


def hull_json(view: HullView) -> bytes:
    """Everything that the store knows of it, structures too, with AFLOW's keys."""
    row = view.row
    values: dict[str, Any] = {key: row.notes[key] for key in ("about", "references", "date") if key in row.notes}
    values |= {
        "chemical_system": row.chemical_system,
        "method": row.method,
        "name": row.name,
        "source": row.source,
        "entries": [_entry(e, row.method) for e in view.entries],
    }
    return (json.dumps(values, indent=1) + "\n").encode()


def _entry(entry: Any, method: str) -> dict[str, Any]:
    formula = "".join(f"{symbol}{float(n):g}" for symbol, n in entry.composition.items())
    known: dict[str, Any] = {"source": entry.source, "spacegroup_relax": entry.space_group, "flag": entry.flag}
    if entry.cell is None:
        return {"auid": entry.label, "pretty_formula": formula, "enthalpy_formation_atom": entry.formation, **known}
    crystal = unpack_cells([entry.cell], [entry.space_group])
    energies: dict[str, dict[str, float | None]] = {method: {"total": None, "formation": entry.formation}}
    row = row_of(crystal, 0, entry.label, energies, method)
    return row | known
