"""What came of a modification: candidates by energy, and before and after side by side."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from core.crystals import pack_cells
from core.evaluation.displacement import Change
from core.evaluation.validity import MEANING
from core.jobs import queue
from core.ui.job_result import show_missing
from core.ui.modify_pair import show_pair, show_ways_on
from core.ui.text import signed
from core.ui.widgets import energy, go, is_active, pages, pick_row, plain, segments, selected_int, sentences
from core.workflows.modified import Reached, changes_between, distinct, reached_of, start_crystal, verdict
from core.workflows.modify import StartState, start_of
from core.workflows.relax import method_of
from core.workflows.starts import heights_above
from core.workflows.store import store
from db import candidates as rows
from db.tables import Candidate, Job, Relaxation

PAGE = 24
SIDES = {"relaxed": "both relaxed", "drawn": "both as drawn"}
_CHANGE = "ΔE reached (eV/atom)"
_SECONDS = 1.5  # that a page waits for comparisons with the start before it is shown


def show_result(job: Job) -> None:
    """Counts, the table, the pair, and the ways on; while it runs, what there is of them, renewed by itself."""
    st.fragment(_result, run_every=4.0 if is_active(job) else None)(job.id)


def _result(job_id: int) -> None:
    job = queue.get(job_id)
    method = _method(job)
    state = start_of(job.folder) if job.folder and method else None
    found = reached_of(job.id, state, method)
    if not found:
        if is_active(job):
            st.caption("The start is evaluated first; the first candidates come after that.")
        elif job.status == "done":
            st.info("Nothing is left of this run: its candidates were deleted.", icon=":material/info:")
        return
    show_missing(job)
    side = _side(state, found)
    found = sorted(found, key=lambda r: _order(r, side))
    summary = st.container()
    offset = pages(len(found), PAGE, "rows")
    listed = found[offset : offset + PAGE]
    with store().session() as session:
        ids = [r.id for r in listed]
        known = {c.id: c for c in rows.get_candidates(session, ids)}
        relaxed = {r.candidate_id: r for r in rows.relaxations(session, ids, method)} if method else {}
    listed = [r for r in listed if r.id in known]
    at = _shown(listed)
    above = _above(listed, known, side, method)
    moved, waiting = _changes(job, state, side, [known[r.id] for r in listed], relaxed)
    firsts = _firsts(listed, side, [known[r.id] for r in listed], relaxed, moved)
    with summary:
        known_moves = None if offset or waiting else dict(zip((r.id for r in listed), moved, strict=True))
        _counts(found, state, side, known_moves, set(firsts), not is_active(job))
    rows_ = [
        _row(r, known[r.id], relaxed.get(r.id), side, height, one, firsts.get(r.id, ""))
        for r, height, one in zip(listed, above, moved, strict=True)
    ]
    frame = pd.DataFrame(rows_).dropna(axis=1, how="all")
    if "atoms" in frame and frame["atoms"].nunique() < 2:
        frame = frame.drop(columns="atoms")
    hit = pick_row(frame, f"modified-{job.id}-{offset}-{side}-{at}", _columns(side), shown=at, most=310)
    if hit is not None:
        go(shown=listed[hit].id)
    st.caption(_about(state, side, method) + _chosen_of(job))
    chosen = listed[at]
    if is_active(job):
        return  # before and after stand still: a view that is turned is not drawn anew
    show_pair(job, known[chosen.id], relaxed.get(chosen.id), state, side, chosen)
    show_ways_on(job, known[chosen.id], relaxed.get(chosen.id) if side == "relaxed" else None, [r.id for r in found])
    if waiting:
        with st.spinner("The other rows are compared with the start …"):
            _changes(job, state, side, [known[r.id] for r in listed], relaxed, math.inf)
        st.rerun()


def _changes(
    job: Job, state: StartState | None, side: str, listed: list[Candidate], relaxed: dict[int, Relaxation],
    seconds: float = _SECONDS,
) -> tuple[list[Change | None], bool]:  # fmt: skip
    """From the start to each candidate, both in the state that is compared; None where there is no such state.

    The second: is something not found yet?
    """
    if side == "drawn":
        return [Change(c.displacement, c.volume_change, c.same_as_start) for c in listed], False
    start = (state.cell if state else None) or pack_cells(start_crystal(job))[0]
    cells = [relaxed[c.id].cell if c.id in relaxed else None for c in listed]
    pairs = [(start, cell) if cell else None for cell in cells]
    found = changes_between(pairs, seconds)
    return found, any(pair is not None and one is None for pair, one in zip(pairs, found, strict=True))


def _firsts(
    listed: list[Reached], side: str, known: list[Candidate], relaxed: dict[int, Relaxation],
    moved: list[Change | None],
) -> dict[int, str]:  # fmt: skip
    """The name of the candidate above it that is the same polymorph, by id, of those listed that have one."""
    crystals: list[tuple[float, bytes] | None] = []
    for reached, candidate, one in zip(listed, known, moved, strict=True):
        relaxation = relaxed.get(candidate.id)
        cell = candidate.cell if side == "drawn" else relaxation.cell if relaxation else None
        value = reached.drawn if side == "drawn" else reached.relaxed
        other = one is not None and one.same is False and not _hidden(reached, side)
        crystals.append((value, cell) if other and cell is not None and value is not None else None)
    places = distinct(crystals)
    return {
        known[i].id: f"{known[k].job_id}-{known[k].index}" for i, k in enumerate(places) if k is not None and k != i
    }


def _method(job: Job) -> str:
    """The energy method of the run, "" where it took no energies."""
    potential = job.params.get("potential")
    with sentences():
        return "" if potential is None else method_of(str(potential))
    return ""


def _side(state: StartState | None, found: list[Reached]) -> str:
    """Which energies are compared: both relaxed where there are any, else both as drawn; in the URL."""
    if state is None or state.relaxed is None or not any(r.relaxed is not None for r in found):
        return "drawn"
    return segments("Energies that are compared", SIDES, "energies", of="modify", quiet=False)


def _order(reached: Reached, side: str) -> tuple[bool, float, int]:
    value = reached.relaxed if side == "relaxed" else reached.drawn
    return (_hidden(reached, side), math.inf if value is None else value, reached.id)


def _hidden(reached: Reached, side: str) -> bool:
    """Not valid as drawn, and the energies are those as drawn: a relaxation mends short contacts."""
    return side == "drawn" and not reached.valid


def _counts(
    found: list[Reached], state: StartState | None, side: str, moved: dict[int, Change | None] | None, again: set[int],
    ended: bool,
) -> None:  # fmt: skip
    """moved: of the first, which are lowest, by id; None where that is not known here. again: ids of polymorphs that
    another one is, too.
    """
    columns = st.columns(4)
    columns[0].metric("candidates", f"{len(found):,}")
    columns[1].metric("valid", f"{sum(r.valid for r in found):,}", help=MEANING)
    changes = {
        r.id: c
        for r in found
        if not _hidden(r, side) and (c := r.relaxed if side == "relaxed" else r.drawn) is not None
    }
    if state is None or not changes:
        return
    lower = [i for i, c in changes.items() if c < -1e-3]
    if moved is not None and all(i in moved for i in lower):
        real = sum((one := moved[i]) is not None and one.same is False and i not in again for i in lower)
        _nothing_lower(changes, moved, ended and not real)
        columns[2].metric(
            "polymorphs below the start", f"{real:,}",
            help=f"Lower by more than 1 meV/atom, a real polymorph, and each counted once. {len(lower) - real:,} more "
            "are as low but one of these or the start again, or could not be compared.",
        )  # fmt: skip
    else:
        columns[2].metric(
            "lower than the start", f"{len(lower):,}",
            help="By more than 1 meV/atom. Those that are the start again are counted too: the table tells them apart.",
        )  # fmt: skip
    columns[3].metric(
        "lowest", f"{signed(min(changes.values()))} eV/atom", help="Of all, against the start, by the same potential."
    )


def _nothing_lower(changes: dict[int, float], moved: dict[int, Change | None], said: bool) -> None:
    """A sentence where no polymorph below the start was found, with how near the nearest came."""
    if not said:
        return
    others = [changes[i] for i, one in moved.items() if i in changes and one is not None and one.same is False]
    near = f" The lowest other polymorph is {signed(min(others))} eV/atom from it." if others else ""
    st.info(
        f"No polymorph below the start was found.{near} It may be the most stable one: draw more, ask for other space "
        "groups or cell sizes, or take a method with templates.",
        icon=":material/info:",
    )


def _above(listed: list[Reached], known: dict[int, Candidate], side: str, method: str) -> list[float | None]:
    """Over the newest hull of the method: all candidates of a run have the start's formula."""
    formation = [r.formation_relaxed if side == "relaxed" else r.formation_drawn for r in listed]
    if not method or not listed:
        return [None] * len(listed)
    return heights_above(known[listed[0].id].formula, formation, method)[0]


