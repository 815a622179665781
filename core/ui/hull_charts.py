"""Charts of hulls as pure functions from data to a chart: a curve, a triangle, a surface to turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import pandas as pd
import plotly.graph_objects as go

from core.ui.charts import ACCENT, MUTED

COLUMNS = ["x", "y", "formula", "label", "formation", "above_hull", "key"]
BELOW, NEAR_HULL, FAR = "#2e8b57", "#e0a030", "#b5535c"  # candidates by energy above hull
_EDGE = "#22282c"
_CAMERA = {"eye": {"x": 0.9, "y": -1.1, "z": 0.45}, "center": {"x": 0, "y": 0, "z": -0.12}}

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
    phases, candidates = (_points(items, picture.elements) for items in (picture.phases, picture.candidates))
    stable = phases[phases["stable"]].sort_values("x")
    layers: list[Any] = []
    if picture.margin:
        band = stable.assign(low=stable["formation"] - picture.margin, high=stable["formation"] + picture.margin)
        low, high = alt.Y("low:Q", title="formation energy (eV/atom)"), alt.Y2("high:Q")
        layers.append(alt.Chart(band).mark_area(color=ACCENT, opacity=0.12).encode(x=x, y=low, y2=high))
    layers.append(alt.Chart(stable).mark_line(color=MUTED).encode(x=x, y=y))
    layers += [*_phase_layers(phases, x, y), *_candidate_layers(candidates, x, y, picture.margin)]
    layers.append(_clickable(pd.concat([phases, candidates]), x, y))
    return alt.layer(*layers).properties(height=460)


def ternary(picture: HullPicture) -> Any:
    """A triangle with the elements at its corners (barycentric), the hull's facets as lines; a click picks."""
    edges = {
        tuple(sorted((_xy(a, picture.elements), _xy(b, picture.elements))))
        for corners in picture.facets
        for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
    }
    segments = pd.DataFrame([(*a, *b) for a, b in sorted(edges)], columns=["x", "y", "x2", "y2"])
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.08, 0.973]))
    phases, candidates = (_points(items, picture.elements) for items in (picture.phases, picture.candidates))
    layers: list[Any] = [
        alt.Chart(segments).mark_rule(color=MUTED, opacity=0.6).encode(x=x, y=y, x2="x2:Q", y2="y2:Q"),
        *_phase_layers(phases, x, y),
        *_candidate_layers(candidates, x, y, picture.margin),
        _clickable(pd.concat([phases, candidates]), x, y),
    ]
    return alt.layer(*layers).properties(width=640, height=580).configure_view(stroke=None)


def surface(picture: HullPicture) -> go.Figure:
    """The hull of three elements as a surface of formation energies to turn."""
    phases, candidates = (_points(items, picture.elements) for items in (picture.phases, picture.candidates))
    stable, others = phases[phases["stable"]], phases[~phases["stable"]]
    at = {(round(x, 9), round(y, 9)): i for i, (x, y) in enumerate(zip(stable["x"], stable["y"], strict=True))}
    corners = [[at.get(_rounded(_xy(c, picture.elements))) for c in facet] for facet in picture.facets]
    whole = [c for c in corners if None not in c and len(c) == 3]
    figure = go.Figure()
    figure.add_trace(
        go.Mesh3d(
            x=stable["x"], y=stable["y"], z=stable["formation"], opacity=0.35, color=ACCENT, hoverinfo="skip",
            **dict(zip("ijk", map(list, zip(*whole, strict=True)), strict=True)),
        )
    )  # fmt: skip
    figure.add_trace(_edges_in_space(stable, whole))
    figure.add_trace(_dots(others, "other phases", {"size": 2.5, "color": MUTED, "opacity": 0.7}, text=False))
    figure.add_trace(_dots(stable, "on the hull", {"size": 5, "color": ACCENT, "symbol": "square"}, text=True))
    if len(candidates):
        low, high = _colour_range(candidates)
        scale = [[0.0, BELOW], [0.5, NEAR_HULL], [1.0, FAR]]
        marker = {
            "size": 6, "symbol": "diamond", "color": candidates["above_hull"], "colorscale": scale,
            "cmin": low, "cmax": high, "line": {"color": _EDGE, "width": 1},
        }  # fmt: skip
        figure.add_trace(_dots(candidates, "candidates", marker, text=False))
    hidden = {"visible": False}
    figure.update_layout(
        height=560, margin={"l": 0, "r": 0, "t": 0, "b": 0}, legend={"orientation": "h", "y": 0.02},
        scene={"xaxis": hidden, "yaxis": hidden, "zaxis": {"title": "formation energy (eV/atom)"},
               "aspectratio": {"x": 1, "y": 0.87, "z": 0.8}, "camera": _CAMERA},
    )  # fmt: skip
    return figure


def image(picture: HullPicture, kind: str) -> bytes:
    """The curve or the triangle as "png" (at twice the size) or "svg", by vl-convert, without a browser."""
    import vl_convert

    chart = binary(picture) if len(picture.elements) == 2 else ternary(picture)
    drawn = chart.properties(width=640, background="white")
    if kind == "svg":
        return str(vl_convert.vegalite_to_svg(drawn.to_dict())).encode()
    made: bytes = vl_convert.vegalite_to_png(drawn.to_dict(), scale=2)
    return made


