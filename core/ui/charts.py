"""Charts as pure functions from data to an Altair chart; tested without a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

ACCENT = "#2f6f8f"
MUTED = "#9aa3a8"
WARM = "#c8793a"


def hull_ternary(
    elements_: Sequence[str],
    phases: Sequence[Mapping[str, Any]],
    edges: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    candidates: Sequence[Mapping[str, Any]] = (),
) -> Any:
    """A ternary hull as a triangle, elements at the corners.

    phases and candidates: mappings with fractions {element: share}, formula, label, formation and above_hull in
    eV/atom. Squares are phases on the hull, dots others; diamonds are candidates, coloured by energy above hull.
    """
    lines = [(*_xy(a, elements_), *_xy(b, elements_)) for a, b in edges]
    segments = pd.DataFrame(lines, columns=["x", "y", "x2", "y2"])
    hidden: dict[str, Any] = {"axis": None, "scale": alt.Scale(domain=[-0.08, 1.08])}
    base_x = alt.X("x:Q", **hidden)
    base_y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.08, 0.973]))
    layers: list[alt.Chart] = [
        alt.Chart(segments).mark_rule(color=MUTED, opacity=0.6).encode(x=base_x, y=base_y, x2="x2:Q", y2="y2:Q"),
        *_phase_layers(_points(phases, elements_), base_x, base_y),
    ]
    if candidates:
        layers.append(_candidate_layer(_points(candidates, elements_), base_x, base_y))
    return alt.layer(*layers).properties(width=640, height=580).configure_view(stroke=None)


def hull_binary(
    elements_: Sequence[str], phases: Sequence[Mapping[str, Any]], candidates: Sequence[Mapping[str, Any]] = ()
) -> Any:
    """A binary hull as a curve: share of the second element against formation energy (eV/atom)."""
    first, second = elements_
    x = alt.X("x:Q", title=f"share of {second} in {first}-{second}", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("formation:Q", title="formation energy (eV/atom)")
    data = _points(phases, elements_).assign(x=[p["fractions"].get(second, 0.0) for p in phases])
    stable = data[data["stable"]].sort_values("x")
    curve = alt.Chart(stable).mark_line(color=MUTED).encode(x=x, y=y)
    layers: list[alt.Chart] = [curve, *_phase_layers(data, x, y)]
    if candidates:
        points = _points(candidates, elements_).assign(x=[c["fractions"].get(second, 0.0) for c in candidates])
        layers.append(_candidate_layer(points, x, y))
    return alt.layer(*layers).properties(height=420)


def _phase_layers(data: pd.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    tooltip = _tooltip()
    others, stable = data[~data["stable"]], data[data["stable"]]
    return [
        alt.Chart(others).mark_circle(color=MUTED, size=28, opacity=0.55).encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(stable).mark_square(color=ACCENT, size=85, opacity=1).encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(stable)
        .mark_text(dy=-13, fontSize=12, fontWeight=600, color=ACCENT)
        .encode(x=x, y=y, text="formula:N", tooltip=tooltip),
    ]


def _candidate_layer(data: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """Candidates, the lowest of each composition on top."""
    data = data.sort_values("above_hull", ascending=False)
    high = float(max(0.05, min(0.5, data["above_hull"].max())))
    colour = alt.Color(
        "above_hull:Q",
        title="candidates: eV/atom above hull",
        scale=alt.Scale(
            domain=[min(0.0, float(data["above_hull"].min())), high], range=["#2e8b57", "#e0a030", "#b5535c"]
        ),
        legend=alt.Legend(orient="bottom", gradientLength=260, titleLimit=300),
    )
    return (
        alt.Chart(data)
        .mark_point(shape="diamond", filled=True, size=170, opacity=1, stroke="#22282c", strokeWidth=1)
        .encode(x=x, y=y, color=colour, tooltip=_tooltip())
    )


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("formula:N"),
        alt.Tooltip("label:N", title="what"),
        alt.Tooltip("formation:Q", title="formation (eV/atom)", format=".4f"),
        alt.Tooltip("above_hull:Q", title="above hull (eV/atom)", format=".4f"),
    ]


def _points(items: Sequence[Mapping[str, Any]], elements_: Sequence[str]) -> pd.DataFrame:
    rows = [(*_xy(i["fractions"], elements_), i["formula"], i["label"], i["formation"], i["above_hull"]) for i in items]
    data = pd.DataFrame(rows, columns=["x", "y", "formula", "label", "formation", "above_hull"])
    return data.assign(stable=data["above_hull"] <= 1e-9)


def _xy(fractions: Mapping[str, float], elements_: Sequence[str]) -> tuple[float, float]:
    """Barycentric coordinates: the second element at the right corner, the third on top."""
    second = fractions.get(elements_[1], 0.0)
    third = fractions.get(elements_[2], 0.0) if len(elements_) > 2 else 0.0
    return second + third / 2, third * 3**0.5 / 2
