"""What came of a modification: candidates by energy, and before and after side by side."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from core.crystals import Crystals, pack_cells, to_structures, unpack_cells
from core.evaluation.displacement import Change, beside
from core.evaluation.validity import MEANING
from core.export.bundle import cif_text
from core.jobs import queue
from core.ui.job_result import show_missing
from core.ui.viewer import pair_html
from core.ui.widgets import energy, go, is_active, page, pages, pick_row, plain, segments, selected_int, sentences
from core.workflows.export import bundle_zip
from core.workflows.modified import Reached, changes_between, reached_of, start_crystal
from core.workflows.modify import StartState, start_of
from core.workflows.relax import method_of
from core.workflows.starts import heights_above, keep_text
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
    with summary:
        known_moves = None if offset or waiting else dict(zip((r.id for r in listed), moved, strict=True))
        _counts(found, state, side, known_moves, not is_active(job))
    rows_ = [
        _row(r, known[r.id], relaxed.get(r.id), side, height, one)
        for r, height, one in zip(listed, above, moved, strict=True)
    ]
    frame = pd.DataFrame(rows_).dropna(axis=1, how="all")
    if "atoms" in frame and frame["atoms"].nunique() < 2:
        frame = frame.drop(columns="atoms")
    hit = pick_row(frame, f"modified-{job.id}-{offset}-{side}-{at}", _columns(side), shown=at, most=310)
    if hit is not None:
        go(shown=listed[hit].id)
    st.caption(_about(state, side, method))
    chosen = listed[at]
    if is_active(job):
        return  # before and after stand still: a view that is turned is not drawn anew
    _pair(job, known[chosen.id], relaxed.get(chosen.id), state, side, chosen)
    _ways_on(job, known[chosen.id], relaxed.get(chosen.id) if side == "relaxed" else None, [r.id for r in found])
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
    found: list[Reached], state: StartState | None, side: str, moved: dict[int, Change | None] | None, ended: bool
) -> None:
    """moved: of the first, which are lowest, by id; None where that is not known here."""
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
        real = sum((one := moved[i]) is not None and one.same is False for i in lower)
        again = len(lower) - real
        _nothing_lower(changes, moved, ended and not real)
        columns[2].metric(
            "polymorphs below the start", f"{real:,}",
            help=f"Lower by more than 1 meV/atom and a real polymorph. {again:,} more are as low but the start again, "
            "or could not be compared with it.",
        )  # fmt: skip
    else:
        columns[2].metric(
            "lower than the start", f"{len(lower):,}",
            help="By more than 1 meV/atom. Those that are the start again are counted too: the table tells them apart.",
        )  # fmt: skip
    columns[3].metric(
        "lowest", f"{_signed(min(changes.values()))} eV/atom", help="Of all, against the start, by the same potential."
    )


def _nothing_lower(changes: dict[int, float], moved: dict[int, Change | None], said: bool) -> None:
    """A sentence where no polymorph below the start was found, with how near the nearest came."""
    if not said:
        return
    others = [changes[i] for i, one in moved.items() if i in changes and one is not None and one.same is False]
    near = f" The lowest other polymorph is {_signed(min(others))} eV/atom from it." if others else ""
    st.info(
        f"No polymorph below the start was found.{near} It may be the most stable one: draw more, ask for other space "
        "groups or cell sizes, or take a method with templates.",
        icon=":material/info:",
    )


def _signed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def _above(listed: list[Reached], known: dict[int, Candidate], side: str, method: str) -> list[float | None]:
    """Over the newest hull of the method: all candidates of a run have the start's formula."""
    formation = [r.formation_relaxed if side == "relaxed" else r.formation_drawn for r in listed]
    if not method or not listed:
        return [None] * len(listed)
    return heights_above(known[listed[0].id].formula, formation, method)[0]


def _row(
    reached: Reached, candidate: Candidate, relaxation: Relaxation | None, side: str, above: float | None,
    moved: Change | None,
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
        "against the start": "…" if done and moved is None else verdict(candidate.valid or (relaxed and done), moved),
        "moved (Å)": moved.displacement if moved else None,
        "volume (%)": None if moved is None or moved.volume is None else 100 * moved.volume,
        "group asked": candidate.group_asked,
        "group found": f"{group} within {within:g} Å" if group and within else group and str(group),
        "state": _state(reached),
        "new": None if candidate.novel is None else "new" if candidate.novel else "known",
        "remark": candidate.problem or None,
    }


def verdict(valid: bool, moved: Change | None) -> str:
    """Is it the start again? In words."""
    if not valid:
        return "not valid"
    return {True: "the same structure", False: "a real polymorph", None: "–"}[moved.same if moved else None]


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


def _shown(listed: list[Reached]) -> int:
    wanted = selected_int("shown")
    return next((i for i, r in enumerate(listed) if r.id == wanted), 0)


