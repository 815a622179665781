"""A hull from a dataset of the store: its structures of a chemical system and all sub-systems, by one method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from core.data.formulas import elements_of, parse_formula
from core.energy.hull_source import HullSource, SourcePhase, is_formation_energy
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import check_name, get_dataset, imports_of, load_tensors
from core.workflows.hulls import as_system
from core.workflows.hulls_store import check_new_hull, put_hull
from core.workflows.made import made_before
from core.workflows.store import store
from db import structures as rows
from db.tables import Dataset, Energy, Structure

MAX_ENTRIES = 200_000
_BATCH = 5_000


@dataclass(frozen=True)
class BuildHullParams:
    """dataset: its name; system: "B-Ta-W"; method: whose energies, "" for the dataset's own; name: of the hull."""

    dataset: str
    system: str
    method: str = ""
    name: str = ""


def build_hull(params: BuildHullParams, context: Context) -> dict[str, Any]:
    """Make a hull of a dataset. Returns hull_id, system, method, name, entries, stable, warnings.

    Raises UserError where the dataset has no such structures, none with an energy, or energies of several methods
    and none is chosen.
    """
    if (made := made_before(context.job_id)) is not None:
        return hull_result(made["hull_id"])
    dataset, system = get_dataset(params.dataset), as_system(params.system)
    method = method_for(dataset, params.method)
    name = params.name or dataset.name
    ids = check_build(params)
    phases, without, others = _phases(ids, method, context)
    if not phases:
        known = ", ".join(sorted(others)) or "none"
        raise UserError(
            f"No structure of {system} in {dataset.name} has a formation energy by {method}; methods there: {known}."
        )
    notes = {"dataset": dataset.name, "dataset_hash": dataset.hash, "date": _date(dataset)}
    notes |= {k: v for i in imports_of(dataset) for k, v in i.notes.items() if k in ("terms", "citation")}
    left_out = {f"without a formation energy by {method}": without} if without else {}
    source = HullSource(system, method, name, f"dataset {dataset.name}", phases, len(ids), left_out, notes=notes)
    return hull_result(put_hull(source, context.job_id))


def check_build(params: BuildHullParams) -> np.ndarray:
    """(M,) ids of the structures that would be on it. Raises UserError where `build_hull` would refuse at once."""
    dataset, system = get_dataset(params.dataset), as_system(params.system)
    check_new_hull(system, method_for(dataset, params.method), check_name(params.name or dataset.name))
    ids = ids_of_system(dataset, system)
    if not len(ids):
        raise UserError(f"{dataset.name} holds no structure of {system} or its sub-systems.")
    if len(ids) > MAX_ENTRIES:
        raise UserError(f"{dataset.name} holds {len(ids):,} structures of {system}; a hull can hold {MAX_ENTRIES:,}.")
    return ids


def method_for(dataset: Dataset, method: str) -> str:
    """The one energy method of a hull from this dataset. Raises UserError where there is none or more than one."""
    own = [str(m) for m in dataset.recipe.get("methods", [])]
    known = list(dict.fromkeys([*own, *(str(m) for m in dataset.summary.get("methods", {}))]))
    if method:
        if method not in known:
            raise UserError(f"{dataset.name} has no energies by {method}; its methods: {', '.join(known) or 'none'}.")
        return method
    if len(own) > 1:
        raise UserError(
            f"{dataset.name} mixes the methods {', '.join(own)}; energies of different methods never meet on one hull. "
            "Choose one of them."
        )
    if not own:
        raise UserError(f"{dataset.name} has no formation energies: a hull needs them.")
    return own[0]


def ids_of_system(dataset: Dataset, system: str) -> np.ndarray:
    """(M,) ids in the store of the dataset's structures of these elements alone."""
    data = load_tensors(dataset)
    wanted = set(system.split("-"))
    inside = torch.tensor([set(elements_of(f)) <= wanted for f in data.formulas], dtype=torch.bool)
    found: np.ndarray = data.ids[inside[data.formula]].numpy()
    return found


def _phases(ids: np.ndarray, method: str, context: Context) -> tuple[list[SourcePhase], int, set[str]]:
    """Phases with an energy by `method`, how many have none, and the methods that were met."""
    phases: list[SourcePhase] = []
    met: set[str] = set()
    for start in range(0, len(ids), _BATCH):
        part = [int(i) for i in ids[start : start + _BATCH]]
        with store().session() as session:
            structures = rows.get_structures(session, part)
            energies = rows.get_energies(session, part)
        met |= {e.method for e in energies if e.formation is not None}
        phases += _with_energy(structures, [e for e in energies if e.method == method])
        context.progress(min(1.0, (start + len(part)) / len(ids)), f"{len(phases):,} phases")
        if context.cancelled():
            raise Cancelled
    return phases, len(ids) - len(phases), met


def _with_energy(structures: Sequence[Structure], energies: Sequence[Energy]) -> list[SourcePhase]:
    formation = {e.structure_id: e.formation for e in energies}
    found = []
    for structure in structures:
        energy = formation.get(structure.id)
        if energy is not None and is_formation_energy(energy):
            content = {e: float(n) for e, n in parse_formula(structure.formula).items()}
            found.append(SourcePhase(structure.label, content, energy, structure.space_group, "", cell=structure.cell))
    return found


def hull_result(hull_id: int) -> dict[str, Any]:
    """What a job that made a hull says of it."""
    from core.workflows.hulls import get_hull_by_id

    view = get_hull_by_id(hull_id)
    return {
        "hull_id": hull_id,
        "system": view.row.chemical_system,
        "method": view.row.method,
        "name": view.row.name,
        "entries": len(view.entries),
        "stable": [{"formula": p.formula, "formation": p.formation, "label": p.label} for p in view.hull.stable()],
        "warnings": view.warnings,
    }


def _date(dataset: Dataset) -> str:
    return f"{dataset.created_at:%Y-%m-%d}"
