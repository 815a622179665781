"""Candidates of all runs: listed with their place on a hull, starred, noted, deleted and brought back, compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from core.crystals import Crystals, lattice_parameters, to_structures, unpack_cells
from core.data.formulas import FormulaError, parse_formula, reduced_formula
from core.energy.hull import HullError, Place
from core.energy.load import default_choice
from core.evaluation.matching import rms_distance
from core.export.structures import export_many
from core.settings import settings
from core.workflows.acting import ADMIN, EDITOR, require
from core.workflows.audit import record
from core.workflows.candidate_owners import require_own, words_of
from core.workflows.context import UserError
from core.workflows.hulls import get_hull_by_id, list_hulls, own_hulls, place_candidates
from core.workflows.relax import trajectory_path
from core.workflows.store import store
from db import candidate_counts as counts
from db import candidates as rows
from db import hulls as hull_rows
from db.candidate_counts import Summary
from db.candidate_lists import CandidateFilter, Placing
from db.tables import Candidate, Relaxation

__all__ = ["Summary"]
MAX_NOTE = 2000  # characters
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Twins:
    """What the relaxed crystal of a row is, among the rows listed with it and the phases of its hull.

    phase: the hull's phase that it is, "" for none; same: names of the rows that are it; repeat: one of them is first;
    on_hull: has it a hull whose phases of its formula and energy have cells, so that they were compared?
    """

    phase: str = ""
    same: tuple[str, ...] = ()
    repeat: bool = False
    on_hull: bool = False


@dataclass(frozen=True)
class Row:
    """A candidate with its relaxation by the method asked for, and eV/atom above the hull of its system.

    twins: by `core.workflows.twins`; None where it was not compared as relaxed
    """

    candidate: Candidate
    relaxation: Relaxation | None
    above: float | None
    twins: Twins | None = None

    @property
    def name(self) -> str:
        """ "12-3": run and number there."""
        return f"{self.candidate.job_id}-{self.candidate.index}"

    @property
    def relaxed(self) -> bool:
        """Is there a relaxed cell, not just an energy as drawn?"""
        return self.relaxation is not None and self.relaxation.cell is not None


@dataclass(frozen=True)
class Scope:
    """Some candidates: those with these ids, or where there are none all that pass a filter, in an order."""

    ids: tuple[int, ...] = ()
    wanted: CandidateFilter = field(default_factory=CandidateFilter)
    placing: Placing | None = None
    order: str = "run"
    descending: bool = False

    @property
    def which(self) -> rows.Which:
        return self.ids or self.wanted


# Whose energies, and on which hull


def energy_methods() -> list[str]:
    """Methods that candidates were relaxed with or hulls have, the default first.

    That is the potential's used here, unless candidates were relaxed with others alone.
    """
    with store().session() as session:
        done = rows.relaxation_methods(session)
        known = {*done, *(h.method for h in hull_rows.list_hulls(session))}
    preferred = default_choice(settings().m3gnet).method
    first = preferred if preferred in done or not done else done[0]
    return sorted(known | {preferred}, key=lambda m: (m != first, m != preferred, m not in done, m))


def placing_for(method: str = "", hull_id: int | None = None) -> Placing:
    """Every system on its own hull by a method ("" is the default one), or all on one hull by its method.

    The hulls' energies at the candidates' compositions are found and kept where they were not yet. Raises UserError.
    """
    with store().session() as session:
        systems = rows.chemical_systems(session)
    if hull_id is not None:
        hull = next((h for h in list_hulls() if h.id == hull_id), None)
        if hull is None:
            raise UserError(f"There is no hull {hull_id}.")
        placing = Placing(hull.method, tuple((s, hull.id) for s in systems if own_hulls(s, hull.method, [hull])))
    else:
        method = method or energy_methods()[0]
        hulls = list_hulls()
        found = ((s, own_hulls(s, method, hulls)) for s in systems)
        placing = Placing(method, tuple((s, own[0].id) for s, own in found if own))
    fill_levels(placing)
    return placing


def fill_levels(placing: Placing) -> None:
    """Keep the energy of each hull at the compositions of candidates that lack it. A broken hull places nothing."""
    by_hull = defaultdict(list)
    for system, hull_id in placing.hulls:
        by_hull[hull_id].append(system)
    for hull_id, systems in by_hull.items():
        with store().session() as session:
            missing = hull_rows.formulas_without_level(session, hull_id, systems)
        if not missing:
            continue
        with suppress(HullError, FormulaError, UserError):
            hull = get_hull_by_id(hull_id).hull
            contents = [{s: float(n) for s, n in parse_formula(f).items()} for f in missing]
            energies = hull.heights(hull.fractions(contents)).tolist()
            with store().session() as session:
                hull_rows.add_levels(session, hull_id, dict(zip(missing, energies, strict=True)))


# Lists


def list_rows(scope: Scope, limit: int, offset: int = 0) -> list[Row]:
    """A page of what the scope's filter lets through, with everything that a row shows."""
    with store().session() as session:
        ids = rows.ordered_ids(session, scope.wanted, limit, offset, scope.order, scope.descending, scope.placing)
    return get_rows(ids, scope.placing)