def _edges_in_space(stable: pd.DataFrame, facets: Sequence[Sequence[int | None]]) -> go.Scatter3d:
    """The facets' outlines as one broken line."""
    x, y, z = (stable[name].tolist() for name in ("x", "y", "formation"))
    lines: dict[str, list[float | None]] = {"x": [], "y": [], "z": []}
    for corners in facets:
        for i in [*corners, corners[0]]:
            for name, values in zip("xyz", (x, y, z), strict=True):
                lines[name].append(values[i or 0])
        for name in "xyz":
            lines[name].append(None)
    return go.Scatter3d(**lines, mode="lines", line={"color": MUTED, "width": 2}, hoverinfo="skip", showlegend=False)


def _dots(data: pd.DataFrame, name: str, marker: dict[str, Any], text: bool) -> go.Scatter3d:
    hover = [
        f"{_escaped(r.formula)}<br>{_escaped(r.label)}<br>formation {r.formation:.4f} eV/atom"
        f"<br>above hull {r.above_hull:.4f} eV/atom"
        for r in data.itertuples()
    ]
    return go.Scatter3d(
        x=data["x"], y=data["y"], z=data["formation"], name=name, marker=marker, hovertext=hover, hoverinfo="text",
        mode="markers+text" if text else "markers", text=data["formula"].map(_escaped) if text else None,
        textposition="top center",
    )  # fmt: skip


def _escaped(text: object) -> str:
    """Plotly reads a little HTML in its texts."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _phase_layers(data: pd.DataFrame, x: alt.X, y: alt.Y) -> list[Any]:
    others, stable = data[~data["stable"]], data[data["stable"]]
    return [
        alt.Chart(others).mark_circle(color=MUTED, size=28, opacity=0.55).encode(x=x, y=y),
        alt.Chart(stable).mark_square(color=ACCENT, size=85, opacity=1).encode(x=x, y=y),
        alt.Chart(stable)
        .mark_text(dy=-13, fontSize=12, fontWeight=600, color=ACCENT)
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
        scale=alt.Scale(domain=list(_colour_range(data)), range=[BELOW, NEAR_HULL, FAR]),
        legend=alt.Legend(orient="bottom", gradientLength=260, titleLimit=300),
    )
    sure = data["above_hull"].abs() >= (margin or 0.0)
    shape = alt.Chart(data[sure]).mark_point(shape="diamond", filled=True, size=170, opacity=1, strokeWidth=1)
    hollow = alt.Chart(data[~sure]).mark_point(shape="diamond", filled=False, size=170, opacity=1, strokeWidth=2.5)
    return [
        shape.encode(x=x, y=y, color=colour, stroke=alt.value(_EDGE)),
        *([hollow.encode(x=x, y=y, color=colour)] if margin else []),
    ]


def _clickable(data: pd.DataFrame, x: alt.X, y: alt.Y) -> Any:
    """Every point once more, unseen and larger: easy to hit, with its numbers; what is hit comes as `pick`."""
    pick = alt.selection_point(name="pick", fields=["key"], on="click")
    data = data.sort_values("above_hull", ascending=False)
    return alt.Chart(data).mark_circle(size=220, opacity=0).encode(x=x, y=y, tooltip=_tooltip()).add_params(pick)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("formula:N"),
        alt.Tooltip("label:N", title="what"),
        alt.Tooltip("formation:Q", title="formation (eV/atom)", format=".4f"),
        alt.Tooltip("above_hull:Q", title="above hull (eV/atom)", format=".4f"),
    ]


def _colour_range(data: pd.DataFrame) -> tuple[float, float]:
    high = float(max(0.05, min(0.5, data["above_hull"].max())))
    return min(0.0, float(data["above_hull"].min())), high


def _points(items: Sequence[Point], elements: Sequence[str]) -> pd.DataFrame:
    place = _xy if len(elements) > 2 else _share
    rows = [
        (*place(i["fractions"], elements), i["formula"], i["label"], i["formation"], i["above_hull"], i["key"])
        for i in items
    ]
    data = pd.DataFrame(rows, columns=COLUMNS)
    return data.assign(stable=data["above_hull"] <= 1e-9)


def _share(fractions: Fractions, elements: Sequence[str]) -> tuple[float, float]:
    return fractions.get(elements[1], 0.0), 0.0


def _xy(fractions: Fractions, elements: Sequence[str]) -> tuple[float, float]:
    """Barycentric coordinates: the second element at the right corner, the third on top."""
    second, third = fractions.get(elements[1], 0.0), fractions.get(elements[2], 0.0)
    return second + third / 2, third * 3**0.5 / 2


def _rounded(place: tuple[float, float]) -> tuple[float, float]:
    return round(place[0], 9), round(place[1], 9)


__all__ = ["HullPicture", "binary", "surface", "ternary"]
