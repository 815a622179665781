"""A hull to take home: the project's own JSON, which `hull import` reads again, or a CSV of its entries."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from core.crystals import unpack_cells
from core.data.rows import row_of
from core.export.bundle import plain
from core.workflows.hulls import HullView
from db.tables import HullEntry

COLUMNS = (
    "formula", "formation_energy", "above_hull", "label", "space_group", "flag", "source", "method", "name",
)  # fmt: skip
_BATCH = 500


def hull_json(view: HullView) -> str:
    """Everything that the store knows of a hull, its structures too; energies in eV/atom."""
    notes = {k: v for k, v in view.row.notes.items() if k in ("about", "references", "date", "warnings", "made_from")}
    values = {
        "chemical_system": view.row.chemical_system,
        "method": view.row.method,
        "name": view.row.name,
        "source": view.row.source,
        **notes,
        "date": view.date,
        "entries": _entries(view),
    }
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"


def hull_csv(view: HullView) -> str:
    """One line per entry, lowest above the hull first; formation_energy and above_hull in eV/atom."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    for e in view.entries:
        values = (_formula(e), e.formation, e.above_hull, e.label, e.space_group or "", e.flag, e.source)
        writer.writerow([plain(v) for v in (*values, view.row.method, view.row.name)])
    return table.getvalue()


def _entries(view: HullView) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for start in range(0, len(view.entries), _BATCH):
        part = view.entries[start : start + _BATCH]
        structures = _structures([e for e in part if e.cell])
        for entry in part:
            row = structures.get(entry.id) or {"auid": entry.label, "pretty_formula": _formula(entry)}
            known = {"source": entry.source, "flag": entry.flag, "spacegroup_relax": entry.space_group}
            row |= {"enthalpy_formation_atom": entry.formation, "above_hull": entry.above_hull}
            found.append(row | {k: v for k, v in known.items() if v})
    return found


def _structures(entries: Sequence[HullEntry]) -> dict[int, dict[str, Any]]:
    if not entries:
        return {}
    crystals = unpack_cells([e.cell or b"" for e in entries], [e.space_group for e in entries])
    crystals = replace(crystals, energy=torch.tensor([e.formation for e in entries], dtype=torch.float64))
    return {e.id: row_of(crystals, i, e.label) for i, e in enumerate(entries)}


def _formula(entry: HullEntry) -> str:
    """The content as it was given where it is of whole atoms, else the reduced formula."""
    amounts = sorted((e, float(n)) for e, n in entry.composition.items())
    if not all(n.is_integer() for _, n in amounts):
        return entry.formula
    return "".join(f"{e}{n:.0f}" for e, n in amounts)