def get_rows(ids: Sequence[int], placing: Placing | None) -> list[Row]:
    """These candidates, in the bin or not, in the order asked; ids that are gone are left out."""
    with store().session() as session:
        found = rows.get_candidates(session, ids, deleted=None)
        relaxed = rows.relaxations(session, ids, placing.method) if placing else []
        hulls = dict(placing.hulls) if placing else {}
        wanted = {(hulls.get(c.chemical_system), c.reduced_formula) for c in found}
        levels = hull_rows.levels(session, [(h, f) for h, f in wanted if h is not None])
    by_id = {r.candidate_id: r for r in relaxed}

    def row(candidate: Candidate) -> Row:
        relaxation = by_id.get(candidate.id)
        level = levels.get((hulls.get(candidate.chemical_system, 0), candidate.reduced_formula))
        energy = relaxation.formation_after if relaxation else None
        return Row(candidate, relaxation, None if energy is None or level is None else energy - level)

    return [row(c) for c in found]


def count(wanted: CandidateFilter, placing: Placing | None = None) -> int:
    with store().session() as session:
        return rows.count_candidates(session, wanted, placing)


def ids_of(scope: Scope, most: int) -> list[int]:
    """Ids of the scope, the first `most` in its order."""
    if scope.ids:
        return list(scope.ids[:most])
    with store().session() as session:
        return rows.ordered_ids(session, scope.wanted, most, 0, scope.order, scope.descending, scope.placing)


def choices(column: str) -> dict[object, int]:
    """Values that candidates have in a column (of `db.candidate_counts.COLUMNS`), with how many have each."""
    with store().session() as session:
        return dict(counts.values_of(session, column))


def summary(wanted: CandidateFilter, placing: Placing) -> Summary:
    """How many pass a filter and how they fared."""
    with store().session() as session:
        return counts.summary(session, wanted, placing)


@dataclass(frozen=True)
class Sampled:
    """Relaxed candidates spread over all that pass, with the keys of `db.candidate_counts.sample`.

    foreign: how many were left out because their energy was asked for on another method's scale
    """

    data: pd.DataFrame
    foreign: int


def sample(wanted: CandidateFilter, placing: Placing, most: int, kind: str) -> Sampled:
    """Candidates that jobs of this kind made, and that were asked for on the scale of the placing's method."""
    with store().session() as session:
        found = counts.sample(session, wanted, placing, most, kind)
    data = pd.DataFrame(found, columns=[*counts.SAMPLED, "energy", "above"])
    data = data.dropna(subset=["energy_asked"])
    ours = data["energy_method"].isin([placing.method, ""])
    return Sampled(data[ours], int((~ours).sum()))


def above_hulls(wanted: CandidateFilter, placing: Placing, most: int) -> pd.DataFrame:
    """reduced_formula, group_found and above (eV/atom) of all that stand on a hull, at most so many."""
    with store().session() as session:
        found = counts.above_hulls(session, wanted, placing, most)
    return pd.DataFrame(found, columns=["reduced_formula", "group_found", "above"])


def verdicts(column: str, wanted: CandidateFilter, placing: Placing, most: int) -> list[counts.Verdicts]:
    """Valid, new and unique ones by value of a column, the most frequent first."""
    with store().session() as session:
        return counts.verdicts(session, column, wanted, placing, most)


def formula_wanted(text: str) -> str:
    """ "Ta2B4" -> "TaB2" as candidates carry it. Raises UserError."""
    try:
        return reduced_formula(parse_formula(text))
    except FormulaError as error:
        raise UserError(str(error)) from error


# What their owner thinks of them


def star(scope: Scope, starred: bool = True) -> int:
    """Returns how many were changed."""
    require(EDITOR)
    with store().session() as session:
        return rows.star(session, scope.which, starred, scope.placing)


def put_note(scope: Scope, text: str, add: bool = False) -> int:
    """Plain text, without control characters but line ends; "" takes notes away. Returns how many were changed.

    add: under the note that is there, which stays. Raises UserError where a note gets too long.
    """
    require(EDITOR)
    clean = "".join(c for c in text.replace("\r\n", "\n") if c == "\n" or c.isprintable()).strip()
    clean = clean.encode("utf-8", "replace").decode()
    if len(clean) > MAX_NOTE:
        raise UserError(f"A note holds {MAX_NOTE:,} characters; this one has {len(clean):,}.")
    if add and not clean:
        return 0
    with store().writing() as session:
        if add and rows.longest_note(session, scope.which, scope.placing) + 1 + len(clean) > MAX_NOTE:
            raise UserError(f"A note holds {MAX_NOTE:,} characters: one of them has no room for this text.")
        return rows.put_note(session, scope.which, clean, scope.placing, add)


