"""Charts of what a dataset holds, as pure functions; where one can be clicked or brushed its parameter is `pick`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from core.ui.charts import ACCENT, WARM

HEIGHT = 210
AXES = ("#c0504d", "#4f8f4f", "#4a6fb5")  # x, y, z as in the viewer


def space_groups(counts: Mapping[int, int], most: int = 25) -> alt.Chart:
    """Structures per space group, the `most` frequent by number; a click picks one."""
    known = sorted(((g, n) for g, n in counts.items() if g), key=lambda item: -item[1])[:most]
    data = pd.DataFrame(sorted(known), columns=["space group", "structures"])
    return _bars(data, "space group", "O").add_params(_click("space group"))


def cell_sizes(counts: Mapping[int, int]) -> alt.Chart:
    """Structures per number of atoms in the cell; brushing picks a range of `atoms`."""
    data = pd.DataFrame(sorted(counts.items()), columns=["atoms", "structures"])
    data = data.assign(low=data["atoms"] - 0.45, high=data["atoms"] + 0.45)
    few = len(data) > 0 and data["atoms"].max() - data["atoms"].min() < 6
    middle = float(data["atoms"].mean()) if len(data) else 0.0
    scale = alt.Scale(domain=[max(0.0, middle - 5), middle + 5]) if few else alt.Scale(zero=False, nice=False)
    return _histogram(data, "atoms per cell", "d", scale)


def energies(edges: np.ndarray, counts: np.ndarray) -> alt.Chart:
    """Formation energies; brushing picks a range. The outermost bars hold everything beyond."""
    data = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "structures": counts})
    return _histogram(data, "formation energy (eV/atom)", ".3f", alt.Scale(zero=False, nice=False))


def coordinates(edges: np.ndarray, counts: np.ndarray) -> alt.Chart:
    """How often each value of x, y and z occurs among the sites (the paper's Figure 3): special positions stand out.

    Brushing picks a range of `coordinate`.
    """
    rows = [
        (axis, float(edges[i]), int(n)) for axis, line in zip("xyz", counts, strict=True) for i, n in enumerate(line)
    ]
    data = pd.DataFrame(rows, columns=["axis", "coordinate", "sites"])
    colour = alt.Color(
        "axis:N", title=None, legend=alt.Legend(orient="top"), scale=alt.Scale(domain=list("xyz"), range=list(AXES))
    )
    return (
        alt.Chart(data)
        .mark_line(interpolate="step", strokeWidth=1.6, opacity=0.85)
        .encode(
            x=alt.X("coordinate:Q", title="fractional coordinate", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("sites:Q", title="sites"),
            color=colour,
            tooltip=["axis:N", alt.Tooltip("coordinate:Q", format=".3f"), alt.Tooltip("sites:Q", format=",")],
        )
        .properties(height=HEIGHT)
        .add_params(alt.selection_interval(name="pick", encodings=["x"]))
    )


def group_sizes(counts: np.ndarray) -> alt.Chart:
    """How many formulas have how many polymorphs; 30 and more are one bar."""
    sizes, formulas = np.unique(np.minimum(counts, 30), return_counts=True)
    named = [f"{n}" if n < 30 else "30+" for n in sizes.tolist()]
    return _bars(pd.DataFrame({"polymorphs": named, "formulas": formulas}), "polymorphs", "O", "formulas")


def remaining(stages: Sequence[Mapping[str, object]]) -> alt.Chart:
    """Structures left after each filter, in order: mappings with `filter` and `structures`."""
    data = pd.DataFrame(list(stages))
    return (
        alt.Chart(data)
        .mark_bar(color=WARM)
        .encode(
            x=alt.X("structures:Q", title="structures left"),
            y=alt.Y("filter:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
            tooltip=["filter:N", alt.Tooltip("structures:Q", format=",")],
        )
        .properties(height=34 * max(1, len(data)))
    )


def _histogram(data: pd.DataFrame, title: str, form: str, scale: alt.Scale) -> alt.Chart:
    brush = alt.selection_interval(name="pick", encodings=["x"])
    return (
        alt.Chart(data)
        .mark_bar(color=ACCENT)
        .encode(
            x=alt.X(
                "low:Q",
                bin="binned",
                title=title,
                scale=scale,
                axis=alt.Axis(tickMinStep=1) if form == "d" else alt.Axis(),
            ),
            x2="high:Q",
            y=alt.Y("structures:Q", title="structures", axis=alt.Axis(tickMinStep=1, format=",d")),
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".3f" if form != "d" else ".0f"),
                alt.Tooltip("high:Q", title="to", format=".3f" if form != "d" else ".0f"),
                alt.Tooltip("structures:Q", format=","),
            ],
        )
        .properties(height=HEIGHT)
        .add_params(brush)
    )


def _bars(data: pd.DataFrame, x: str, kind: str, y: str = "structures") -> alt.Chart:
    return (
        alt.Chart(data)
        .mark_bar(color=ACCENT, cursor="pointer")
        .encode(
            x=alt.X(f"{x}:{kind}", sort=None, title=x, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y(f"{y}:Q", title=y),
            tooltip=[f"{x}:{kind}", alt.Tooltip(f"{y}:Q", format=",")],
        )
        .properties(height=HEIGHT)
    )


def _click(field: str) -> alt.Parameter:
    return alt.selection_point(name="pick", fields=[field], on="click")
