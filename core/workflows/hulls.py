"""Hulls in the store, and candidates against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

from core.data.formulas import parse_formula
from core.energy.errors import MethodError, method_error
from core.energy.hull import ConvexHull, HullError, Phase, Place, normal_system
from core.energy.hull_checks import warnings_of
from core.energy.hull_files import read_hull
from core.energy.hull_source import HullFileError, HullSource, SourcePhase
from core.energy.load import default_choice
from core.settings import ASSETS, settings
from core.workflows.acting import require_owner
from core.workflows.audit import record
from core.workflows.context import UserError
from core.workflows.hulls_store import put_hull
from core.workflows.store import store
from db import candidates as rows
from db import hulls as hull_rows
from db.tables import Candidate, Hull, HullEntry, Relaxation

MAX_FILE = 100_000_000
STARTER = "starter"


@dataclass(frozen=True)
class HullView:
    """A hull as pages and the command line show it; entries are by energy above it.

    Entries with a `flag` are listed, but `hull` is made of the others alone.
    """

    row: Hull
    entries: list[HullEntry]
    hull: ConvexHull

    @property
    def about(self) -> str:
        return str(self.row.notes.get("about", ""))

    @property
    def warnings(self) -> list[str]:
        """Why it should not be trusted blindly, in sentences; found now for a hull that came before they were kept."""
        if "warnings" in self.row.notes:
            return [str(w) for w in self.row.notes["warnings"]]
        row = self.row
        phases = [SourcePhase(e.label, e.composition, e.formation, flag=e.flag) for e in self.entries]
        source = HullSource(row.chemical_system, row.method, row.name, row.source, phases, len(phases))
        return warnings_of(source, self.hull)

    @cached_property
    def corners(self) -> frozenset[str]:
        """Labels of the compounds on the hull; an element's corner is its reference, no entry."""
        return frozenset(p.label for p in self.hull.stable() if len(p.composition) > 1)

    def is_stable(self, entry: HullEntry) -> bool:
        """Is this entry on the hull? One that is flagged, or an element below its reference, is not."""
        return entry.label in self.corners and not entry.flag

    @property
    def date(self) -> str:
        """When its source says it was made, else when it came here."""
        return str(self.row.notes.get("date") or f"{self.row.created_at:%Y-%m-%d}")

    @property
    def made_from(self) -> dict[str, Any] | None:
        """The hull whose phases were evaluated again for this one: id, chemical_system, method, name."""
        found = self.row.notes.get("made_from")
        return found if isinstance(found, dict) else None

    @property
    def error(self) -> MethodError | None:
        """How far its method errs, where that was measured."""
        return method_error(self.row.method, self.hull.elements)


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
            present = hull_rows.find_hull(session, system, method, STARTER)
        if present is None:
            put_hull(read_hull(path.read_bytes(), path.name))


