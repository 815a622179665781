"""Hulls in the store, and candidates against them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.data.formulas import FormulaError, parse_formula
from core.data.readers.records import Problem, from_row
from core.energy.hull import ConvexHull, HullError, Phase, Place
from core.energy.load import default_choice
from core.settings import ASSETS, settings
from core.workflows.context import UserError
from core.workflows.store import store
from db import candidates as rows
from db.tables import Candidate, Hull, HullEntry, Relaxation

MAX_FILE = 200_000_000
STARTER = "starter"


@dataclass(frozen=True)
class HullView:
    """A hull as pages and the command line show it; entries are by energy above it."""

    row: Hull
    entries: list[HullEntry]
    hull: ConvexHull

    @property
    def about(self) -> str:
        return str(self.row.notes.get("about", ""))


@dataclass(frozen=True)
class PlacedCandidate:
    """A candidate with its relaxation by the hull's method; `place` is None where `problem` says why."""

    candidate: Candidate
    relaxation: Relaxation | None
    place: Place | None
    problem: str = ""


def install_starter_hulls() -> None:
    """Put the shipped hulls into the store, where they are not there yet."""
    for path in sorted((ASSETS / "hulls").glob("*.json.gz")):
        system, method = path.name.removesuffix(".json.gz").split(".", 1)
        with store().session() as session:
            present = rows.find_hull(session, system, method, STARTER)
        if present is None:
            _put(json.loads(gzip.decompress(path.read_bytes())))


def import_hull(path: Path) -> HullView:
    """A hull from a file: the project's own JSON, or a CSV with formula and formation_energy (eV/atom).

    The CSV's method and name are taken from further columns, `method` and `name`, or from the file's name. Raises
    UserError and leaves the store as it was.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.stat().st_size > MAX_FILE:
        raise UserError(f"{path.name} is larger than {MAX_FILE // 10**6} MB.")
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        values = _from_csv(text, path) if ".csv" in path.suffixes else json.loads(text)
        return get_hull_by_id(_put(values))
    except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} is no hull file that can be read: {error}.") from error


def _put(values: dict[str, Any]) -> int:
    """Check a hull and write it; distances are computed here, whatever the file says."""
    system = "-".join(sorted(str(values["chemical_system"]).split("-")))
    method, name = str(values["method"])[:64], str(values["name"])[:80]
    entries = [_entry(row, method) for row in values["entries"]]
    phases = [Phase(e["label"], e["composition"], e["formation"]) for e in entries]
    try:
        above = ConvexHull(system, phases).above()
    except HullError as error:
        raise UserError(str(error)) from error
    for entry, value in zip(entries, above, strict=True):
        entry["above_hull"] = value
    notes = {k: str(values[k]) for k in ("about", "references") if k in values}
    with store().session() as session:
        if rows.find_hull(session, system, method, name):
            raise UserError(f"There is a hull {name!r} of {system} by {method} already.")
        source = str(values.get("source", ""))[:500]
        return rows.add_hull(
            session, entries, chemical_system=system, method=method, name=name, source=source, notes=notes
        )


def _entry(row: dict[str, Any], method: str) -> dict[str, Any]:
    """A row with AFLOW's keys, or one with formula and formation energy alone."""
    formation = float(row["enthalpy_formation_atom"])
    if not math.isfinite(formation) or abs(formation) > 20:
        raise UserError(f"{row.get('auid', row.get('pretty_formula'))}: {formation} is no formation energy in eV/atom.")
    cell, group = None, int(row.get("spacegroup_relax") or 0)
    if "geometry" in row:
        try:
            record = from_row(row, "", method)
        except Problem as problem:
            raise UserError(f"{row.get('auid')}: {problem.detail}.") from problem
        cell, group = record.cell, record.space_group
        composition = dict(zip(row["species"], map(float, row["composition"]), strict=True))
        formula, label = record.formula, record.label
    else:
        composition = {s: float(n) for s, n in parse_formula(str(row["pretty_formula"])).items()}
        formula = Phase("", composition, 0.0).formula
        label = str(row.get("auid") or formula)[:200]
    return {
        "label": label,
        "formula": formula,
        "composition": composition,
        "formation": formation,
        "space_group": group,
        "source": str(row.get("source", ""))[:500],
        "cell": cell,
    }


