"""Bundles of candidates from the store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from core.crystals import Crystals, to_structures, unpack_cells
from core.data.formulas import parse_formula
from core.data.rows import finite
from core.energy.potential import shortest_distances
from core.export.bundle import BundleItem, BundleRow, write_folder, write_zip
from core.workflows.audit import record_alone
from core.workflows.candidate_owners import words_of
from core.workflows.context import UserError
from core.workflows.hulls import HullView, own_hull
from core.workflows.manifest import Manifest, hull_name
from core.workflows.relax import SYMPREC
from core.workflows.store import store
from db import candidates as rows
from db.tables import Candidate, Relaxation

_PART = 500  # candidates read from the store and held at once


def bundle_zip(candidate_ids: Sequence[int], hull: HullView | None = None) -> bytes:
    """A zip of these candidates. Each is relaxed by the hull's method, else as it was relaxed last.

    Each stands above the given hull where that holds its elements, else above one of its own elements and method.
    Raises UserError where none of them is in the store.
    """
    target = BytesIO()
    bundle_file(candidate_ids, target, hull)
    return target.getvalue()


def bundle_file(
    candidate_ids: Sequence[int], target: IO[bytes] | str | os.PathLike[str], hull: HullView | None = None
) -> int:
    """The same written into a file, a few hundred candidates in memory at a time; returns how many candidates."""
    bundle = _Bundle(candidate_ids, hull)
    record_alone("download", "bundle", f"{len(candidate_ids):,} candidates", words_of(candidate_ids))
    write_zip(target, bundle.items(), bundle.manifest)
    return bundle.count


def bundle_folder(candidate_ids: Sequence[int], folder: Path, hull: HullView | None = None) -> int:
    """The same as files of a folder; returns how many candidates."""
    bundle = _Bundle(candidate_ids, hull)
    try:
        write_folder(folder, bundle.items(), bundle.manifest)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return bundle.count


class _Bundle:
    """Candidates read part by part; what the manifest needs of them is gathered on the way. Raises UserError."""

    def __init__(self, candidate_ids: Sequence[int], hull: HullView | None) -> None:
        self._ids, self._hulls, self.count = candidate_ids, _Hulls(hull), 0
        self._manifest = Manifest()
        with store().session() as session:
            if not any(rows.get_candidates(session, part) for part in _parts(candidate_ids)):
                raise UserError("No candidate was chosen.")

    def items(self) -> Iterator[BundleItem]:
        for part in _parts(self._ids):
            with store().session() as session:
                found = rows.get_candidates(session, part)
                relaxations = rows.relaxations(session, part)
            best = best_relaxations(relaxations, self._hulls.given.row.method if self._hulls.given else "")
            above = self._hulls.above(found, best)
            self.count += len(found)
            for candidate in found:
                relaxation = best.get(candidate.id)
                value, hull = above.get(candidate.id, (None, None))
                self._manifest.add(candidate, relaxation, hull)
                yield _item(candidate, relaxation, value, hull)

    def manifest(self) -> dict[str, Any]:
        return self._manifest.values()


class _Hulls:
    """Which hull a candidate stands above: the one that was given, or the newest of its own elements and method."""

    def __init__(self, given: HullView | None) -> None:
        self.given = given
        self._found: dict[tuple[str, str], HullView | None] = {}

    def above(
        self, found: Sequence[Candidate], best: Mapping[int, Relaxation]
    ) -> dict[int, tuple[float, HullView]]:  # id -> (eV/atom, hull)
        grouped: dict[int, tuple[HullView, list[Candidate]]] = {}
        for candidate in found:
            relaxation = best.get(candidate.id)
            if relaxation is None or relaxation.formation_after is None:
                continue
            hull = self.of(candidate.chemical_system, relaxation.method)
            if hull is not None:
                grouped.setdefault(hull.row.id, (hull, []))[1].append(candidate)
        placed = {}
        for hull, some in grouped.values():
            energies = [float(best[c.id].formation_after or 0.0) for c in some]
            for candidate, value in zip(some, hull.hull.above_of([_counts(c) for c in some], energies), strict=True):
                placed[candidate.id] = (value, hull)
        return placed

    def of(self, system: str, method: str) -> HullView | None:
        key = (system, method)
        if key not in self._found:
            wanted = set(system.split("-"))
            given = self.given
            if given and given.row.method == method and wanted <= set(given.hull.elements):
                self._found[key] = given
            else:
                self._found[key] = own_hull(system, method)
        return self._found[key]


def best_relaxations(relaxations: Sequence[Relaxation], method: str = "") -> dict[int, Relaxation]:
    """By candidate: the relaxation by a method, else the newest that gave a crystal, else its energy as drawn."""

    def rank(row: Relaxation) -> tuple[Any, ...]:
        relaxed = row.cell is not None
        return relaxed and row.method == method, relaxed, row.formation_before is not None, row.created_at

    usable = [r for r in relaxations if r.cell is not None or r.formation_before is not None]
    return {r.candidate_id: r for r in sorted(usable, key=rank)}


def _item(
    candidate: Candidate, relaxation: Relaxation | None, above: float | None, hull: HullView | None
) -> BundleItem:
    generated = _structure(candidate.cell)
    relaxed = _structure(relaxation.cell) if relaxation is not None and relaxation.cell is not None else None
    moved = relaxation if relaxed else None
    row = BundleRow(
        id=f"{candidate.job_id}-{candidate.index}",
        formula=candidate.formula,
        natoms=candidate.natoms,
        group_asked=candidate.group_asked,
        group_found=moved.group_found if moved else candidate.group_found,
        symprec=SYMPREC if moved else candidate.symprec,
        energy_asked=candidate.energy_asked,
        energy=moved.formation_after if moved else relaxation.formation_before if relaxation else None,
        energy_method=relaxation.method if relaxation else candidate.energy_method,
        e_above_hull=above,
        hull=hull_name(hull) if hull and above is not None else "",
        min_distance=_shortest(moved.cell) if moved else candidate.min_distance,
        valid=candidate.valid,
        novel=candidate.novel,
        unique=candidate.unique,
        **_judged(candidate),
        **_relaxed(relaxation, moved is not None),
    )
    return BundleItem(row, generated, relaxed)


def _judged(candidate: Candidate) -> dict[str, Any]:
    """The columns of a candidate that stand under their own names."""
    names = ("model", "problem", "groups", "symmetrised", "charge_balanced", "novelty", "starred", "note")
    more = ("displacement", "volume_change", "same_as_start", "series")
    return {name: getattr(candidate, name) for name in (*names, *more)}


def _relaxed(relaxation: Relaxation | None, moved: bool) -> dict[str, Any]:
    if relaxation is None:
        return {}
    return {
        "relaxation": relaxation.status,
        "relax_steps": relaxation.steps,
        "max_force": relaxation.max_force,
        "energy_generated": relaxation.formation_before,
        "total_energy": relaxation.total_after if moved else relaxation.total_before,
    }


def _structure(cell: bytes) -> Any:
    """The pymatgen structure, None where the cell is not finite."""
    crystals = unpack_cells([cell])
    return to_structures(crystals)[0] if bool(crystals.lattice.isfinite().all()) else None


def _shortest(cell: bytes | None) -> float | None:
    """Å, in what the row's file holds."""
    return finite(shortest_distances(unpack_cells([cell]))[0]) if cell else None


def _counts(candidate: Candidate) -> dict[str, float]:
    return {s: float(n) for s, n in parse_formula(candidate.formula).items()}


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _PART] for start in range(0, len(ids), _PART))


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
        relaxation=str(values["status"]),
        relax_steps=values["steps"],
        max_force=values["max_force"],
        energy_generated=values["formation_before"],
        total_energy=values["total_after"],
    )
