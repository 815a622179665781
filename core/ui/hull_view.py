"""A hull on a page: the plot with candidates over it, and what the plot holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import streamlit as st

from core.data.formulas import parse_formula
from core.ui import charts
from core.workflows.hulls import HullView, PlacedCandidate

NEAR = 0.15  # eV/atom above the hull: phases higher than that are not drawn


def show_hull(view: HullView, candidates: Sequence[PlacedCandidate] = ()) -> None:
    """The plot of a binary or ternary hull, and in words what it contains."""
    st.subheader(f"Hull of {view.row.chemical_system} · {view.row.method}")
    elements = view.hull.elements
    phases, drawn = _phases(view), [_candidate(c) for c in candidates if c.place]
    if len(elements) == 2:
        st.altair_chart(charts.hull_binary(elements, phases, drawn), width="stretch")
    elif len(elements) == 3:
        left, _ = st.columns([4, 1])
        left.altair_chart(charts.hull_ternary(elements, phases, _edges(view), drawn), width="content")
    else:
        st.caption("Plots are drawn for two and three elements; the table has every phase.")
    legend = "Squares: on the hull. Dots: other phases"
    if drawn:
        lowest = min(drawn, key=lambda c: c["above_hull"])
        where = "below" if lowest["above_hull"] < 0 else "above"
        gap = abs(lowest["above_hull"])
        st.markdown(f"Lowest: **{lowest['formula']}** ({lowest['label']}), {gap:.3f} eV/atom {where} this hull.")
    legend += f", up to {NEAR} eV/atom above it." + (" Diamonds: candidates." if drawn else "")
    st.caption(f"{legend} {view.about}")


def _phases(view: HullView) -> list[dict[str, Any]]:
    elements = [
        {"fractions": {e: 1.0}, "formula": e, "label": "element", "formation": 0.0, "above_hull": 0.0}
        for e in view.hull.elements
    ]
    others = [
        {
            "fractions": fractions(entry.composition),
            "formula": entry.formula,
            "label": entry.label,
            "formation": entry.formation,
            "above_hull": entry.above_hull,
        }
        for entry in view.entries
        if entry.above_hull <= NEAR and len(entry.composition) > 1
    ]
    lowest: dict[str, dict[str, Any]] = {}
    for phase in others:  # lowest first; a higher one of the same composition would hide it
        lowest.setdefault(str(phase["formula"]), phase)
    return elements + list(lowest.values())


def _candidate(placed: PlacedCandidate) -> dict[str, Any]:
    candidate, relaxation, place = placed.candidate, placed.relaxation, placed.place
    return {
        "fractions": fractions(parse_formula(candidate.formula)),
        "formula": candidate.reduced_formula,
        "label": f"candidate {candidate.job_id}-{candidate.index}",
        "formation": relaxation.formation_after if relaxation else None,
        "above_hull": place.above if place else None,
    }


def _edges(view: HullView) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    edges = {}
    for facet in view.hull.facets():
        corners = [*facet, facet[0]]
        for (first, a), (second, b) in pairwise(corners):
            edges[tuple(sorted((first, second)))] = (a, b)
    return list(edges.values())


def fractions(composition: Mapping[str, float]) -> dict[str, float]:
    """Atomic fractions of a composition."""
    total = sum(float(n) for n in composition.values())
    return {e: float(n) / total for e, n in composition.items()}