def _pair(
    job: Job, candidate: Candidate, relaxation: Relaxation | None, state: StartState | None, side: str, reached: Reached
) -> None:
    """Start and candidate in one linked view, with the energies under each."""
    done = relaxation is not None and relaxation.cell is not None
    relaxed = side == "relaxed" and done  # what was not relaxed is compared with the start as it was given
    with sentences():
        given = start_crystal(job)
        before = unpack_cells([state.cell]) if relaxed and state and state.cell else given
        cell = relaxation.cell if relaxed and relaxation and relaxation.cell else candidate.cell
        after = unpack_cells([cell])
        if not bool(after.lattice.isfinite().all()):
            st.warning("Its cell is not finite: there is nothing to draw.", icon=":material/info:")
            return
        (moved,) = changes_between([(pack_cells(before)[0], cell)])
        assert moved is not None
        words = "relaxed" if relaxed else "as drawn"
        given_words = "relaxed" if relaxed and state and state.cell else "as given"
        after_words = words if done or side != "relaxed" else "as drawn, it was not relaxed"
        titles = (
            f"before: {str(job.params.get('name'))[:40]}, {given_words}",
            f"after: candidate {candidate.job_id}-{candidate.index}, {after_words}",
        )
        st.iframe(pair_html(beside(before, after), after, 400, titles), height=400, alt="Before and after in 3D")
        _beside(state, reached, candidate, relaxed, before, after, moved)


def _beside(
    state: StartState | None, reached: Reached, candidate: Candidate, relaxed: bool, before: Crystals, after: Crystals,
    moved: Change,
) -> None:  # fmt: skip
    """Numbers of both and of the way between them."""
    from core.data.symmetry import detect_group

    def formation(start: bool) -> float | None:
        if start:
            return None if state is None else state.formation_relaxed if relaxed else state.formation
        return reached.formation_relaxed if relaxed else reached.formation_drawn

    rows_ = {
        "formation energy": [energy(formation(True), 4), energy(formation(False), 4)],
        "space group within 0.1 Å": [str(detect_group(c, 0, 0.1) or "none") for c in (before, after)],
        "volume": [f"{float(c.volume[0]) / int(c.natoms[0]):.2f} Å³ per atom" for c in (before, after)],
    }
    left, right = st.columns([3, 2], gap="large")
    frame = pd.DataFrame(
        {"": rows_.keys(), "before": [v[0] for v in rows_.values()], "after": [v[1] for v in rows_.values()]}
    )
    left.table(frame.set_index(""), border="horizontal")
    value = reached.relaxed if relaxed else reached.drawn
    right.table(
        {
            "ΔE asked → reached": f"{_signed(candidate.energy_asked)} → **{_signed(value)}** eV/atom",
            "sites moved": "–"
            if moved.displacement is None
            else f"{moved.displacement:.2f} Å :small[root mean square]",
            "volume": "–" if moved.volume is None else f"{_signed(100 * moved.volume, 1)} %",
            "verdict": verdict(candidate.valid or relaxed, moved),
        },
        border="horizontal",
    )


def _ways_on(job: Job, candidate: Candidate, relaxation: Relaxation | None, ids: list[int]) -> None:
    """Modify further, open in Candidates, download one or all."""
    name = f"{candidate.job_id}-{candidate.index}"
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(f"Modify {name} further", icon=":material/transform:"):
            go("*", candidate=candidate.id, model=str(job.params.get("model")))
        if st.button("Other wishes for this start", icon=":material/replay:"):
            with sentences():
                token = keep_text(str(job.params["cif"]), str(job.params["name"]))
                go("*", start=token, model=str(job.params.get("model")))
        _cif(candidate, relaxation)
        if job.status == "done" and len(ids) <= 1000:
            st.download_button(
                "The run as a zip", lambda: bundle_zip(ids), f"modify-{job.id}.zip", "application/zip",
                icon=":material/folder_zip:", on_click="ignore",
            )  # fmt: skip
        st.page_link(
            page("candidates"), label="Open in Candidates", icon=":material/arrow_forward:",
            query_params={"run": str(job.id)},
        )  # fmt: skip


def _cif(candidate: Candidate, relaxation: Relaxation | None) -> None:
    """The crystal that is shown, with its energy and state as tags."""
    name, done = f"{candidate.job_id}-{candidate.index}", relaxation is not None and relaxation.cell is not None
    crystals = unpack_cells([relaxation.cell if relaxation and relaxation.cell else candidate.cell])
    if not bool(crystals.lattice.isfinite().all()):
        return
    tags = {"id": name, "state": "relaxed" if done else "as drawn"}
    if relaxation and relaxation.formation_after is not None:
        tags["formation_energy_eV_per_atom"] = f"{relaxation.formation_after:.6f}"
        tags["energy_method"] = relaxation.method
    file = f"{name}_{candidate.formula}{'_relaxed' if done else ''}.cif"
    st.download_button(
        f"CIF of {name}", cif_text(to_structures(crystals)[0], tags), file, "chemical/x-cif",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
