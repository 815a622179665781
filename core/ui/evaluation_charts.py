"""Charts of evaluations, as pure functions: match rates with their 95 % intervals by what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from core.ui.charts import ACCENT, MUTED, WARM


def groups_of(shares: object) -> list[dict[str, Any]]:
    """[{name, rate, low, high, targets}] of a result's `by_size`, `by_elements` or `by_system`, else []."""
    rows = [s for s in shares if isinstance(s, Mapping)] if isinstance(shares, (list, tuple)) else []
    return [
        {
            "name": str(row["name"]),
            "rate": float(row["match_rate"]),
            "low": float(row["ci95"][0]),
            "high": float(row["ci95"][1]),
            "targets": int(row["targets"]),
        }
        for row in rows
    ]


def match_rates(groups: Sequence[Mapping[str, Any]], title: str, overall: float | None = None) -> Any:
    """Bars with error bars; a dashed line at the rate of all."""
    data = pd.DataFrame(list(groups), columns=["name", "rate", "low", "high", "targets"])
    angle = -35 if data["name"].str.len().max() > 6 else 0
    scale = alt.Scale(paddingInner=0.35)
    x = alt.X("name:N", sort=None, title=title, scale=scale, axis=alt.Axis(labelAngle=angle, labelOverlap=False))
    y = alt.Y("rate:Q", title="match rate", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    tooltip = [
        alt.Tooltip("name:N", title=title),
        alt.Tooltip("rate:Q", title="match rate", format=".1%"),
        alt.Tooltip("low:Q", title="95 % from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("targets:Q", title="structures", format=","),
    ]
    base = alt.Chart(data)
    layers: list[Any] = [
        base.mark_bar(color=ACCENT).encode(x=x, y=y, tooltip=tooltip),
        base.mark_rule(color=WARM, strokeWidth=2).encode(x=x, y="low:Q", y2="high:Q", tooltip=tooltip),
        base.mark_tick(color=WARM, size=10, thickness=2).encode(x=x, y="low:Q"),
        base.mark_tick(color=WARM, size=10, thickness=2).encode(x=x, y="high:Q"),
    ]
    if overall is not None:
        line = pd.DataFrame({"rate": [overall]})
        layers.append(alt.Chart(line).mark_rule(color=MUTED, strokeDash=[5, 4]).encode(y="rate:Q"))
    return alt.layer(*layers).properties(height=270)
