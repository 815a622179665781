"""Which relaxed candidates are one crystal, and which are a phase that their hull knows already."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from pymatgen.core import Structure

from core.crystals import to_structures, unpack_cells
from core.evaluation.matching import first_match
from core.workflows.candidates import Row, Twins
from core.workflows.store import store
from db import hulls as hull_rows
from db.candidate_lists import Placing
from db.tables import HullEntry

WINDOW = 0.005  # eV/atom: relaxations of one crystal end closer together
LIMIT_S = 2.0  # for a page; what was not compared by then is compared when it is drawn again


def with_twins(rows: Sequence[Row], placing: Placing | None) -> list[Row]:
    """The same rows; each relaxed one says which others of them, and which phases of its hull, are its crystal.

    Two are compared where formula and energy (within WINDOW) agree, by the paper's matcher. Of those that are one
    crystal the lowest is the first, of equal ones the one with the lower id.
    """
    relaxed = [row for row in rows if _energy(row) is not None]
    relaxed.sort(key=lambda row: (_energy(row) or 0.0, row.candidate.id))
    phases, until = _phases(relaxed, placing), time.monotonic() + LIMIT_S
    firsts: dict[str, list[Row]] = defaultdict(list)
    kinds: dict[int, list[Row]] = {}  # id of the first one -> all that are its crystal
    found: dict[int, tuple[int, HullEntry | None, bool]] = {}
    for row in relaxed:
        if time.monotonic() > until:
            break
        known = phases.get((row.candidate.chemical_system, row.candidate.reduced_formula))
        close = [p for p in known or [] if _near(_energy(row), p.formation)]
        phase = next((p for p in close if same_cell(_cell(row), p.cell)), None)
        on_hull = known is not None and all(p.cell is not None for p in close)
        others = firsts[row.candidate.reduced_formula]
        first = next((o for o in others if _near(_energy(row), _energy(o)) and same_cell(_cell(row), _cell(o))), row)
        if first is row:
            others.append(row)
        kinds.setdefault(first.candidate.id, []).append(row)
        found[row.candidate.id] = first.candidate.id, phase, on_hull

    def told(row: Row) -> Row:
        if row.candidate.id not in found:
            return row
        first, phase, on_hull = found[row.candidate.id]
        same = tuple(o.name for o in kinds[first] if o.candidate.id != row.candidate.id)
        return replace(row, twins=Twins(phase_words(phase) if phase else "", same, first != row.candidate.id, on_hull))

    return [told(row) for row in rows]


def phase_words(entry: HullEntry) -> str:
    """ "TaB2 (AlB2, Kiessling 1949)": its formula, and its label and source where they say more."""
    said = dict.fromkeys(w for w in (entry.label, entry.source) if w and w != entry.formula)
    return entry.formula + (f" ({', '.join(said)})" if said else "")


def _phases(rows: Sequence[Row], placing: Placing | None) -> dict[tuple[str, str], list[HullEntry]]:
    """By chemical system and reduced formula: the phases of the hull that such candidates stand on."""
    hulls = dict(placing.hulls) if placing else {}
    wanted = {(r.candidate.chemical_system, r.candidate.reduced_formula) for r in rows}
    formulas: dict[int, set[str]] = defaultdict(set)
    for system, formula in wanted:
        if system in hulls:
            formulas[hulls[system]].add(formula)
    with store().session() as session:
        known = {h: hull_rows.phases_at(session, h, sorted(names)) for h, names in formulas.items()}
    return {(s, f): [e for e in known[hulls[s]] if e.formula == f] for s, f in wanted if s in hulls}


def _energy(row: Row) -> float | None:
    return row.relaxation.formation_after if row.relaxation and row.relaxed else None


def _cell(row: Row) -> bytes | None:
    return row.relaxation.cell if row.relaxation else None


def _near(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and abs(first - second) <= WINDOW


def same_cell(first: bytes | None, second: bytes | None) -> bool:
    """Are two packed cells one crystal by the paper's matcher? What has no cell is none."""
    return first is not None and second is not None and _matched(first, second)


@lru_cache(maxsize=20_000)
def _matched(first: bytes, second: bytes) -> bool:
    if first == second:
        return True
    a, b = _structure(first), _structure(second)
    return a is not None and b is not None and first_match(a, [b]) is not None


@lru_cache(maxsize=500)
def _structure(cell: bytes) -> Structure | None:
    """None for a cell that is not finite."""
    crystals = unpack_cells([cell])
    return to_structures(crystals)[0] if bool(crystals.lattice.isfinite().all()) else None
