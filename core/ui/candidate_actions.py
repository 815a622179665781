"""What is done with candidates: star, note, delete and undo; see together, compare, relax, place, take home."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from core.export.structures import FORMATS
from core.ui.candidate_compare import show_comparison
from core.ui.candidate_drawing import GRID, draw_grid
from core.ui.candidate_table import picked_asked, put_picked
from core.ui.downloads import download
from core.ui.hull_view import show_hull
from core.ui.permits import permitted
from core.ui.relax_form import relax_form
from core.ui.text import said
from core.ui.vasp_view import is_watched, vasp_panel, vasp_report
from core.ui.widgets import counted, go, plain, segments, selected, selected_int, sentences
from core.workflows import candidates as workflow
from core.workflows.candidate_owners import words_of
from core.workflows.candidates import MAX_NOTE, Row, Scope
from core.workflows.context import UserError
from core.workflows.export import bundle_zip
from core.workflows.hulls import HullView, get_hull_by_id, list_hulls, place_candidates
from core.workflows.vasp import MAX_WRITTEN
from db.candidate_lists import Placing

MAX_RELAXED = 100_000  # in jobs of at most `relax_form.MAX_IN_ONE`
MAX_BUNDLED = 2000
MAX_ON_HULL = 1000  # diamonds in a plot
PANELS = {
    "view": "View",
    "grid": "Grid",
    "compare": "Compare",
    "relax": "Relax",
    "hull": "On the hull",
    "take": "Take home",
    "vasp": "To DFT",
}


def undo_bar() -> None:
    """What was deleted last, and the way back; the URL knows which deletion."""
    text = selected("undo") or ""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0
    gone = workflow.still_deleted(number) if number else 0
    if not gone:
        return

    def undo() -> None:
        with sentences():
            back = workflow.restore(number)
            st.query_params.pop("undo", None)
            st.toast(f"{counted(back, 'candidate')} back.", icon=":material/undo:")

    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(f":material/delete: Deleted {gone:,}.", width="content")
        st.button("Undo", icon=":material/undo:", key="undo", on_click=undo, **permitted())
        st.caption("They lie in the bin until it is emptied.", width="content")


def action_bar(scope: Scope, total: int) -> None:
    """What takes no form: on those that are selected at a click, on all that pass only once that is confirmed."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if not scope.ids:
            with st.popover(f"All {total:,} that pass …", icon=":material/select_all:"):
                _for_all(scope, total)
            st.caption("A click on a header orders all, on a cell opens one, on a box selects.", width="content")
            return
        count = len(scope.ids)
        st.markdown(f"**{count} selected**", width="content")
        st.button("Clear", key="clear", type="tertiary", on_click=put_picked, args=([],), help="Select none")
        st.button("Star", icon=":material/star:", key="star", on_click=_star, args=(scope, True), **permitted())
        st.button(
            "Unstar", icon=":material/star_border:", key="unstar", on_click=_star, args=(scope, False), **permitted()
        )
        with st.popover("Note", icon=":material/edit_note:"):
            _note_form(scope, count)
        st.button("Delete", icon=":material/delete:", key="delete", on_click=_delete, args=(scope,), **permitted())


def _for_all(scope: Scope, count: int) -> None:
    """One of the actions on all that pass: chosen first, then confirmed."""
    what = st.radio(
        "With all that pass the filter", ["Star", "Unstar", "Note", "Delete"], key="for-all", horizontal=True
    )
    if what == "Note":
        _note_form(scope, count)
        return
    if what == "Delete":
        st.caption("They go into the bin. Undo brings them back.")
        st.button(f"Delete {count:,}", key="delete-all", type="primary", on_click=_delete, args=(scope,), **permitted())
    else:
        st.button(
            f"{what} {count:,}", key="star-all", type="primary", on_click=_star, args=(scope, what == "Star"),
            **permitted(),
        )  # fmt: skip


def _note_form(scope: Scope, count: int) -> None:
    """A note goes under those that are there, unless it is said that it takes their place."""
    key = f"note-all-{hash(scope)}"

    def keep() -> None:
        replaces = bool(st.session_state[f"{key}-replace"])
        try:
            kept = workflow.put_note(scope, st.session_state[key], add=not replaces)
        except UserError as error:
            st.toast(str(error), icon=":material/error:")
        else:
            st.toast(f"Noted on {counted(kept, 'candidate')}.", icon=":material/check:")
            st.session_state[key] = ""

    st.text_area(f"Note on {counted(count, 'candidate')}", key=key, max_chars=MAX_NOTE, placeholder="plain text")
    replaces = st.checkbox(
        "In the place of the notes they have", key=f"{key}-replace", help="An empty one takes them away."
    )
    if not replaces:
        st.caption("It is added under the notes they have.")
    words = f"Replace the notes of {count:,}" if replaces else f"Add the note to {count:,}"
    st.button(words, key="keep-note", type="primary", on_click=keep, **permitted())


def _star(scope: Scope, starred: bool) -> None:
    changed = workflow.star(scope, starred)
    words = "starred" if starred else "without a star now"
    st.toast(f"{counted(changed, 'candidate')} {words}.", icon=":material/star:")


def _delete(scope: Scope) -> None:
    try:
        _, number = workflow.delete(scope)
    except UserError as error:
        st.toast(said(str(error)), icon=":material/error:", duration="long")
        return
    st.query_params["undo"] = str(number)
    put_picked([])
    st.query_params.pop("candidate", None)


