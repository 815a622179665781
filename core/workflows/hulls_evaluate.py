"""The honest comparison: the phases of a hull evaluated again with the potential of the candidates.

A hull file holds no structures: they are attached by their label (AFLOW's auid) from the imports of the store, or
fetched from AFLOW. Without a structure for every stable phase nothing is evaluated: a hull that lacks one of its
corners would call too much stable.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.crystals import Crystals, pack_cells, unpack_cells
from core.data.formulas import parse_formula
from core.energy.formation import References, formation_energy, load_references
from core.energy.hull_source import HullSource, SourcePhase, is_formation_energy
from core.energy.potential import Potential
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import check_name
from core.workflows.hulls import HullView, get_hull_by_id
from core.workflows.hulls_aflow import structures_from_aflow
from core.workflows.hulls_build import hull_result
from core.workflows.hulls_store import check_new_hull, put_hull
from core.workflows.made import made_before
from core.workflows.relax import RelaxParams, method_of, potential_for, relax_crystals
from core.workflows.store import store
from db import structures as rows
from db.tables import HullEntry

_BATCH = 16
STABLE = 1e-6  # eV/atom: an entry no higher than that is on the hull


@dataclass(frozen=True)
class EvaluateHullParams:
    """hull_id: whose phases; potential: "m3gnet", "chgnet" or "" for the default; relax: first, as candidates are.

    near: phases up to so many eV/atom above the hull are evaluated too, where they have a structure: another method may
    put them on it; at_most: so many of them; aflow: ask AFLOW for structures that are not here; name: of the new hull
    """

    hull_id: int
    potential: str = ""
    relax: bool = True
    near: float = 0.05
    at_most: int = 300
    aflow: bool = False
    fmax: float = 0.05
    steps: int = 500
    name: str = ""


@dataclass(frozen=True)
class Attached:
    """The entries to evaluate with their cells, and what has none.

    missing: stable phases without a structure, as "formula (label)"; skipped: phases near the hull without one
    """

    entries: list[HullEntry]
    cells: list[bytes]
    missing: list[str]
    skipped: list[str]


def evaluate_hull(params: EvaluateHullParams, context: Context) -> dict[str, Any]:
    """Make a hull of the potential's method from the phases of another hull.

    Returns what every job that makes a hull returns, and `compared`: see `compare_hulls`. Raises UserError where a
    stable phase has no structure, or cannot be evaluated, or the potential lacks a reference.
    """
    view = get_hull_by_id(params.hull_id)
    if (made := made_before(context.job_id)) is not None:
        return _result(view, made["hull_id"])
    potential = potential_for(params.potential, context.device)
    _check_method(view, potential.name)
    references = _references(potential.name, view.hull.elements)
    check_new_hull(view.row.chemical_system, potential.name, new_name(view, params))
    attached = attach_structures(view, params.near, params.at_most, params.aflow, context)
    if attached.missing:
        raise UserError(missing_sentence(view, attached.missing, params.aflow))
    done = _evaluate(attached, potential, references, params, context)
    return _result(view, put_hull(_source(view, attached, done, references, params), context.job_id))


def _result(view: HullView, hull_id: int) -> dict[str, Any]:
    return hull_result(hull_id) | {"compared": compare_hulls(view, get_hull_by_id(hull_id))}


def check_evaluation(params: EvaluateHullParams) -> Attached:
    """What would be evaluated, without loading the potential. Raises UserError where `evaluate_hull` would refuse.

    Structures that AFLOW may have are taken as there where it is going to be asked.
    """
    view = get_hull_by_id(params.hull_id)
    method = method_of(params.potential)
    _check_method(view, method)
    _references(method, view.hull.elements)
    check_new_hull(view.row.chemical_system, method, new_name(view, params))
    attached = attach_structures(view, params.near, params.at_most)
    if attached.missing and not params.aflow:
        raise UserError(missing_sentence(view, attached.missing))
    return attached


def _check_method(view: HullView, method: str) -> None:
    if view.row.method == method:
        raise UserError(f"This hull is by {method} already: candidates of that potential stand on it as it is.")


def attach_structures(
    view: HullView, near: float = 0.05, at_most: int = 300, aflow: bool = False, context: Context | None = None
) -> Attached:
    """What of a hull can be evaluated: its stable phases, and those near it. Elements come from the references."""
    wanted = [e for e in view.entries if len(e.composition) > 1 and not e.flag and e.above_hull <= near]
    stable = [e for e in wanted if e.above_hull <= STABLE and view.is_stable(e)]
    others = [e for e in wanted if e not in stable][:at_most]
    chosen = [*stable, *others]
    cells = _cells_of(chosen, view.row.chemical_system)
    lacking = [e.label for e in stable if e.label not in cells and e.label.startswith("aflow:")]
    if lacking and aflow and context is not None:
        cells |= structures_from_aflow(lacking, context)
    found = [e for e in chosen if e.label in cells]
    return Attached(
        found,
        [cells[e.label] for e in found],
        [f"{e.formula} ({e.label})" for e in stable if e.label not in cells],
        [f"{e.formula} ({e.label})" for e in others if e.label not in cells],
    )


def missing_sentence(view: HullView, missing: Sequence[str], asked_aflow: bool = False) -> str:
    """Why a hull cannot be evaluated again, and what to do about it."""
    named = ", ".join(missing[:30]) + (f" and {len(missing) - 30} more" if len(missing) > 30 else "")
    count = f"{len(missing)} stable phase{'s' * (len(missing) > 1)}"
    do = "import a dataset that holds them" + ("" if asked_aflow else ", or fetch them from AFLOW")
    return (
        f"The hull of {view.row.chemical_system} by {view.row.method} has no structure for {count}: {named}. Without "
        f"them a new hull would be wrong: {do}."
    )


def _cells_of(entries: Sequence[HullEntry], system: str) -> dict[str, bytes]:
    """{label: cell}: the hull's own, else that of a structure of the store with this label and composition."""
    found = {e.label: e.cell for e in entries if e.cell}
    missing = {e.label: e.formula for e in entries if e.label not in found}
    with store().session() as session:
        for structure in rows.structures_by_label(session, list(missing)) if missing else []:
            if structure.label not in found and missing[structure.label] == structure.formula:
                found[structure.label] = structure.cell
    return found