def _from_csv(text: str, path: Path) -> dict[str, Any]:
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    if not {"formula", "formation_energy"} <= set(columns):
        raise UserError(f"{path.name}: a hull's CSV needs the columns formula and formation_energy (eV/atom).")
    listed = list(reader)
    if not listed:
        raise UserError(f"{path.name} holds no phases.")
    elements: set[str] = set()
    entries = []
    for number, row in enumerate(listed, 2):
        try:
            elements |= set(parse_formula(row["formula"]))
            energy = float(row["formation_energy"])
        except (FormulaError, ValueError, TypeError) as error:
            raise UserError(f"{path.name}, line {number}: {error}.") from error
        label = row.get("label") or f"{row['formula']} (line {number})"
        entries.append({"pretty_formula": row["formula"], "enthalpy_formation_atom": energy, "auid": label})
    methods = {row.get("method") or "unknown" for row in listed}
    if len(methods) > 1:
        raise UserError(f"{path.name} mixes the methods {', '.join(sorted(methods))}: a hull holds one.")
    return {
        "chemical_system": "-".join(sorted(elements)),
        "method": methods.pop(),
        "name": path.name.split(".")[0],
        "source": path.name,
        "entries": entries,
    }


def list_hulls(chemical_system: str | None = None) -> list[Hull]:
    with store().session() as session:
        return rows.list_hulls(session, chemical_system)


def get_hull(chemical_system: str, method: str = "") -> HullView:
    """The hull of a system by a method; where none is named, that of the potential used here. Raises UserError."""
    system = "-".join(sorted(chemical_system.replace(" ", "").split("-")))
    found = [h for h in list_hulls(system) if not method or h.method == method]
    if not found:
        known = ", ".join(f"{h.chemical_system} by {h.method}" for h in list_hulls()) or "none yet"
        wanted = f"{system} by {method}" if method else system
        raise UserError(f"There is no hull of {wanted}. Hulls here: {known}.")
    preferred = default_choice(settings().m3gnet).method
    return get_hull_by_id(min(found, key=lambda h: h.method != preferred).id)


def get_hull_by_id(hull_id: int) -> HullView:
    with store().session() as session:
        row = session.get(Hull, hull_id)
        entries = rows.hull_entries(session, hull_id) if row else []
    if row is None:
        raise UserError(f"There is no hull {hull_id}.")
    return HullView(row, entries, _convex(row.id, row.chemical_system, _frozen(entries)))


def delete_hull(hull_id: int) -> None:
    with store().session() as session:
        rows.drop_hull(session, hull_id)


@lru_cache(maxsize=32)
def _convex(_: int, system: str, phases: tuple[tuple[str, tuple[tuple[str, float], ...], float], ...]) -> ConvexHull:
    return ConvexHull(system, [Phase(label, dict(content), energy) for label, content, energy in phases])


def _frozen(entries: Sequence[HullEntry]) -> tuple[tuple[str, tuple[tuple[str, float], ...], float], ...]:
    return tuple((e.label, tuple((k, float(v)) for k, v in e.composition.items()), e.formation) for e in entries)


def hull_systems_for(chemical_system: str) -> list[Hull]:
    """Hulls whose system holds these elements."""
    wanted = set(chemical_system.split("-"))
    return [h for h in list_hulls() if wanted <= set(h.chemical_system.split("-"))]


def place_candidates(candidate_ids: Sequence[int], view: HullView | None) -> list[PlacedCandidate]:
    """Each candidate on the hull by its relaxation with the hull's own method; energies of two methods never meet.

    Without a hull, each with its latest relaxation by any method.
    """
    with store().session() as session:
        found = rows.get_candidates(session, candidate_ids)
        relaxed = rows.relaxations(session, candidate_ids, view.row.method if view else None)
    latest = {r.candidate_id: r for r in sorted(relaxed, key=lambda r: r.created_at)}
    return [_place(candidate, latest.get(candidate.id), view) for candidate in found]


def _place(candidate: Candidate, relaxation: Relaxation | None, view: HullView | None) -> PlacedCandidate:
    if relaxation is None:
        return PlacedCandidate(candidate, None, None, f"not relaxed with {view.row.method}" if view else "not relaxed")
    if relaxation.formation_after is None:
        unknown = f"without a formation energy: {relaxation.method} has no reference for one of its elements"
        failed = relaxation.status.startswith("failed")
        return PlacedCandidate(candidate, relaxation, None, relaxation.status if failed else unknown)
    if view is None:
        return PlacedCandidate(candidate, relaxation, None, "without a hull of these elements")
    try:
        counts = {s: float(n) for s, n in parse_formula(candidate.formula).items()}
        return PlacedCandidate(candidate, relaxation, view.hull.place(counts, relaxation.formation_after))
    except HullError as error:
        return PlacedCandidate(candidate, relaxation, None, str(error))
