"""How all that pass the filter fared, in charts; a click in one filters by what was clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from core.ui import candidate_charts as charts
from core.ui.candidate_filter import change
from core.ui.candidate_words import group_words
from core.ui.widgets import go, picked, plain, segments
from core.workflows import candidates as workflow
from db.candidate_counts import Verdicts
from db.candidate_lists import CandidateFilter, Placing

MOST = 14  # categories in a chart
SAMPLE = 100_000  # candidates whose energies above the hull are read
DOTS = 2_000
_CONDITIONS = {"reduced_formula": "Formula", "group_asked": "Group asked", "energy_asked": "Energy asked",
               "model": "Model", "series": "Series"}  # fmt: skip
_FILTERS = {
    "reduced_formula": "formula", "group_found": "found", "group_asked": "asked", "model": "model", "series": "series"
}  # fmt: skip


def show_plots(wanted: CandidateFilter, placing: Placing) -> None:
    """Four charts of everything that passes; each says what it lacks where it is empty."""
    placed = workflow.above_hulls(wanted, placing, SAMPLE)
    version = hash((wanted, placing))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Above the hull by composition** :small[the lowest first; click one to filter]")
        _spread("reduced_formula", "composition", placed, placing, version, str)
    with right:
        st.markdown("**By space group as drawn** :small[energies are relaxed; click one to filter]")
        _spread("group_found", "space group as drawn", placed, placing, version, _group)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Energy asked for and reached** :small[click a dot to open it]")
        _asked_reached(wanted, placing, version)
    with right:
        st.markdown("**Validity by condition** :small[click one to filter]")
        _validity(wanted, placing, version)
    if len(placed) == SAMPLE:
        st.caption(f"Energies above the hull are those of {SAMPLE:,} candidates, spread over all.")


def _spread(
    column: str, title: str, placed: pd.DataFrame, placing: Placing, version: int, words: Callable[[Any], str]
) -> None:
    table = spread_table(placed, column, words)
    if not len(table):
        st.caption(f"None of them is relaxed with {plain(placing.method)} and has a hull of its elements.")
        return
    hit = picked(
        st.altair_chart(
            charts.spread(table, title),
            on_select="rerun",
            key=f"spread-{column}-{version}",
            alt=f"Boxes: energy above hull by {title}",
        )
    )
    if "key" in hit:
        _filter(column, hit["key"])


def spread_table(placed: pd.DataFrame, column: str, words: Callable[[Any], str]) -> pd.DataFrame:
    """`charts.SPREAD` of energies above the hull (eV/atom) by a column, the lowest values first."""
    groups = placed.dropna(subset=[column]).groupby(column)["above"]
    lowest = groups.agg(["count", "min"]).sort_values("min").head(MOST)
    quartiles = groups.quantile([0.25, 0.5, 0.75]).unstack() if len(lowest) else pd.DataFrame()
    lines = [
        (words(value), _key(value), int(row["count"]), float(row["min"]), *quartiles.loc[value].tolist())
        for value, row in lowest.iterrows()
    ]
    return pd.DataFrame(lines, columns=charts.SPREAD)


def _asked_reached(wanted: CandidateFilter, placing: Placing, version: int) -> None:
    found = workflow.sample(wanted, placing, DOTS, "generate")
    data = found.data
    if not len(data):
        st.caption(f"None of those that were asked for an energy is relaxed with {plain(placing.method)}.")
        return
    table = pd.DataFrame(
        {
            "key": data["id"].astype(str),
            "name": data["job_id"].astype(str) + "-" + data["index"].astype(str),
            "formula": data["reduced_formula"],
            "asked": data["energy_asked"],
            "reached": data["energy"],
            "above": data["above"].astype(float),
        }
    )
    hit = picked(
        st.altair_chart(
            charts.asked_reached(table),
            on_select="rerun",
            key=f"asked-{version}",
            alt="Points: energy reached against energy asked",
        )
    )
    if "key" in hit:
        go(candidate=hit["key"], show="table", do="view")
    if found.foreign:
        st.caption(f"{found.foreign:,} were asked for on another method's scale and are left out.")


def _validity(wanted: CandidateFilter, placing: Placing, version: int) -> None:
    column = segments("Condition", _CONDITIONS, "by")
    every = replace(wanted, valid=None, usable=None, novel=None, unique=None)
    found = workflow.verdicts(column, every, placing, MOST)
    if not found:
        st.caption("None of them has one.")
        return
    words = {"group_asked": _group, "energy_asked": _energy}.get(column, str)
    chart = charts.validity(share_table(found, words), _CONDITIONS[column].lower())
    hit = picked(
        st.altair_chart(
            chart,
            on_select="rerun",
            key=f"validity-{column}-{version}",
            alt="Bars: shares that are valid, new and unique",
        )
    )
    if "key" in hit and column in _FILTERS:
        _filter(column, hit["key"])
    st.caption(f"The {MOST} most frequent; whatever the filter says of validity, novelty and repeats.")


def share_table(found: Sequence[Verdicts], words: Callable[[Any], str]) -> pd.DataFrame:
    """`charts.SHARES`: three lines for each value of a condition."""
    lines = []
    for one in found:
        parts = {
            "valid, new, unique": one.fresh,
            "valid": one.valid - one.fresh,
            "not valid": one.count - one.valid,
        }
        lines += [(words(one.value), str(one.value), what, n, n / one.count) for what, n in parts.items()]
    return pd.DataFrame(lines, columns=charts.SHARES)


def _filter(column: str, value: object) -> None:
    change(**{_FILTERS[column]: value})
    go()


def _key(value: Any) -> str:
    return value if isinstance(value, str) else str(int(value))


def _group(number: Any) -> str:
    return f"{group_words(int(number))} ({int(number)})"


def _energy(value: Any) -> str:
    return f"{float(value):.3g} eV/atom".replace("-", "−")