def _row(
    reached: Reached, candidate: Candidate, relaxation: Relaxation | None, side: str, above: float | None,
    moved: Change | None, first: str,
) -> dict[str, object]:  # fmt: skip
    """One line; everything that is of a state is of the one that is compared."""
    relaxed = side == "relaxed"
    group = candidate.group_found
    if relaxed:
        group = relaxation.group_found if relaxation and relaxation.cell else None
    done = not relaxed or bool(relaxation and relaxation.cell)
    within = 0.1 if relaxed else candidate.symprec
    return {
        "candidate": f"{candidate.job_id}-{candidate.index}",
        "atoms": candidate.natoms,
        _CHANGE: reached.relaxed if relaxed else reached.drawn,
        "ΔE asked (eV/atom)": candidate.energy_asked,
        "above hull (eV/atom)": above,
        "against the start": "…"
        if done and moved is None
        else verdict(candidate.valid or (relaxed and done), moved, first),
        "made of, remarks": candidate.problem or None,
        "moved (Å)": moved.displacement if moved else None,
        "volume (%)": None if moved is None or moved.volume is None else 100 * moved.volume,
        "group asked": candidate.group_asked,
        "group found": f"{group} within {within:g} Å" if group and within else group and str(group),
        "state": _state(reached),
        "new": None if candidate.novel is None else "new" if candidate.novel else "known",
    }