def _references(method: str, elements: Sequence[str]) -> References:
    try:
        references = load_references(method)
    except ValueError as error:
        raise UserError(str(error)) from error
    missing = [e for e in elements if e not in references.energies]
    if missing:
        raise UserError(
            f"{method} has no elemental reference for {', '.join(missing)}: its formation energies are unknown."
        )
    return references


@dataclass(frozen=True)
class _Evaluated:
    """A phase by the potential: eV/atom or None, how it ended, its space group, its cell (base64 of what is packed)."""

    energy: float | None
    status: str
    group: int
    cell: str


class _Share:
    """The context of one batch: its progress is a share of the whole."""

    def __init__(self, context: Context, start: int, size: int, total: int) -> None:
        self._context, self._start, self._size, self._total = context, start, size, total
        self.job_id, self.folder, self.device = context.job_id, context.folder, context.device

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        done = self._start + self._size * (fraction or 0.0)
        self._context.progress(done / self._total, f"{done:.0f} of {self._total} phases evaluated")

    def metrics(self, step: int, **values: float) -> None:
        self._context.metrics(step, **values)

    def cancelled(self) -> bool:
        return self._context.cancelled()


def _evaluate(
    attached: Attached, potential: Potential, references: References, params: EvaluateHullParams, context: Context
) -> list[_Evaluated]:
    """Every entry by the potential, in order; batches that an interrupted run had done are kept."""
    kept = context.folder / "evaluated.json"
    labels = [e.label for e in attached.entries]
    done = _read_kept(kept, labels)
    for start in range(len(done), len(labels), _BATCH):
        chosen = slice(start, start + _BATCH)
        part = unpack_cells(attached.cells[chosen], [e.space_group for e in attached.entries[chosen]])
        share = _Share(context, start, len(part), len(labels))
        share.progress(0.0, "")
        done += _evaluate_part(part, potential, references, params, share)
        partial = kept.with_suffix(".partial")
        partial.write_text(json.dumps({"labels": labels, "done": [asdict(d) for d in done]}))
        os.replace(partial, kept)
        if context.cancelled():
            raise Cancelled
    return done


def _evaluate_part(
    part: Crystals, potential: Potential, references: References, params: EvaluateHullParams, context: Context
) -> list[_Evaluated]:
    if params.relax:
        asked = RelaxParams((), params.potential, True, params.fmax, params.steps)
        _, values = relax_crystals(part, asked, context)
        energies = [v["formation_after"] for v in values]
        statuses = [str(v["status"]) for v in values]
        groups, cells = [v["group_found"] or 0 for v in values], [v["cell"] or b"" for v in values]
    else:
        found = potential.evaluate(part)
        energies = formation_energy(found.energy, part, references).tolist()
        statuses = [f"failed: {p}" if p else "evaluated as it is" for p in found.problem]
        groups, cells = part.group.tolist(), pack_cells(part)
    return [
        _Evaluated(e if e is not None and math.isfinite(e) else None, s, int(g), base64.b64encode(c).decode())
        for e, s, g, c in zip(energies, statuses, groups, cells, strict=True)
    ]


