"""What a modification reached: energies of its candidates against the start's, by one potential."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.crystals import Crystals, unpack_cells
from core.evaluation.displacement import Change, change
from core.workflows.modify import StartState, parse_start
from core.workflows.store import store
from core.workflows.twins import WINDOW, same_cell
from db import modified as rows
from db.tables import Job


@dataclass(frozen=True)
class Reached:
    """One candidate. drawn, relaxed: eV/atom above (+) or below (−) the start after the same work, None if unknown."""

    id: int
    valid: bool
    asked: float | None
    drawn: float | None
    relaxed: float | None
    status: str
    formation_drawn: float | None
    formation_relaxed: float | None


def reached_of(job_id: int, start: StartState | None, method: str) -> list[Reached]:
    """Every candidate of a run by number; total energies are compared, which need no references."""
    with store().session() as session:
        found = rows.moved_of_run(session, job_id, method)
    return [
        Reached(
            m.id, m.valid, m.asked, _less(m.drawn, start.drawn if start else None),
            _less(m.relaxed, start.relaxed if start else None), m.status or "", m.formation_drawn, m.formation_relaxed,
        )
        for m in found
    ]  # fmt: skip


def _less(value: float | None, start: float | None) -> float | None:
    return None if value is None or start is None else value - start


def changes_between(pairs: Sequence[tuple[bytes, bytes] | None], seconds: float = math.inf) -> list[Change | None]:
    """From a start to a crystal, as packed cells, for each pair; each is found once.

    None where there is no pair, and for what is not found after so many seconds (the first is always).
    """
    end = time.monotonic() + seconds
    found: list[Change | None] = []
    for pair in pairs:
        late = any(found) and time.monotonic() > end
        found.append(None if pair is None or late else _between(*pair))
    return found


@lru_cache(maxsize=4096)
def _between(start: bytes, moved: bytes) -> Change:
    return change(unpack_cells([start]), unpack_cells([moved]))


def distinct(crystals: Sequence[tuple[float, bytes] | None]) -> list[int | None]:
    """For each (energy in eV/atom, packed cell) the place of the first that is the same crystal, often its own.

    As for twins: only what is within WINDOW in energy is compared. None stays None.
    """
    firsts: list[tuple[int, float, bytes]] = []
    found: list[int | None] = []
    for i, one in enumerate(crystals):
        if one is None:
            found.append(None)
            continue
        energy, cell = one
        first = next((k for k, e, c in firsts if abs(e - energy) <= WINDOW and same_cell(c, cell)), i)
        if first == i:
            firsts.append((i, energy, cell))
        found.append(first)
    return found


def start_crystal(job: Job) -> Crystals:
    """The start of a run as given. Raises UserError."""
    return unpack_cells([parse_start(str(job.params["cif"]), str(job.params["name"])).cell])


def verdict(valid: bool, moved: Change | None, first: str = "") -> str:
    """Is it the start again? In words. first: the name of a candidate above it that is the same polymorph."""
    if not valid:
        return "not valid"
    if first and moved is not None and moved.same is False:
        return f"the same as {first}"
    return {True: "the same structure", False: "a real polymorph", None: "–"}[moved.same if moved else None]
