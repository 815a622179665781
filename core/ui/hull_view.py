"""A hull on a page: the plot with candidates over it, a phase that was picked, the table, what to take home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from core.crystals import unpack_cells
from core.data.formulas import parse_formula
from core.ui import hull_charts as charts
from core.ui.crystal_view import show_structure
from core.ui.widgets import energy, go, page, pages, pick_row, picked, plain, selected, selected_int
from core.workflows.hulls import HullView, PlacedCandidate
from db.tables import HullEntry

NEAR = 0.15  # eV/atom above the hull: phases higher than that are not drawn unless asked for
PAGE = 50


def show_hull(view: HullView, candidates: Sequence[PlacedCandidate] = ()) -> str | None:
    """The plot of a hull of two or three elements with candidates over it, and in words what it contains.

    Returns the id of the candidate that was clicked now.
    """
    st.subheader(f"Hull of {view.row.chemical_system} · {plain(view.row.method)}")
    hit = show_plot(picture_of(view, candidates, NEAR), f"hull-{view.row.id}-{selected('candidate')}")
    show_lowest(view, candidates)
    legend = f"Squares: on the hull. Dots: other phases, the lowest of each composition, up to {NEAR} eV/atom above it."
    st.caption(legend + (" Diamonds: candidates; click one to see it." if candidates else "") + f" {plain(view.about)}")
    if view.error:
        st.caption(f"{view.error.sentence} Diamonds are hollow where that leaves it open.")
    kind, _, name = (hit or "").partition(":")
    return name if kind == "candidate" else None


def show_plot(picture: charts.HullPicture, key: str) -> str | None:
    """Draw it; returns the key of the point that was clicked now ("phase:12", "candidate:3", "element:B")."""
    if len(picture.elements) not in (2, 3):
        st.caption("Plots are drawn for two and three elements; the table has every phase.")
        return None
    chart = charts.binary(picture) if len(picture.elements) == 2 else charts.ternary(picture)
    width: Literal["stretch", "content"] = "stretch" if len(picture.elements) == 2 else "content"
    hit = picked(st.altair_chart(chart, width=width, on_select="rerun", key=key, alt=_said(picture)))
    return str(hit["key"]) if "key" in hit else None


def _said(picture: charts.HullPicture) -> str:
    """What a plot shows, for those who do not see it."""
    stable = sorted({str(p["formula"]) for p in picture.phases if p["above_hull"] <= 1e-9})
    known = f"; on it: {', '.join(stable[:20])}" if stable else ""
    more = f"; {len(picture.candidates)} candidates over it" if picture.candidates else ""
    return f"Convex hull of {'-'.join(picture.elements)}, formation energy in eV/atom{known}{more}; Phases lists all"


def show_lowest(view: HullView, candidates: Sequence[PlacedCandidate]) -> None:
    """The lowest candidate in words, and whether the method's own error leaves that any meaning."""
    placed = [c for c in candidates if c.place]
    if not placed:
        return
    lowest = min(placed, key=lambda c: c.place.above if c.place else 0.0)
    above = lowest.place.above if lowest.place else 0.0
    where = "below" if above < 0 else "above"
    name, formula = f"{lowest.candidate.job_id}-{lowest.candidate.index}", lowest.candidate.reduced_formula
    st.markdown(f"Lowest: **{formula}** (candidate {name}), {abs(above):.3f} eV/atom {where} this hull.")
    error = view.error
    if error is not None and abs(above) < error.mae:
        st.caption(f":material/info: That is less than the method's own error, {1000 * error.mae:.0f} meV/atom.")


def picture_of(
    view: HullView, candidates: Sequence[PlacedCandidate] = (), near: float = NEAR, every: bool = False
) -> charts.HullPicture:
    """What is drawn: phases up to `near` eV/atom above the hull, of each composition the lowest, or every one."""
    points: dict[object, dict[str, Any]] = {}
    for entry in view.entries:  # lowest above the hull first: a higher one of the same composition would hide it
        if entry.above_hull <= near and len(entry.composition) > 1 and not entry.flag:
            points.setdefault(entry.id if every else entry.formula, _phase(entry))
    return charts.HullPicture(
        view.hull.elements,
        [*(_element(e) for e in view.hull.elements), *points.values()],
        [[share for _, share in facet] for facet in view.hull.facets()],
        [_candidate(c) for c in candidates if c.place],
        view.error.mae if view.error else None,
    )


def _element(symbol: str) -> dict[str, Any]:
    values = {"fractions": {symbol: 1.0}, "formula": symbol, "label": "element", "key": f"element:{symbol}"}
    return values | {"formation": 0.0, "above_hull": 0.0}