def _read_kept(path: Path, labels: Sequence[str]) -> list[_Evaluated]:
    """What an interrupted run had of the same phases."""
    try:
        kept = json.loads(path.read_text())
        return [_Evaluated(**d) for d in kept["done"]] if kept["labels"] == list(labels) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _phases(view: HullView, attached: Attached, done: Sequence[_Evaluated]) -> tuple[list[SourcePhase], list[str]]:
    """The phases of the new hull, and in words what failed. Raises UserError where that is a stable one."""
    corners = {p.label for p in view.hull.stable()}
    phases, failed = [], []
    for entry, found in zip(attached.entries, done, strict=True):
        if found.energy is None or not is_formation_energy(found.energy):
            failed.append(f"{entry.formula} ({entry.label}): {found.status}")
            if entry.label in corners:
                raise UserError(f"A stable phase could not be evaluated. {failed[-1]}.")
            continue
        content = {e: float(n) for e, n in parse_formula(entry.formula).items()}
        text = f"{entry.source}; {found.status}" if entry.source else found.status
        cell = base64.b64decode(found.cell)
        phases.append(SourcePhase(entry.label, content, found.energy, found.group, text[:500], cell=cell))
    if not phases:
        raise UserError(
            f"The hull of {view.row.chemical_system} by {view.row.method} has no phase beside its elements."
        )
    return phases, failed


def _source(
    view: HullView, attached: Attached, done: Sequence[_Evaluated], references: References, params: EvaluateHullParams
) -> HullSource:
    phases, failed = _phases(view, attached, done)
    stable = len(view.hull.stable()) - len(view.hull.elements)
    notes = {
        "made_from": {k: getattr(view.row, k) for k in ("id", "chemical_system", "method", "name")},
        "about": _about(view, references.method, params, stable, len(phases)),
        "references": references.name,
        "without_structure": attached.skipped[:200],
        "failed": failed[:200],
    }
    left_out = {"near the hull without a structure": len(attached.skipped), "failed": len(failed)}
    return HullSource(
        view.row.chemical_system,
        references.method,
        new_name(view, params),
        f"phases of the hull {view.row.name} by {view.row.method}"[:500],
        phases,
        len(phases) + len(attached.skipped) + len(failed),
        {k: n for k, n in left_out.items() if n},
        notes=notes,
        warnings=_unconverged([d.status for d in done]),
    )


def new_name(view: HullView, params: EvaluateHullParams) -> str:
    """What the new hull is called. Raises UserError where the name asked for cannot be one."""
    return check_name(params.name) if params.name else f"{view.row.name[:70]} again"


def _about(view: HullView, method: str, params: EvaluateHullParams, stable: int, count: int) -> str:
    how = "relaxed and evaluated" if params.relax else "evaluated as they are"
    return (
        f"The {stable} stable phases of the hull {view.row.name!r} by {view.row.method} and {count - stable} more "
        f"within {1000 * params.near:.0f} meV/atom of it, {how} with {method}; elements by that potential's "
        "references. Phases that only this potential would put on a hull, and nobody listed, are not here."
    )


def _unconverged(statuses: Sequence[str]) -> list[str]:
    stopped = sum(s.startswith("stopped") for s in statuses)
    return [f"{stopped} of {len(statuses)} phases stopped at the step limit before they converged."] if stopped else []


def compare_hulls(old: HullView, new: HullView) -> list[dict[str, Any]]:
    """Each phase that both hulls have: formula, label, formation energy, eV/atom above and on_hull by each method.

    Keys end in `_old` and `_new`; phases that one of the two calls stable come first.
    """
    ours = {e.label: e for e in new.entries}
    found = []
    for entry in old.entries:
        again = ours.get(entry.label)
        if again is not None and not entry.flag:
            found.append(
                {
                    "formula": entry.formula,
                    "label": entry.label,
                    "formation_old": entry.formation,
                    "formation_new": again.formation,
                    "above_old": entry.above_hull,
                    "above_new": again.above_hull,
                    "on_hull_old": old.is_stable(entry),
                    "on_hull_new": new.is_stable(again),
                }
            )
    return sorted(found, key=lambda row: (not (row["on_hull_old"] or row["on_hull_new"]), row["above_old"]))


def list_evaluations(hull_id: int) -> list[int]:
    """Ids of the hulls that were made from this one, newest first."""
    from core.workflows.hulls import list_hulls

    made = [h for h in list_hulls() if (h.notes.get("made_from") or {}).get("id") == hull_id]
    return sorted((h.id for h in made), reverse=True)
