"""Bundles of candidates from the store."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.crystals import Crystals, to_structures, unpack_cells
from core.data.rows import finite
from core.energy.potential import shortest_distances
from core.export.bundle import BundleItem, BundleRow, write_folder, zip_bytes
from core.workflows.context import UserError
from core.workflows.hulls import HullView, get_hull_by_id, hull_systems_for, place_candidates
from core.workflows.models import list_models
from core.workflows.relax import SYMPREC
from core.workflows.store import store
from db import candidates as rows
from db import jobs as job_rows
from db.tables import Candidate, Relaxation

_PACKAGES = ("torch", "pymatgen", "spglib", "matgl", "chgnet", "torch-sim-atomistic")


def bundle_zip(candidate_ids: Sequence[int], hull: HullView | None = None) -> bytes:
    """A zip of these candidates; relaxed cells and energies are those of the hull's method, else the latest."""
    items, manifest = _collect(candidate_ids, hull)
    return zip_bytes(items, manifest)


def bundle_folder(candidate_ids: Sequence[int], folder: Path, hull: HullView | None = None) -> int:
    """The same as files of a folder; returns how many candidates."""
    items, manifest = _collect(candidate_ids, hull)
    try:
        write_folder(folder, items, manifest)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return len(items)


def _collect(candidate_ids: Sequence[int], hull: HullView | None) -> tuple[list[BundleItem], dict[str, Any]]:
    with store().session() as session:
        found = rows.get_candidates(session, candidate_ids)
        relaxed = _latest(rows.relaxations(session, candidate_ids, hull.row.method if hull else None))
        jobs = {i: job_rows.get_job(session, i) for i in {c.job_id for c in found}}
    if not found:
        raise UserError("No candidate was chosen.")
    hull = hull or _fitting_hull(found, relaxed)
    placed = {p.candidate.id: p for p in place_candidates(candidate_ids, hull)} if hull else {}
    items = [_item(c, relaxed.get(c.id), placed.get(c.id), hull) for c in found]
    models = {m.name: m for m in list_models()}
    manifest = {
        "made_by": f"Subhull {_version('subhull') or '0.1.0'}",
        "runs": {
            str(i): {"kind": job.kind, "params": job.params, "result": job.result} for i, job in jobs.items() if job
        },
        "models": {
            name: {"weights_sha256": m.hash, "dataset_hash": m.card.get("dataset_hash"), "task": m.task}
            for name, m in models.items()
            if name in {c.model for c in found}
        },
        "seed": sorted({int(job.params["seed"]) for job in jobs.values() if job and "seed" in job.params}),
        "energy_method": sorted({i.row.energy_method for i in items if i.row.energy_method}),
        "hull": _hull_name(hull) if hull else None,
        "versions": {p: _version(p) for p in _PACKAGES} | {"python": platform.python_version()},
    }
    return items, manifest


def _item(candidate: Candidate, relaxation: Relaxation | None, placed: Any, hull: HullView | None) -> BundleItem:
    generated = to_structures(unpack_cells([candidate.cell]))[0]
    relaxed = None
    if relaxation is not None and relaxation.cell is not None:
        relaxed = to_structures(unpack_cells([relaxation.cell]))[0]
    above = placed.place.above if placed and placed.place else None
    row = BundleRow(
        id=f"{candidate.job_id}-{candidate.index}",
        formula=candidate.formula,
        natoms=candidate.natoms,
        group_asked=candidate.group_asked,
        group_found=relaxation.group_found if relaxed and relaxation else candidate.group_found,
        symprec=SYMPREC if relaxed else candidate.symprec,
        energy_asked=candidate.energy_asked,
        energy=relaxation.formation_after if relaxation else None,
        energy_method=relaxation.method if relaxation else candidate.energy_method,
        e_above_hull=above,
        hull=_hull_name(hull) if hull and above is not None else "",
        min_distance=_shortest(relaxation.cell) if relaxed and relaxation else candidate.min_distance,
        valid=candidate.valid,
        novel=candidate.novel,
        unique=candidate.unique,
    )
    return BundleItem(row, generated, relaxed)


def _shortest(cell: bytes | None) -> float | None:
    """Å, in what the row's file holds."""
    return finite(shortest_distances(unpack_cells([cell]))[0]) if cell else None


def relaxed_row(label: str, crystals: Crystals, index: int, values: Mapping[str, Any]) -> BundleRow:
    """The row of a crystal that came from a file and was relaxed; `values` as `relaxation_values` gives them."""
    return BundleRow(
        id=label,
        formula=crystals.formula(index),
        natoms=int(crystals.natoms[index]),
        group_asked=None,
        group_found=values["group_found"],
        symprec=SYMPREC,
        energy_asked=None,
        energy=values["formation_after"],
        energy_method=str(values["method"]),
        e_above_hull=None,
        hull="",
        min_distance=float(shortest_distances(crystals[[index]])[0]),
        valid=True,
        novel=None,
        unique=None,
    )


def _latest(relaxations: Sequence[Relaxation]) -> dict[int, Relaxation]:
    """The newest relaxation of each candidate that gave a crystal."""
    good = [r for r in relaxations if r.cell is not None]
    return {r.candidate_id: r for r in sorted(good, key=lambda r: r.created_at)}


def _fitting_hull(found: Sequence[Candidate], relaxed: dict[int, Relaxation]) -> HullView | None:
    """The one hull that holds all the candidates' elements, by the method they were relaxed with."""
    methods = {r.method for r in relaxed.values()}
    elements = {e for c in found for e in c.chemical_system.split("-")}
    for hull in hull_systems_for("-".join(sorted(elements))):
        if methods == {hull.method}:
            return get_hull_by_id(hull.id)
    return None


def _hull_name(hull: HullView) -> str:
    return f"{hull.row.chemical_system} {hull.row.method} ({hull.row.name})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except Exception:  # an optional package that is not here has no version
        return None