def _phase(entry: HullEntry) -> dict[str, Any]:
    return {
        "fractions": fractions(entry.composition),
        "formula": entry.formula,
        "label": entry.label,
        "formation": entry.formation,
        "above_hull": entry.above_hull,
        "key": f"phase:{entry.id}",
    }


def _candidate(placed: PlacedCandidate) -> dict[str, Any]:
    candidate, relaxation, place = placed.candidate, placed.relaxation, placed.place
    return {
        "fractions": fractions(parse_formula(candidate.formula)),
        "formula": candidate.reduced_formula,
        "label": f"candidate {candidate.job_id}-{candidate.index}",
        "formation": relaxation.formation_after if relaxation else None,
        "above_hull": place.above if place else None,
        "key": f"candidate:{candidate.id}",
    }


def fractions(composition: Mapping[str, float]) -> dict[str, float]:
    """Atomic fractions of a composition."""
    total = sum(float(n) for n in composition.values())
    return {e: float(n) / total for e, n in composition.items()}


def phases_table(view: HullView) -> None:
    """Every phase, page by page, with filters; a click opens one."""
    left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
    text = left.text_input("Formula or name contains", key=f"text-{view.row.id}", placeholder="TaB2")
    held = middle.multiselect("Holds", view.hull.elements, key=f"holds-{view.row.id}", placeholder="any elements")
    stable = right.toggle("On the hull only", key=f"stable-{view.row.id}")
    wanted = text.strip().lower()
    found = [
        e
        for e in view.entries
        if (not wanted or wanted in e.formula.lower() or wanted in e.label.lower())
        and set(held) <= set(e.composition)
        and (not stable or view.is_stable(e))
    ]
    if not found:
        st.info("No phase fits: take a filter away.", icon=":material/filter_alt:")
        return
    offset = pages(len(found), PAGE, "rows")
    listed = found[offset : offset + PAGE]
    columns = ["formula", "formation (eV/atom)", "above hull (eV/atom)", "space group", "phase", "source"]
    frame = pd.DataFrame(
        [(e.formula, e.formation, e.above_hull, e.space_group or None, e.label, e.source) for e in listed],
        columns=columns,
    )
    frame.insert(4, "structure", [e.cell is not None for e in listed])
    shown = selected_int("phase")
    formats = {n: st.column_config.NumberColumn(format="%.4f") for n in columns if "eV" in n}
    key = f"phases-{view.row.id}-{offset}-{wanted}-{held}-{stable}-{shown}"
    at = next((i for i, e in enumerate(listed) if e.id == shown), None)
    chosen = pick_row(frame, key, formats, at, most=420, alt="Phases of the hull; select one to see it")
    st.caption("Select a phase to see it.")
    if chosen is not None:
        go(phase=listed[chosen].id)


def show_phase(view: HullView, entry: HullEntry) -> None:
    """One phase: its numbers, what it competes with, its structure."""
    left, right = st.columns([3, 2], gap="large")
    with right:
        st.markdown(f"**{entry.formula}** :small[{plain(entry.label)}]")
        place = view.hull.place({k: float(v) for k, v in entry.composition.items()}, entry.formation)
        on_hull = view.is_stable(entry)
        facts = {
            "formation energy": energy(entry.formation, 4),
            "above the hull": "on the hull" if on_hull else energy(entry.above_hull, 4),
            "would turn into" if not on_hull else "competes with": plain(competitors(place.against)),
            "reaction": plain(place.reaction) or "–",
            "space group": str(entry.space_group or "–"),
            "source": plain(entry.source) or "–",
        }
        if on_hull:
            del facts["competes with"], facts["reaction"]
        st.table(facts, border="horizontal")
    with left:
        if entry.cell:
            show_structure(unpack_cells([entry.cell]), key="phase", name=entry.label, height=420, details="below")
        else:
            st.info("This hull holds no structure of it.", icon=":material/info:")


def competitors(against: Sequence[tuple[str, float]]) -> str:
    """ "TaB2 (67 % of the atoms), W (33 %)"."""
    shares = [f"{formula} ({100 * share:.0f} %)" for formula, share in against]
    return ", ".join([f"{shares[0][:-1]} of the atoms)", *shares[1:]]) if shares else ""


def picked_candidate(placed: PlacedCandidate) -> None:
    """A candidate that was clicked: where it stands, and the way to it."""
    place, candidate = placed.place, placed.candidate
    if place is None:
        return
    st.markdown(
        f"**{candidate.reduced_formula}** :small[candidate {candidate.job_id}-{candidate.index}] "
        f"{energy(place.above, 4)} above the hull, competing with {plain(competitors(place.against))}. "
        f"{plain(place.reaction)}"
    )
    st.page_link(
        page("candidates"), label="Its run", icon=":material/diamond:", query_params={"run": str(candidate.job_id)}
    )