def panel_asked() -> str:
    """Which panel is open: one about VASP where the URL's job is one."""
    return segments("What to do with them", PANELS if not is_watched() else {"vasp": PANELS["vasp"], **PANELS}, "do")


def show_panel(panel: str, scope: Scope, listed: Sequence[Row], total: int) -> None:
    """Every panel but the view of one candidate."""
    count = len(scope.ids) or total
    if panel == "grid":
        _grid(scope, listed)
    elif panel == "compare":
        show_comparison(scope.ids, scope.placing)
    elif panel == "relax":
        _bound(count, MAX_RELAXED)
        with st.container(border=True):
            relax_form(workflow.ids_of(scope, MAX_RELAXED))
    elif panel == "hull":
        _on_hull(scope)
    elif panel == "take":
        _take_home(scope, count)
    elif panel == "vasp":
        _bound(count, MAX_WRITTEN)
        vasp_panel(workflow.ids_of(scope, MAX_WRITTEN), scope.placing.method if scope.placing else "")
        if (job_id := selected_int("job")) is not None:
            vasp_report(job_id)


def _bound(count: int, most: int) -> None:
    if count > most:
        st.caption(f":material/info: {count:,} are too many at once: the first {most:,} in this order are taken.")


def _grid(scope: Scope, listed: Sequence[Row]) -> None:
    rows = workflow.get_rows(scope.ids[:GRID], scope.placing) if scope.ids else list(listed[:GRID])
    if len(scope.ids) > GRID:
        st.caption(f"The first {GRID} of the {len(scope.ids)} that are selected.")
    elif not scope.ids:
        st.caption(f"The first {len(rows)} of this page: select rows for others.")
    draw_grid(rows)


def _take_home(scope: Scope, count: int) -> None:
    _bound(count, MAX_BUNDLED)
    ids = workflow.ids_of(scope, MAX_BUNDLED)
    hull = selected_int("hull")
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True):
        st.markdown("**The bundle**")
        st.caption("A zip of CIFs (as generated and relaxed), candidates.csv, candidates.extxyz and manifest.json.")
        download(
            f"Download {len(ids)}",
            lambda: bundle_zip(ids, get_hull_by_id(hull) if hull is not None else None),
            "candidates.zip",
            "application/zip",
            disabled=not ids,
        )
    with right, st.container(border=True):
        st.markdown("**The structures alone**")
        kind = segments("Format", {k: f.label for k, f in FORMATS.items()}, "format")
        many = len(ids) > 1
        form = FORMATS[kind]
        zipped = many and kind != "extxyz"
        download(
            f"{form.label} of {len(ids)}",
            lambda: workflow.files_of(scope, kind, MAX_BUNDLED)[0],
            f"candidates-{kind}.zip" if zipped else f"candidates{form.ending}",
            "application/zip" if zipped else form.mime,
            ("candidate", f"{words_of(ids)}, {form.label}"),
            disabled=not ids,
        )
        st.caption("As relaxed, where they were.")


def _on_hull(scope: Scope) -> None:
    """The plot of one hull with those of the scope that stand on it; the choice where they stand on several."""
    placing = scope.placing
    hulls = {h.id: h for h in list_hulls() if placing and h.id in dict(placing.hulls).values()}
    if placing is None or not hulls:
        method = plain(placing.method) if placing else "this method"
        st.info(f"No hull by {method} holds these elements: build or import one.", icon=":material/change_history:")
        return
    if scope.ids:
        systems = {r.candidate.chemical_system for r in workflow.get_rows(scope.ids, None)}
    else:
        systems = {scope.wanted.chemical_system} if scope.wanted.chemical_system else set()
    mine = [h for s, h in placing.hulls if s in systems] or list(hulls)
    order = list(dict.fromkeys([*mine, *hulls]))
    current = selected_int("on") if selected_int("on") in hulls else order[0]
    if len(order) > 1:
        key = f"on-{current}"
        st.selectbox(
            "Hull", order, index=order.index(current or order[0]), key=key,
            format_func=lambda i: f"{hulls[i].chemical_system} by {hulls[i].method} ({hulls[i].name})",
            on_change=lambda: st.query_params.update({"on": str(st.session_state[key])}),
        )  # fmt: skip
    with sentences():
        _plot(scope, get_hull_by_id(current or order[0]))


def _plot(scope: Scope, view: HullView) -> None:
    assert scope.placing is not None
    systems = tuple((s, h) for s, h in scope.placing.hulls if h == view.row.id)
    there = replace(scope, placing=Placing(view.row.method, systems), order="above", descending=False)
    if not scope.ids:  # all that have a place on this hull
        limit = scope.wanted.above if scope.wanted.above is not None else 1e6
        there = replace(there, wanted=replace(scope.wanted, above=limit))
    placed = place_candidates(workflow.ids_of(there, MAX_ON_HULL), view)
    shown = [p for p in placed if p.place]
    if (hit := show_hull(view, shown)) and hit != selected("candidate"):
        go(candidate=hit, do="view")
    if len(placed) == MAX_ON_HULL:
        st.caption(f"The {MAX_ON_HULL:,} lowest are drawn.")
    for problem, number in Counter(p.problem for p in placed if p.problem).items():
        st.caption(f"Not placed: {number} {plain(problem)}.")
    if not placed:
        st.caption(f"None of them is relaxed with {plain(view.row.method)}: relax them to place them.")


def scope_of(everything: Scope) -> Scope:
    """The candidates that are selected and pass the filter, else all that pass."""
    return replace(everything, ids=tuple(workflow.passing(picked_asked(), everything.wanted, everything.placing)))