def passing(ids: Sequence[int], wanted: CandidateFilter, placing: Placing | None) -> list[int]:
    """Those of these ids that pass a filter, in the order given."""
    with store().session() as session:
        return rows.passing(session, ids, wanted, placing) if ids else []


def delete(scope: Scope) -> tuple[int, int]:
    """Put candidates into the bin; returns how many, and the number by which `restore` knows this deletion."""
    at = datetime.now(UTC)
    with store().writing() as session:
        require_own(session, scope.which, scope.placing)
        gone = rows.put_in_bin(session, scope.which, at, scope.placing)
        record(session, "delete", "candidate", words_of(scope.which), f"{gone:,}, into the bin")
    return gone, (at - _EPOCH) // timedelta(microseconds=1)


def restore(what: Scope | int) -> int:
    """Take candidates out of the bin: these, or those of one deletion. Returns how many."""
    which, placing = (what.which, what.placing) if isinstance(what, Scope) else (_moment(what), None)
    with store().writing() as session:
        require_own(session, which, placing)
        back = rows.restore(session, which, placing)
        if back:
            record(session, "restore", "candidate", words_of(which), f"{back:,}, out of the bin")
    return back


def still_deleted(number: int) -> int:
    """How many of a deletion lie in the bin; 0 for a number that is none."""
    with store().session() as session:
        return rows.deleted_at(session, _moment(number))


def empty_bin() -> int:
    """Remove what lies in the bin for good, with relaxations and their frames. Returns how many candidates."""
    require(ADMIN)  # it holds what everybody threw away
    with store().writing() as session:
        frames = rows.frames_in_bin(session)
        removed = rows.empty_bin(session)
        record(session, "delete", "candidate", "the bin", f"{removed:,}, for good")
    for candidate_id, folder in frames:  # once the rows are gone: a file without a row harms nothing
        with suppress(OSError):
            trajectory_path(Path(folder), candidate_id).unlink(missing_ok=True)
    return removed


def _moment(number: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=number)
    except OverflowError:
        return _EPOCH


# Two side by side


@dataclass(frozen=True)
class Side:
    """One of two that are compared: as relaxed by the method, where it was. Volume in Å³/atom, lengths in Å."""

    row: Row
    crystals: Crystals
    relaxed: bool
    cell: tuple[float, ...]  # a, b, c, α, β, γ
    volume: float


@dataclass(frozen=True)
class Comparison:
    """rms: by the paper's matcher and the field's, normalised by (V/N)^⅓; None where the two do not match."""

    left: Side
    right: Side
    same_formula: bool
    rms_paper: float | None
    rms_field: float | None


def compare(first: int, second: int, placing: Placing | None) -> Comparison:
    """Two candidates side by side. Raises UserError where one is not there."""
    found = get_rows([first, second], placing)
    if len(found) < 2:
        raise UserError("One of the two candidates is not there any more.")
    left, right = (_side(row) for row in found)
    a, b = left.row.candidate, right.row.candidate
    same = a.reduced_formula == b.reduced_formula
    finite = all(bool(s.crystals.lattice.isfinite().all()) for s in (left, right))
    rms: list[float | None] = [None, None]
    if same and finite:
        first_one, second_one = (to_structures(s.crystals)[0] for s in (left, right))
        rms = [rms_distance(first_one, second_one, name) for name in ("paper", "field")]
    return Comparison(left, right, same, rms[0], rms[1])


def crystal_of(row: Row, relaxed: bool = True) -> Crystals:
    """The crystal of a candidate: as relaxed where that is wanted and was done, else as generated."""
    cell = row.relaxation.cell if relaxed and row.relaxation else None
    return unpack_cells([cell or row.candidate.cell])


def files_of(scope: Scope, format: str, most: int) -> tuple[bytes, str, str]:
    """(content, file name, MIME type) of the scope's first `most` in a format of `core.export.structures.FORMATS`.

    As relaxed where they were; what has no finite cell is left out. Raises UserError where nothing is left.
    """
    found = [(row, crystal_of(row)) for row in get_rows(ids_of(scope, most), scope.placing)]
    found = [(row, c) for row, c in found if bool(c.lattice.isfinite().all())]
    names = [f"{row.name}_{row.candidate.formula}{'_relaxed' if row.relaxed else ''}" for row, _ in found]
    try:
        return export_many([to_structures(c)[0] for _, c in found], names, format)
    except ValueError as error:
        raise UserError(str(error)) from error


def place_of(row: Row, placing: Placing) -> Place | None:
    """Where it stands on the hull of its system: what it competes with; None where it has no place."""
    hull_id = dict(placing.hulls).get(row.candidate.chemical_system)
    if hull_id is None or row.above is None:
        return None
    placed = place_candidates([row.candidate.id], get_hull_by_id(hull_id))
    return placed[0].place if placed else None


def _side(row: Row) -> Side:
    crystals = crystal_of(row)
    cell = tuple(lattice_parameters(crystals.lattice)[0].tolist())
    return Side(row, crystals, row.relaxed, cell, float(crystals.volume[0]) / row.candidate.natoms)
