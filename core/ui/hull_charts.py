"""Charts of hulls as pure functions from data to a chart: a curve, a triangle; `hull_surface` has the third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import pandas as pd

from core.ui.charts import ACCENT, MUTED

COLUMNS = ["x", "y", "formula", "label", "formation", "above_hull", "key"]
BELOW, NEAR_HULL, FAR = "#2e8b57", "#e0a030", "#b5535c"  # candidates by energy above hull
EDGE = "#22282c"
_NAMES = "#3d86ab"  # is read on light and dark ground

Point = Mapping[str, Any]
Fractions = Mapping[str, float]


@dataclass(frozen=True)
class HullPicture:
    """What a chart of a hull is drawn from.

    phases, candidates: mappings with fractions {element: share}, formula, label, key, formation and above_hull in
    eV/atom; facets: corners of the hull's simplices as fractions; margin: the potential's own error in eV/atom, None
    where it is unknown
    """

    elements: Sequence[str]
    phases: Sequence[Point]
    facets: Sequence[Sequence[Fractions]]
    candidates: Sequence[Point] = field(default=())
    margin: float | None = None


def binary(picture: HullPicture) -> Any:
    """Share of the second element against formation energy, the hull as a curve with its margin; a click picks."""
    first, second = picture.elements
    x = alt.X("x:Q", title=f"share of {second} in {first}-{second}", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("formation:Q", title="formation energy (eV/atom)")
    phases, candidates = (points_of(items, picture.elements) for items in (picture.phases, picture.candidates))
    stable = phases[phases["stable"]].sort_values("x")
    layers: list[Any] = []
    if picture.margin:
        band = stable.assign(low=stable["formation"] - picture.margin, high=stable["formation"] + picture.margin)
        low, high = alt.Y("low:Q", title="formation energy (eV/atom)"), alt.Y2("high:Q")
        layers.append(alt.Chart(band).mark_area(color=ACCENT, opacity=0.12).encode(x=x, y=low, y2=high))
    layers.append(alt.Chart(stable).mark_line(color=MUTED).encode(x=x, y=y))
    layers += [*_phase_layers(phases, x, y), *_candidate_layers(candidates, x, y, picture.margin)]
    layers.append(_clickable([phases, candidates], x, y))
    return alt.layer(*layers).properties(height=460)


def ternary(picture: HullPicture) -> Any:
    """A triangle with the elements at its corners (barycentric), the hull's facets as lines; a click picks."""
    edges = {
        tuple(sorted((xy_of(a, picture.elements), xy_of(b, picture.elements))))
        for corners in picture.facets
        for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
    }
    segments = pd.DataFrame([(*a, *b) for a, b in sorted(edges)], columns=["x", "y", "x2", "y2"])
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.08, 0.973]))
    phases, candidates = (points_of(items, picture.elements) for items in (picture.phases, picture.candidates))
    layers: list[Any] = [
        alt.Chart(segments).mark_rule(color=MUTED, opacity=0.6).encode(x=x, y=y, x2="x2:Q", y2="y2:Q"),
        *_phase_layers(phases, x, y),
        *_candidate_layers(candidates, x, y, picture.margin),
        _clickable([phases, candidates], x, y),
    ]
    return alt.layer(*layers).properties(width=640, height=580).configure_view(stroke=None)


def image(picture: HullPicture, kind: str) -> bytes:
    """The curve or the triangle as "png" (at twice the size) or "svg", by vl-convert, without a browser."""
    import vl_convert

    chart = binary(picture) if len(picture.elements) == 2 else ternary(picture)
    drawn = chart.properties(width=640, background="white")
    if kind == "svg":
        return str(vl_convert.vegalite_to_svg(drawn.to_dict())).encode()
    made: bytes = vl_convert.vegalite_to_png(drawn.to_dict(), scale=2)
    return made


def _phase_layers(data: pd.DataFrame, x: alt.X, y: alt.Y) -> list[Any]:
    others, stable = data[~data["stable"]], data[data["stable"]]
    return [
        alt.Chart(others).mark_circle(color=MUTED, size=28, opacity=0.55).encode(x=x, y=y),
        alt.Chart(stable).mark_square(color=ACCENT, size=85, opacity=1).encode(x=x, y=y),
        alt.Chart(stable)
        .mark_text(dy=-13, fontSize=12, fontWeight=600, color=_NAMES)
        .encode(x=x, y=y, text="formula:N"),
    ]


def _candidate_layers(data: pd.DataFrame, x: alt.X, y: alt.Y, margin: float | None) -> list[Any]:
    """Diamonds coloured by energy above hull, the lowest of each composition on top; hollow within the margin."""
    if not len(data):
        return []
    data = data.sort_values("above_hull", ascending=False)
    colour = alt.Color(
        "above_hull:Q",
        title="candidates: eV/atom above hull",
        scale=alt.Scale(domain=list(colour_range(data)), range=[BELOW, NEAR_HULL, FAR]),
        legend=alt.Legend(orient="bottom", gradientLength=260, titleLimit=300),
    )
    sure = data["above_hull"].abs() >= (margin or 0.0)
    shape = alt.Chart(data[sure]).mark_point(shape="diamond", filled=True, size=170, opacity=1, strokeWidth=1)
    hollow = alt.Chart(data[~sure]).mark_point(shape="diamond", filled=False, size=170, opacity=1, strokeWidth=2.5)
    return [
        shape.encode(x=x, y=y, color=colour, stroke=alt.value(EDGE)),
        *([hollow.encode(x=x, y=y, color=colour)] if margin else []),
    ]


def _clickable(parts: Sequence[pd.DataFrame], x: alt.X, y: alt.Y) -> Any:
    """Every point once more, unseen and larger: easy to hit, with its numbers; what is hit comes as `pick`.

    Of points on one spot the later part is hit, and the lowest in it.
    """
    pick = alt.selection_point(name="pick", fields=["key"], on="click")
    data = pd.concat([part.sort_values("above_hull", ascending=False) for part in parts])
    return alt.Chart(data).mark_circle(size=220, opacity=0).encode(x=x, y=y, tooltip=_tooltip()).add_params(pick)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("formula:N"),
        alt.Tooltip("label:N", title="what"),
        alt.Tooltip("formation:Q", title="formation (eV/atom)", format=".4f"),
        alt.Tooltip("above_hull:Q", title="above hull (eV/atom)", format=".4f"),
    ]


def colour_range(data: pd.DataFrame) -> tuple[float, float]:
    """eV/atom above the hull that the ends of the candidates' colours stand for."""
    high = float(max(0.05, min(0.5, data["above_hull"].max())))
    return min(0.0, float(data["above_hull"].min())), high


def points_of(items: Sequence[Point], elements: Sequence[str]) -> pd.DataFrame:
    """A row for each: `COLUMNS`, and whether it is on the hull."""
    place = xy_of if len(elements) > 2 else _share
    rows = [
        (*place(i["fractions"], elements), i["formula"], i["label"], i["formation"], i["above_hull"], i["key"])
        for i in items
    ]
    data = pd.DataFrame(rows, columns=COLUMNS)
    return data.assign(stable=data["above_hull"] <= 1e-9)


def _share(fractions: Fractions, elements: Sequence[str]) -> tuple[float, float]:
    return fractions.get(elements[1], 0.0), 0.0


def xy_of(fractions: Fractions, elements: Sequence[str]) -> tuple[float, float]:
    """Barycentric coordinates: the second element at the right corner, the third on top."""
    second, third = fractions.get(elements[1], 0.0), fractions.get(elements[2], 0.0)
    return second + third / 2, third * 3**0.5 / 2