def _state(reached: Reached) -> str:
    return reached.status or ("as drawn" if reached.valid else "not relaxed")


def _columns(side: str) -> dict[str, Any]:
    formats = {_CHANGE: "%+.4f", "ΔE asked (eV/atom)": "%+.3f", "above hull (eV/atom)": "%.4f", "moved (Å)": "%.2f",
               "volume (%)": "%+.1f"}  # fmt: skip
    state = "Both relaxed" if side == "relaxed" else "Both as drawn"
    helps = {
        _CHANGE: "The candidate's energy less the start's, by the same potential and after the same work.",
        "moved (Å)": f"{state}: root mean square displacement of the sites, each paired with the best of its element; "
        "the start in the cell that lies closest.",
        "volume (%)": f"{state}: the candidate's against the start's, per atom.",
        "against the start": f"{state}: pymatgen's StructureMatcher with the paper's tolerances.",
        "group found": f"{'Relaxed' if side == 'relaxed' else 'As drawn'}, with the tolerance at which it is found.",
    }
    words = {n: st.column_config.TextColumn(help=helps[n]) for n in ("against the start", "group found")}
    return {n: st.column_config.NumberColumn(format=f, help=helps.get(n)) for n, f in formats.items()} | words


def _about(state: StartState | None, side: str, method: str) -> str:
    if not method:
        return "No energies were asked for in this run: relax its candidates on the page Candidates."
    if state is None:
        return "The start has no energy yet."
    if state.drawn is None and state.relaxed is None:
        return f"{plain(method)} has no energy for the start: {plain(state.status)}."
    how = (
        "The start and the candidates were both relaxed, and are compared so in every column"
        if side == "relaxed"
        else "Both are as drawn, not relaxed"
    )
    value = state.relaxed if side == "relaxed" else state.drawn
    ended = "" if side == "drawn" or state.status == "converged" else f" The start {plain(state.status)}."
    return f"{how}; energies by {plain(method)}, the start has {energy(value, 4)} (total).{ended}"


def _chosen_of(job: Job) -> str:
    """How many were drawn for each candidate, where the potential chose."""
    draws, steps = int(job.params.get("draws") or 1), int(job.params.get("rank_steps") or 0)
    if draws < 2:
        return ""
    after = f", after {steps} steps of relaxation of each" if steps else ""
    return f" Each candidate is the potential's choice of {draws} drawn{after}."


def _shown(listed: list[Reached]) -> int:
    wanted = selected_int("shown")
    return next((i for i, r in enumerate(listed) if r.id == wanted), 0)
