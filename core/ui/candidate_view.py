"""Candidates on a page: a table of them, and one in 3D beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from core.crystals import lattice_parameters, unpack_cells
from core.energy.potential import shortest_distances
from core.ui.relaxation_player import show_player
from core.ui.viewer import show_crystal
from core.ui.widgets import page, pages, plain, sentences
from core.workflows.hulls import PlacedCandidate
from core.workflows.store import store
from db import candidates as rows
from db.tables import Candidate, Job, Relaxation

PAGE = 24
NUMBERS = {
    "energy asked (eV/atom)": "%.3f",
    "generated: shortest distance (Å)": "%.2f",
    "generated: volume (Å³/atom)": "%.1f",
    "energy before (eV/atom)": "%.4f",
    "energy after (eV/atom)": "%.4f",
    "above hull (eV/atom)": "%.4f",
}


def show_run(job: Job) -> None:
    """What a run has made so far: counts, table, viewer, and the way on."""
    wanted = rows.CandidateFilter(job_id=job.id)
    with store().session() as session:
        total = rows.count_candidates(session, wanted)
        valid = rows.count_candidates(session, rows.CandidateFilter(job_id=job.id, valid_only=True))
    if not total:
        if job.status == "running":
            st.caption("The first candidates come within seconds.")
        return
    columns = st.columns(4)
    columns[0].metric("candidates", f"{total:,}")
    columns[1].metric("valid", f"{valid:,}", help="no two atoms under 0.5 Å, a volume of 2 to 200 Å³ per atom")
    offset = pages(total, PAGE, "rows")
    with store().session() as session:
        listed = rows.page_candidates(session, wanted, PAGE, offset)
    chosen = candidate_table(listed, key=f"run-{job.id}-{offset}")
    show_candidate(listed[chosen[0] if chosen else _first_valid(listed)])
    if job.status == "done":
        st.page_link(
            page("candidates"),
            label="Relax them and see them against the hull",
            icon=":material/arrow_forward:",
            query_params={"run": str(job.id)},
        )


def candidate_table(
    listed: Sequence[Candidate],
    key: str,
    placed: Mapping[int, PlacedCandidate] | None = None,
    multiple: bool = False,
) -> list[int]:
    """A table of candidates; returns the row numbers that are selected."""
    frame = pd.DataFrame([_row(c, placed.get(c.id) if placed is not None else None) for c in listed])
    if placed is None:
        frame = frame.drop(columns=["energy before (eV/atom)", "energy after (eV/atom)", "above hull (eV/atom)"])
    event = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row" if multiple else "single-row",
        key=key,
        column_config={
            name: st.column_config.NumberColumn(format=text) for name, text in NUMBERS.items() if name in frame
        },
        height=min(420, 38 + 35 * len(frame)),
        placeholder="",
    )
    return [i for i in event["selection"]["rows"] if i < len(listed)]


def _row(candidate: Candidate, placed: PlacedCandidate | None) -> dict[str, object]:
    relaxation = placed.relaxation if placed else None
    return {
        "candidate": f"{candidate.job_id}-{candidate.index}",
        "composition": candidate.formula,
        "above hull (eV/atom)": placed.place.above if placed and placed.place else None,
        "energy after (eV/atom)": relaxation.formation_after if relaxation else None,
        "energy before (eV/atom)": relaxation.formation_before if relaxation else None,
        "verdict": _verdict(candidate),
        "group asked": candidate.group_asked,
        "group found": candidate.group_found,
        "energy asked (eV/atom)": candidate.energy_asked,
        "generated: shortest distance (Å)": candidate.min_distance,
        "generated: volume (Å³/atom)": candidate.volume,
    }


def _verdict(candidate: Candidate) -> str:
    if not candidate.valid:
        return f"not valid: {candidate.problem}"
    words = ["valid"]
    if candidate.novel is not None:
        words.append("new" if candidate.novel else "known")
    if candidate.unique is False:
        words.append("a repeat")
    return ", ".join(words)


def show_candidate(candidate: Candidate, relaxation: Relaxation | None = None) -> None:
    """One candidate in 3D with its cell and groups; relaxed where it was."""
    cell = relaxation.cell if relaxation and relaxation.cell else candidate.cell
    crystals = unpack_cells([cell])
    left, right = st.columns([3, 2], gap="large")
    with left:
        if bool(crystals.lattice.isfinite().all()):
            show_crystal(crystals, height=400)
        else:
            st.warning("Its cell is not finite: there is nothing to draw.", icon=":material/info:")
    with right:
        state = f"relaxed with {plain(relaxation.method)}" if relaxation and relaxation.cell else "as generated"
        st.markdown(f"**{candidate.formula}** :small[candidate {candidate.job_id}-{candidate.index}, {state}]")
        a, b, c, alpha, beta, gamma = lattice_parameters(crystals.lattice)[0].tolist()
        found = relaxation.group_found if relaxation and relaxation.cell else candidate.group_found
        distance = float(shortest_distances(crystals)[0])
        volume = float(crystals.volume[0]) / candidate.natoms
        symprec = 0.1 if relaxation and relaxation.cell else candidate.symprec
        facts = {
            "a, b, c": f"{a:.3f}, {b:.3f}, {c:.3f} Å",
            "α, β, γ": f"{alpha:.2f}, {beta:.2f}, {gamma:.2f}°",
            "atoms": str(candidate.natoms),
            "space group asked": str(candidate.group_asked or "any"),
            f"space group {state.split()[0]}": f"{found} (symprec {symprec:g} Å)" if found else "none",
            "shortest distance": f"{distance:.2f} Å" if math.isfinite(distance) else "–",
            "volume": f"{volume:.1f} Å³ per atom" if math.isfinite(volume) else "–",
            "verdict": plain(_verdict(candidate)),
        }
        st.table(facts, border="horizontal")
    if relaxation:
        with sentences():
            show_player(candidate.id, relaxation.method)


def _first_valid(listed: Sequence[Candidate]) -> int:
    return next((i for i, c in enumerate(listed) if c.valid), 0)
