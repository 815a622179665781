"""Before and after of one modification side by side, and the ways on from it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.crystals import Crystals, pack_cells, to_structures, unpack_cells
from core.evaluation.displacement import Change, beside
from core.export.bundle import cif_text
from core.ui.downloads import download
from core.ui.modify_ask import asked_again
from core.ui.text import signed
from core.ui.viewer import pair_html
from core.ui.widgets import energy, go, page, plain, sentences
from core.workflows.export import bundle_zip
from core.workflows.modified import Reached, changes_between, start_crystal, verdict
from core.workflows.modify import StartState
from core.workflows.starts import keep_text
from db.tables import Candidate, Job, Relaxation


def show_pair(
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
        if relaxed and state and state.cell:
            _of_the_start(given, state.cell)
        st.iframe(pair_html(beside(before, after), after, 400, titles), height=400, alt="Before and after in 3D")
        _beside(state, reached, candidate, relaxed, before, after, moved)


def _of_the_start(given: Crystals, relaxed: bytes) -> None:
    """A word where relaxation made another structure of the start."""
    (way,) = changes_between([(pack_cells(given)[0], relaxed)])
    if way is not None and way.same is False:
        st.caption(
            ":material/info: Relaxed, the start is another structure than the one that was given: it is this one that "
            "the candidates are compared with."
        )


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
            "ΔE asked → reached": f"{signed(candidate.energy_asked)} → **{signed(value)}** eV/atom",
            "sites moved": "–"
            if moved.displacement is None
            else f"{moved.displacement:.2f} Å :small[root mean square]",
            "volume": "–" if moved.volume is None else f"{signed(100 * moved.volume, 1)} %",
            "verdict": verdict(candidate.valid or relaxed, moved),
        },
        border="horizontal",
    )
    if candidate.problem:
        st.caption(f":material/info: {plain(candidate.problem[:1].upper() + candidate.problem[1:])}.")


def show_ways_on(job: Job, candidate: Candidate, relaxation: Relaxation | None, ids: list[int]) -> None:
    """Modify further, open in Candidates, download one or all."""
    name = f"{candidate.job_id}-{candidate.index}"
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(f"Modify {name} further", icon=":material/transform:"):
            go("*", candidate=candidate.id, model=str(job.params.get("model")))
        if st.button("Other wishes for this start", icon=":material/replay:"):
            with sentences():
                token = keep_text(str(job.params["cif"]), str(job.params["name"]))
                go("*", start=token, **asked_again(job.params))
        _cif(candidate, relaxation)
        if job.status == "done" and len(ids) <= 1000:
            download(
                "The run as a zip", lambda: bundle_zip(ids), f"modify-{job.id}.zip", "application/zip",
                icon=":material/folder_zip:",
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
    structure = to_structures(crystals)[0]
    download(f"CIF of {name}", lambda: cif_text(structure, tags), file, "chemical/x-cif", ("candidate", f"{name}, CIF"))
