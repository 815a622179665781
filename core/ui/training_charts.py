"""Charts of trainings as pure functions: runs are {name: {metric: [(step, value), …]}}, the first one is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from core.ui.charts import ACCENT, MUTED, WARM

Series = Sequence[tuple[int, float]]
Runs = Mapping[str, Mapping[str, Series]]
PARTS = {"loss": "loss", "loss_frac": "loss of coordinates", "loss_lattice": "loss of the cell"}
RATES = {
    "match_rate_field": "match rate, field",
    "match_rate_paper": "match rate, paper",
    "valid": "valid",
}
_RATE_COLOURS = [ACCENT, WARM, MUTED]
_LABEL = "datum.value >= 1e6 ? format(datum.value / 1e6, '~g') + ' M' : format(datum.value, ',')"
COLOURS = ["#2f6f8f", "#c8793a", "#5b8c5a", "#8a6fa8", "#b5535c", "#7d7d7d"]


def losses(runs: Runs, part: str = "loss", scale: Mapping[str, float] | None = None) -> Any:
    """Training and validation loss on a logarithmic axis; a dot at the lowest validation loss of each run.

    Of several runs validation is solid, training dotted.

    part: of `PARTS`; scale: structures per step of each run, to draw against structures seen
    """
    names = {part: "training", f"validation_{part}": "validation"}
    data = _frame(runs, names, scale)
    data = data[data["value"] > 0]
    alone = len(runs) < 2
    x = _x(scale)
    y = alt.Y("value:Q", title=PARTS[part], scale=alt.Scale(type="log", nice=False), axis=alt.Axis(tickCount=6))
    colour = _named("kind", ["training", "validation"], [MUTED, ACCENT]) if alone else _runs(runs)
    dash = alt.StrokeDash(
        "kind:N", legend=None,
        scale=alt.Scale(domain=["validation", "training"], range=[[1, 0], [1, 0] if alone else [3, 3]]),
    )  # fmt: skip
    tooltip = _tooltip(scale, ".4f", "loss")
    lines = alt.Chart(data).mark_line(strokeWidth=1.8).encode(
        x=x, y=y, color=colour, strokeDash=dash, detail="run:N", tooltip=tooltip,
        opacity=alt.condition("datum.kind == 'training'", alt.value(0.75), alt.value(1.0)),
    )  # fmt: skip
    held = data[data["kind"] == "validation"]
    best = held.loc[held.groupby("run", sort=False)["value"].idxmin()] if len(held) else held
    dots = alt.Chart(best).mark_point(filled=True, size=90, opacity=1, stroke="white", strokeWidth=1)
    dots = dots.encode(x=x, y=y, color=alt.value(WARM) if alone else colour, tooltip=tooltip)
    return alt.layer(lines, dots).properties(height=300)


def rates(runs: Runs, scale: Mapping[str, float] | None = None) -> Any:
    """Match rates and valid share of the samples; of several runs the match rates alone, field solid, paper dashed."""
    alone = len(runs) < 2
    names = RATES if alone else {k: v for k, v in RATES.items() if k != "valid"}
    data = _frame(runs, names, scale)
    order = list(names.values())
    colour = _named("kind", order, _RATE_COLOURS) if alone else _runs(runs)
    dash = alt.StrokeDash(
        "kind:N", legend=None,
        scale=alt.Scale(domain=order, range=[[1, 0]] * 3 if alone else [[1, 0], [5, 3]]),
    )  # fmt: skip
    base = alt.Chart(data).encode(
        x=_x(scale),
        y=alt.Y("value:Q", title="share of samples", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        color=colour,
        detail="run:N",
        tooltip=_tooltip(scale, ".1%", "share"),
    )
    lines = base.mark_line(strokeWidth=1.8).encode(strokeDash=dash)
    return alt.layer(lines, base.mark_point(filled=True, size=22, opacity=1)).properties(height=300)


def pace(runs: Runs, name: str, title: str, form: str, scale: Mapping[str, float] | None = None) -> Any:
    """One number of a training over its steps: learning rate, structures per second, memory."""
    data = _frame(runs, {name: title}, scale)
    colour: Any = alt.value(ACCENT) if len(runs) < 2 else _runs(runs, legend=False)
    return (
        alt.Chart(data)
        .mark_line(strokeWidth=1.6)
        .encode(
            x=_x(scale),
            y=alt.Y("value:Q", title=title, axis=alt.Axis(format=form, tickCount=4), scale=alt.Scale(zero=True)),
            color=colour,
            detail="run:N",
            tooltip=_tooltip(scale, form, title),
        )
        .properties(height=170)
    )


def _frame(runs: Runs, names: Mapping[str, str], scale: Mapping[str, float] | None) -> pd.DataFrame:
    """Rows of run, kind, step, x and value; x is the step, or the structures seen."""
    rows = [
        (run, kind, step, step * (scale[run] if scale else 1.0), value)
        for run, series in runs.items()
        for name, kind in names.items()
        for step, value in series.get(name, ())
    ]
    return pd.DataFrame(rows, columns=["run", "kind", "step", "x", "value"])


def _x(scale: Mapping[str, float] | None) -> alt.X:
    axis = alt.Axis(labelExpr=_LABEL, tickCount=5, labelOverlap=True)
    return alt.X("x:Q", title="structures seen" if scale else "step", axis=axis)


def _named(field: str, names: Sequence[str], colours: Sequence[str]) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=list(colours))
    return alt.Color(f"{field}:N", title=None, scale=scale, legend=alt.Legend(orient="top"))


def _runs(runs: Runs, legend: bool = True) -> alt.Color:
    scale = alt.Scale(domain=list(runs), range=[COLOURS[i % len(COLOURS)] for i in range(len(runs))])
    shown = alt.Legend(orient="top", labelLimit=240, columns=2) if legend else None
    return alt.Color("run:N", title=None, scale=scale, legend=shown)


def _tooltip(scale: Mapping[str, float] | None, form: str, title: str) -> list[alt.Tooltip]:
    seen = [alt.Tooltip("x:Q", title="structures seen", format=",")] if scale else []
    return [
        alt.Tooltip("run:N", title="training"),
        alt.Tooltip("step:Q", title="step", format=","),
        *seen,
        alt.Tooltip("kind:N", title="what"),
        alt.Tooltip("value:Q", title=title, format=form),
    ]