def import_hull(path: Path, name: str = "", method: str = "") -> HullView:
    """A hull from a file of any format that `core.energy.hull_files` knows.

    name: of the hull, where the file's own or its file name is not wanted; method: of a file that says none.
    Raises UserError and leaves the store as it was.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.stat().st_size > MAX_FILE:
        raise UserError(f"{path.name} is larger than {MAX_FILE // 10**6} MB.")
    try:
        source = read_hull(path.read_bytes(), path.name)
    except (HullFileError, HullError) as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}.") from error
    if method and source.method not in ("unknown", method):
        raise UserError(f"{path.name} says that its energies are by {source.method}, not by {method}.")
    if not method and source.method == "unknown":
        raise UserError(f"{path.name} does not say whose energies these are: name the energy method, such as PBE.")
    return get_hull_by_id(put_hull(replace(source, name=name or source.name, method=method or source.method)))


def list_hulls(chemical_system: str | None = None) -> list[Hull]:
    with store().session() as session:
        return hull_rows.list_hulls(session, chemical_system)


def get_hull(chemical_system: str, method: str = "", name: str = "") -> HullView:
    """The hull of a system by a method; where none is named, that of the potential used here. Raises UserError.

    Of several of one method the newest is taken, unless a name is given. "CHGNet" is enough for "CHGNet-0.3.0".
    """
    system = as_system(chemical_system)
    here = [h for h in reversed(list_hulls(system)) if name in ("", h.name)]
    found = [h for h in here if method in ("", h.method)]
    found = found or [h for h in here if h.method.lower().startswith(f"{method.lower()}-")]
    if not found:
        known = ", ".join(f"{h.chemical_system} by {h.method} ({h.name})" for h in list_hulls()) or "none yet"
        wanted = system + (f" by {method}" if method else "") + (f" named {name!r}" if name else "")
        raise UserError(f"There is no hull of {wanted}. Hulls here: {known}.")
    preferred = default_choice(settings().m3gnet).method
    return get_hull_by_id(min(found, key=lambda h: h.method != preferred).id)


def as_system(text: str) -> str:
    """ "W-Ta-B" or "TaWB" -> "B-Ta-W". Raises UserError."""
    try:
        return normal_system(text)
    except HullError as error:
        raise UserError(str(error)) from error


def get_hull_by_id(hull_id: int) -> HullView:
    """Raises UserError."""
    with store().session() as session:
        row = session.get(Hull, hull_id)
        entries = hull_rows.hull_entries(session, hull_id) if row else []
    if row is None:
        raise UserError(f"There is no hull {hull_id}.")
    shaping = [e for e in entries if not e.flag]
    return HullView(row, entries, _convex(row.id, row.chemical_system, _frozen(shaping)))


def delete_hull(hull_id: int) -> None:
    """Raises UserError where it is not there, NotAllowed where it is another's."""
    with store().writing() as session:
        row = session.get(Hull, hull_id)
        if row is None:
            raise UserError(f"There is no hull {hull_id}.")
        name = f"{row.chemical_system} by {row.method} ({row.name})"
        require_owner(f"The hull of {name}", row.owner_id)
        hull_rows.drop_hull(session, hull_id)
        record(session, "delete", "hull", name)


@lru_cache(maxsize=32)
def _convex(_: int, system: str, phases: tuple[tuple[str, tuple[tuple[str, float], ...], float], ...]) -> ConvexHull:
    return ConvexHull(system, [Phase(label, dict(content), energy) for label, content, energy in phases])


def _frozen(entries: Sequence[HullEntry]) -> tuple[tuple[str, tuple[tuple[str, float], ...], float], ...]:
    return tuple((e.label, tuple((k, float(v)) for k, v in e.composition.items()), e.formation) for e in entries)


def own_hulls(chemical_system: str, method: str, among: Sequence[Hull] | None = None) -> list[Hull]:
    """Hulls by a method that hold these elements: the fewest elements first, then the newest. The first is theirs.

    among: hulls to choose from, all by default
    """
    wanted = set(chemical_system.split("-"))
    found = [h for h in (list_hulls() if among is None else among) if h.method == method]
    found = [h for h in found if wanted <= set(h.chemical_system.split("-"))]
    return sorted(found, key=lambda h: (h.chemical_system.count("-"), -h.id))


def own_hull(chemical_system: str, method: str) -> HullView | None:
    """The hull on which candidates of these elements stand, by a method; None where there is none."""
    found = own_hulls(chemical_system, method)
    return get_hull_by_id(found[0].id) if found else None


def candidates_on(view: HullView, run: int | None = None, most: int = 1000) -> list[PlacedCandidate]:
    """Candidates of the system and its sub-systems that can be placed, of one run or of all, lowest energy first."""
    elements = view.hull.elements
    systems = ["-".join(some) for n in range(1, len(elements) + 1) for some in combinations(elements, n)]
    with store().session() as session:
        ids = rows.relaxed_candidates(session, systems, view.row.method, run, most)
    return [p for p in place_candidates(ids, view) if p.place]


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
        if relaxation.status == "energy as drawn":
            return PlacedCandidate(
                candidate, relaxation, None, f"energy as drawn, not relaxed with {relaxation.method}"
            )
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
