"""A hull of three elements as a surface to turn, by Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from core.ui.charts import ACCENT, MUTED
from core.ui.hull_charts import BELOW, EDGE, FAR, NEAR_HULL, HullPicture, colour_range, points_of, xy_of

_CAMERA = {"eye": {"x": 0.9, "y": -1.1, "z": 0.45}, "center": {"x": 0, "y": 0, "z": -0.12}}


def surface(picture: HullPicture) -> go.Figure:
    """The hull of three elements as a surface of formation energies to turn."""
    phases, candidates = (points_of(items, picture.elements) for items in (picture.phases, picture.candidates))
    stable, others = phases[phases["stable"]], phases[~phases["stable"]]
    at = {(round(x, 9), round(y, 9)): i for i, (x, y) in enumerate(zip(stable["x"], stable["y"], strict=True))}
    corners = [[at.get(_rounded(xy_of(c, picture.elements))) for c in facet] for facet in picture.facets]
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
        low, high = colour_range(candidates)
        scale = [[0.0, BELOW], [0.5, NEAR_HULL], [1.0, FAR]]
        marker = {
            "size": 6, "symbol": "diamond", "color": candidates["above_hull"], "colorscale": scale,
            "cmin": low, "cmax": high, "line": {"color": EDGE, "width": 1},
        }  # fmt: skip
        figure.add_trace(_dots(candidates, "candidates", marker, text=False))
    hidden = {"visible": False}
    figure.update_layout(
        height=560, margin={"l": 0, "r": 0, "t": 0, "b": 0}, legend={"orientation": "h", "y": 0.02},
        scene={"xaxis": hidden, "yaxis": hidden, "zaxis": {"title": "formation energy (eV/atom)"},
               "aspectratio": {"x": 1, "y": 0.87, "z": 0.8}, "camera": _CAMERA},
    )  # fmt: skip
    return figure


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


def _rounded(place: tuple[float, float]) -> tuple[float, float]:
    return round(place[0], 9), round(place[1], 9)
