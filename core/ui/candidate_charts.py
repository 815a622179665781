"""Charts of many candidates, as pure functions from tables to charts; what is clicked comes as `pick`."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.ui.charts import ACCENT, MUTED, WARM

GOOD, PLAIN, BAD = "#2e8b57", "#8fb8cc", "#b5535c"
TICK = "#6fb0cf"
_ROW = 25  # pixels for a category
_AXIS = 62  # and for what stands under them
_LEGEND = 56  # and over them
SPREAD = ["value", "key", "placed", "lowest", "low", "middle", "high"]
SHARES = ["value", "key", "what", "count", "share"]
POINTS = ["key", "name", "formula", "asked", "reached", "above"]


def spread(data: pd.DataFrame, title: str) -> Any:
    """Energies above the hull by a category (SPREAD): dot at the lowest, bar over the middle half, tick at the median.

    Categories stand in the table's order; a click picks one (`key`).
    """
    y = alt.Y("value:N", sort=list(data["value"]), title=None, axis=alt.Axis(labelLimit=150, labelOverlap=False))
    scale = alt.Scale(zero=True, nice=False, padding=8)
    axis = alt.X("low:Q", title="energy above hull (eV/atom)", scale=scale)
    tooltip = [
        alt.Tooltip("value:N", title=title),
        alt.Tooltip("placed:Q", title="on the hull's scale", format=","),
        alt.Tooltip("lowest:Q", title="lowest (eV/atom)", format=".3f"),
        alt.Tooltip("middle:Q", title="median (eV/atom)", format=".3f"),
    ]
    base = alt.Chart(data).encode(y=y, tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"low": [0.0]})).mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=axis)
    bar = base.mark_bar(color=ACCENT, opacity=0.45, height=11).encode(x=axis, x2="high:Q")
    line = base.mark_rule(color=ACCENT, opacity=0.5).encode(x=alt.X("lowest:Q"), x2="low:Q")
    tick = base.mark_tick(color=TICK, thickness=3, height=13).encode(x=alt.X("middle:Q"))
    dot = base.mark_circle(color=WARM, size=75, opacity=1, cursor="pointer").encode(x=alt.X("lowest:Q"))
    pick = alt.selection_point(name="pick", fields=["key"], on="click", nearest=False)
    hit = base.mark_bar(opacity=0, height=19, cursor="pointer").encode(x=alt.X("lowest:Q"), x2="high:Q")
    return alt.layer(zero, bar, line, tick, dot, hit.add_params(pick)).properties(height=_height(data))


def asked_reached(data: pd.DataFrame) -> Any:
    """The energy asked for against the one after relaxation (POINTS), eV/atom, with the line where they are the same.

    A click picks a candidate (`key`).
    """
    low = float(min(data["asked"].min(), data["reached"].min()))
    high = float(max(data["asked"].max(), data["reached"].max()))
    same = pd.DataFrame({"asked": [low, high], "reached": [low, high]})
    scale = alt.Scale(zero=False, nice=True)
    x = alt.X("asked:Q", title="formation energy asked for (eV/atom)", scale=scale)
    y = alt.Y("reached:Q", title="reached, relaxed (eV/atom)", scale=scale)
    line = alt.Chart(same).mark_line(color=MUTED, strokeDash=[5, 4]).encode(x=x, y=y)
    pick = alt.selection_point(name="pick", fields=["key"], on="click")
    dots = (
        alt.Chart(data)
        .mark_circle(color=ACCENT, size=34, opacity=0.45 if len(data) > 300 else 0.75, cursor="pointer")
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("name:N", title="candidate"),
                alt.Tooltip("formula:N"),
                alt.Tooltip("asked:Q", title="asked (eV/atom)", format=".3f"),
                alt.Tooltip("reached:Q", title="reached (eV/atom)", format=".3f"),
                alt.Tooltip("above:Q", title="above hull (eV/atom)", format=".3f"),
            ],
        )
        .add_params(pick)
    )
    return alt.layer(line, dots).properties(height=300)


def validity(data: pd.DataFrame, title: str) -> alt.Chart:
    """Shares by a condition (SHARES): valid, new and unique; valid otherwise; not valid. A click picks one (`key`)."""
    names = ["valid, new, unique", "valid", "not valid"]
    order = list(dict.fromkeys(data["value"]))
    return (
        alt.Chart(data)
        .mark_bar(cursor="pointer", height=14)
        .encode(
            x=alt.X("share:Q", title="share of the candidates", axis=alt.Axis(format="%"), stack="zero"),
            y=alt.Y("value:N", sort=order, title=None, axis=alt.Axis(labelLimit=150, labelOverlap=False)),
            color=alt.Color(
                "what:N",
                title=None,
                sort=names,
                scale=alt.Scale(domain=names, range=[GOOD, PLAIN, BAD]),
                legend=alt.Legend(orient="top"),
            ),
            order=alt.Order("rank:Q"),
            tooltip=[
                alt.Tooltip("value:N", title=title),
                "what:N",
                alt.Tooltip("count:Q", format=","),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .transform_calculate(rank=f"indexof({names}, datum.what)")
        .properties(height=_height(data.drop_duplicates("value")) + _LEGEND)
        .add_params(alt.selection_point(name="pick", fields=["key"], on="click"))
    )


def _height(data: pd.DataFrame) -> int:
    return _ROW * max(2, len(data)) + _AXIS
