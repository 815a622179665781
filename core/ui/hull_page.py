"""The page of a hull: the list, what is known of the one that is shown, its parts, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import streamlit as st

from core.data.rows import finite
from core.ui import hull_charts as charts
from core.ui.downloads import download
from core.ui.hull_view import (
    NEAR,
    phases_table,
    picked_candidate,
    picture_of,
    show_lowest,
    show_phase,
    show_plot,
)
from core.ui.widgets import counted, energy, go, pick_row, plain, segments, selected, selected_int
from core.workflows.hulls import HullView, PlacedCandidate, candidates_on
from core.workflows.hulls_export import hull_csv, hull_json
from core.workflows.store import store
from db import candidates as rows
from db.tables import Hull

_NONE = 0  # in the URL in the place of a run: no candidates are drawn
_IMAGES = {"png": "image/png", "svg": "image/svg+xml"}


def hulls_table(hulls: Sequence[Hull], shown: int) -> None:
    """Every hull; a click opens one."""
    frame = pd.DataFrame([_row(h) for h in hulls])
    at = next((i for i, h in enumerate(hulls) if h.id == shown), None)
    chosen = pick_row(frame, f"hulls-{len(hulls)}-{shown}", shown=at, most=250, alt="Hulls; select one")
    if chosen is not None:
        go("*", hull=hulls[chosen].id)


def _row(hull: Hull) -> dict[str, object]:
    notes = hull.notes
    return {
        "system": hull.chemical_system,
        "energies": hull.method,
        "name": hull.name,
        "entries": int(notes.get("entries", 0)) - sum(notes.get("left_out", {}).values()) or None,
        "warnings": len(notes.get("warnings", [])) or None,
        "date": str(notes.get("date") or f"{hull.created_at:%Y-%m-%d}"),
        "source": hull.source,
    }


def show_about(view: HullView) -> None:
    """What it is made of, where it is from, and why it should not be trusted blindly."""
    st.subheader(f"{view.row.chemical_system} · {plain(view.row.method)}")
    stable = view.hull.stable()
    lowest = min((e.formation for e in view.entries if not e.flag), default=None)
    columns = st.columns(5)
    columns[0].metric("entries", f"{len(view.entries):,}")
    columns[1].metric("on the hull", f"{len(stable):,}", help="the elements too")
    columns[2].metric("lowest phase", energy(lowest))
    columns[3].metric("date" if view.row.notes.get("date") else "brought in", plain(view.date))
    about = view.error.sentence if view.error else "It was not measured for this method."
    columns[4].metric("method's error", f"{1000 * view.error.mae:.0f} meV/atom" if view.error else "–", help=about)
    compounds = [p.formula for p in stable if len(p.composition) > 1]
    named = ", ".join(compounds[:30]) + (f" and {len(compounds) - 30} more" if len(compounds) > 30 else "")
    lines = [f"On the hull: {plain(named) or 'the elements alone'}.", f"Source: {plain(view.row.source) or '–'}."]
    if view.made_from:
        name, method = (plain(str(view.made_from.get(key))) for key in ("name", "method"))
        lines.append(f"Its phases are those of {name} by {method}, evaluated again with {plain(view.row.method)}.")
    known = [str(view.row.notes.get(key) or "") for key in ("terms", "citation")]
    if any(known):
        lines.append(f"{plain(known[0])} Cite {plain(known[1])}" if known[1] else plain(known[0]))
    st.caption(" ".join([*lines, plain(view.about)]))
    few = len(view.warnings) < 3
    if view.warnings:
        with st.expander(counted(len(view.warnings), "warning"), icon=":material/warning:", expanded=few):
            for warning in view.warnings:
                st.markdown(f"- {plain(warning)}")


def show_parts(view: HullView) -> None:
    """Plot, surface or table, whichever the URL says, and what was picked in it."""
    size = len(view.hull.elements)
    views = {"plot": "Plot", "surface": "Surface", "phases": "Phases"}
    views = {k: v for k, v in views.items() if k == "phases" or (k == "plot" and size in (2, 3)) or size == 3}
    shown = segments("Show", views, "show", of=view.row.id)
    candidates = [] if shown == "phases" else _candidates(view)
    if shown == "phases":
        phases_table(view)
    else:
        near, every = _filters(view)
        picture = picture_of(view, candidates, near, every)
        if shown == "plot":
            version = f"{selected_int('phase')}-{selected_int('candidate')}-{near}-{every}"
            _open(show_plot(picture, f"hull-{view.row.id}-{version}-{len(candidates)}"))
        else:
            from core.ui.hull_surface import surface  # Plotly takes a second that only this view needs

            st.plotly_chart(
                surface(picture), key=f"surface-{view.row.id}", alt="The hull as a surface over its triangle"
            )
            st.caption("Drag to turn, scroll to come nearer. Clicks are for the plot: a surface cannot be clicked.")
        show_lowest(view, candidates)
        st.caption(_legend(picture))
    entry = next((e for e in view.entries if e.id == selected_int("phase")), None)
    placed = next((c for c in candidates if c.candidate.id == selected_int("candidate")), None)
    if entry is not None:
        show_phase(view, entry)
    elif placed is not None:
        picked_candidate(placed)
    elif shown == "plot":
        st.caption("Click a point to see what it is.")


def _open(key: str | None) -> None:
    """What was clicked goes into the URL."""
    kind, _, name = (key or "").partition(":")
    if kind in ("phase", "candidate") and name.isdecimal():
        go("phase", "candidate", **{kind: name})


def _filters(view: HullView) -> tuple[float, bool]:
    left, right, _ = st.columns([3, 3, 4], vertical_alignment="bottom")
    highest = max([NEAR, *(e.above_hull for e in view.entries)])
    steps = sorted({0.0, 0.025, 0.05, 0.1, NEAR, 0.3, 0.5, 1.0, round(highest + 0.005, 2)})
    steps = [s for s in steps if s <= highest + 0.01]
    wanted = finite(selected("near"))
    usual = NEAR if NEAR in steps else steps[-1]
    current = usual if wanted is None else min(steps, key=lambda s: abs(s - wanted))
    near = left.select_slider(
        "Phases up to so far above the hull (eV/atom)",
        steps,
        value=current,
        key=f"near-{view.row.id}-{current}",  # other hulls have other steps
    )
    all_of_them = selected("every") == "1"
    every = right.toggle(
        "Every polymorph", all_of_them, key=f"every-{all_of_them}", help="Off: of each composition the lowest."
    )
    if near != current:
        go(near=f"{near:g}")
    if every != all_of_them:
        go(*([] if every else ["every"]), **({"every": 1} if every else {}))
    return float(current), all_of_them


def _candidates(view: HullView) -> list[PlacedCandidate]:
    """Candidates that stand on the hull, of the runs that the URL names; a choice where there are any."""
    with store().session() as session:
        known = rows.runs(session)
    names = {None: "all runs", _NONE: "none"} | {job: f"run {job}: {model}" for job, model, _ in known}
    wanted = selected_int("run")
    current = wanted if wanted in names else None
    placed = _chosen(view, current)
    if not placed and current is None:
        return []
    left, _ = st.columns([3, 7])
    chosen = left.selectbox(
        "Candidates over it", list(names), index=list(names).index(current), format_func=names.__getitem__,
        key=f"over-{current}", help=f"Those relaxed by {plain(view.row.method)}: energies of two methods never meet.",
    )  # fmt: skip
    if chosen != current:
        go("run", "candidate", **({} if chosen is None else {"run": chosen}))
    return placed


def _chosen(view: HullView, run: int | None) -> list[PlacedCandidate]:
    return [] if run == _NONE else candidates_on(view, run)


def _legend(picture: charts.HullPicture) -> str:
    text = "Squares: on the hull. Dots: other phases."
    if picture.candidates:
        text += " Diamonds: candidates"
        text += ", hollow where they stand within the method's own error." if picture.margin else "."
    if picture.margin and len(picture.elements) == 2:
        text += f" The band is the method's own error, {1000 * picture.margin:.0f} meV/atom."
    return text


def export_row(view: HullView) -> None:
    """The picture and the numbers as files."""
    system = view.row.chemical_system
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Take home**")
        files: list[tuple[str, Callable[[], str | bytes], str]] = [
            ("csv", partial(hull_csv, view), "text/csv"),
            ("json", partial(hull_json, view), "application/json"),
        ]
        if len(view.hull.elements) in (2, 3):
            files = [
                (kind, partial(_image, view, selected_int("run"), kind), mime) for kind, mime in _IMAGES.items()
            ] + files
        for suffix, make, mime in files:
            tells = ("hull", f"{view.row.name}, {suffix.upper()}")
            download(suffix.upper(), make, f"{system}.{suffix}", mime, tells, key=f"hull-{suffix}")


def _image(view: HullView, run: int | None, kind: str) -> bytes:
    """As the page draws it without filters; made when it is asked for, outside of the page's run."""
    return charts.image(picture_of(view, _chosen(view, run)), kind)
