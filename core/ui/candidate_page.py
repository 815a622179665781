"""The page of all candidates: what is listed, the list, its charts, its bin, and one of them."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.ui.candidate_actions import action_bar, panel_asked, scope_of, show_panel, undo_bar
from core.ui.candidate_filter import FILTERS, asked, change, filter_bar, hull_choice, verdict_pills
from core.ui.candidate_one import show_one, steps
from core.ui.candidate_plots import show_plots
from core.ui.candidate_table import (
    candidate_table,
    offset_asked,
    order_asked,
    order_choice,
    picked_asked,
    put_picked,
    size_asked,
    table_foot,
)
from core.ui.permits import permitted
from core.ui.text import said
from core.ui.widgets import counted, go, plain, segments, selected, selected_int, watch_job
from core.workflows import candidates as workflow
from core.workflows.acting import ADMIN
from core.workflows.candidates import Row, Scope
from core.workflows.context import UserError
from core.workflows.twins import with_twins
from db.candidate_lists import CandidateFilter, Placing

_STYLE = "<style>.block-container { padding: 1.6rem 2.6rem 6rem; }</style>"  # the table needs it


def show_candidates() -> None:
    """Everything below the header, as the URL says."""
    everything = workflow.count(CandidateFilter())
    binned = workflow.count(CandidateFilter(deleted=True))
    st.html(_STYLE)
    filter_bar()
    views = {"table": "Table", "plots": "Plots"} | ({"bin": f"Bin ({binned:,})"} if binned else {})
    left, right = st.columns([5, 3], vertical_alignment="bottom")
    with left:
        verdict_pills()
    with right:
        hull_choice()
    left, right, about = st.columns([2.4, 2.8, 2.8], vertical_alignment="bottom")
    with left:
        view = segments("Show", views, "show", "rows", "pick", "candidate", of=binned)
    with right:
        if view != "plots":
            order_choice(change)
    placing = placing_asked()
    found = asked(deleted=view == "bin")
    for problem in found.problems:
        st.warning(problem, icon=":material/info:")
    undo_bar()
    total = workflow.count(found.wanted, placing)
    if not total:
        _nothing(everything)
        _opened_alone(placing)
    elif view == "plots":
        st.caption(f"{counted(total, 'candidate')} pass the filter; energies by {plain(placing.method)}.")
        show_plots(found.wanted, placing)
    else:
        name, descending = order_asked()
        scope = Scope(wanted=found.wanted, placing=placing, order=name, descending=descending)
        where = "all on the chosen hull" if selected_int("hull") is not None else "each system on its own hull by it"
        method = plain(placing.method)
        about.caption(f"{total:,} of {counted(everything, 'candidate')}. Energies by {method}, {where}.")
        _list(scope, total)


def placing_asked() -> Placing:
    """Whose energies and which hull the URL asks for; a sentence where there is no such hull."""
    text = selected("hull") or ""
    if text.startswith("by.") and text[3:] in workflow.energy_methods():
        return workflow.placing_for(text[3:])
    try:
        return workflow.placing_for(hull_id=selected_int("hull"))
    except UserError as error:
        st.warning(f"{error} Each system stands on its own.", icon=":material/info:")
        return workflow.placing_for()


def _list(scope: Scope, total: int) -> None:
    offset = offset_asked(total)
    chosen = scope_of(scope)
    if list(chosen.ids) != picked_asked():
        put_picked(chosen.ids)  # what no longer passes the filter is not selected any more
    rows = with_twins(workflow.list_rows(scope, size_asked(), offset), scope.placing)
    candidate_table(rows, "candidates", change)
    table_foot(total)
    if scope.wanted.deleted:
        _bin_actions(chosen, total)
        _one(scope, rows, offset, total)
        return
    action_bar(chosen, total)
    job_id = selected_int("job")
    if job_id is not None:
        watch_job(job_id, "watched")
    left, right = st.columns([6, 4], vertical_alignment="center")
    with left:
        panel = panel_asked()
    if panel == "view":
        _one(scope, rows, offset, total, right)
    else:
        show_panel(panel, chosen, rows, total)
    if selected_int("job") != job_id:  # a panel has started one: its card stands above
        go()


def _one(scope: Scope, rows: list[Row], offset: int, total: int, where: DeltaGenerator | None = None) -> None:
    """The candidate that the URL opens, else the first one that is selected, else the first of the page."""
    wanted = selected_int("candidate")
    ids = [row.candidate.id for row in rows]
    if wanted is None:
        picked = [row for row in rows if row.candidate.id in scope_of(scope).ids]
        row = (picked or rows)[0]
    else:
        found = [r for r in rows if r.candidate.id == wanted]
        found = found or with_twins([*rows, *workflow.get_rows([wanted], scope.placing)], scope.placing)[len(rows) :]
        if not found:
            st.warning(f"There is no candidate {wanted}.", icon=":material/info:")
            return
        row = found[0]
    if row.candidate.deleted_at is not None:
        st.caption(":material/delete: It lies in the bin.")

    def beyond(by: int) -> int | None:
        """The neighbour on the page before or after, which is turned to."""
        place = offset - 1 if by < 0 else offset + len(rows)
        if row.candidate.id not in ids or not 0 <= place < total:
            return None
        there = workflow.list_rows(scope, 1, place)
        st.query_params["rows"] = str(place // size_asked() + 1)
        return there[0].candidate.id if there else None

    with where or st.container():
        steps(ids, row.candidate.id, lambda: beyond(-1), lambda: beyond(1))
    show_one(row, scope.placing)


def _opened_alone(placing: Placing) -> None:
    """A candidate that the URL opens is shown though the filter lets nothing through."""
    wanted = selected_int("candidate")
    if wanted is not None:
        found = workflow.get_rows([wanted], placing)
        if found:
            show_one(found[0], placing)
        else:
            st.warning(f"There is no candidate {wanted}.", icon=":material/info:")


def _nothing(everything: int) -> None:
    with st.container(border=True):
        st.markdown("**No candidate passes these filters.**")
        st.caption(f"There are {counted(everything, 'candidate')} in all: take a filter away.")
        st.button(
            "Take every filter away", icon=":material/filter_alt_off:", key="no-filters",
            on_click=lambda: change(*FILTERS),
        )  # fmt: skip


def _bin_actions(scope: Scope, total: int) -> None:
    count = len(scope.ids) or total

    def bring_back() -> None:
        try:
            back = workflow.restore(scope)
        except UserError as error:
            st.toast(said(str(error)), icon=":material/error:", duration="long")
            return
        put_picked([])
        st.toast(f"{counted(back, 'candidate')} back.", icon=":material/undo:")

    def empty() -> None:
        removed = workflow.empty_bin()
        put_picked([])
        change(show=None)
        st.toast(f"{counted(removed, 'candidate')} removed for good.", icon=":material/delete_forever:")

    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{count:,} selected**" if scope.ids else f"**All {count:,} that pass**", width="content")
        st.button("Bring back", icon=":material/undo:", key="restore", on_click=bring_back, **permitted())
        with st.popover("Empty the bin", icon=":material/delete_forever:"):
            everything = workflow.count(replace(CandidateFilter(), deleted=True))
            st.write(f"{counted(everything, 'candidate')}, with relaxations and their frames, are removed for good.")
            st.button(
                f"Remove {everything:,} for good", key="empty", type="primary", on_click=empty, **permitted(role=ADMIN)
            )
