"""The table of an experiment: model × ladder × composition → the lowest energy above the hull."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.ui.downloads import download
from core.workflows.experiments import PAPER_FOUND, UNITS, Lowest, as_csv, table_of

_BELOW = "color: #3d8b5a; font-weight: 600"


def experiment_table() -> None:
    """Over every run of the experiment in the store, with its file to take home."""
    table = table_of()
    st.subheader("The paper's Table 3, with the models here")
    if not table:
        st.caption("No candidate of these experiments is placed on a hull yet.")
        return
    st.caption(
        "Lowest energy above the hull, meV/atom, over all runs of this experiment in the store. Methods and hulls: "
        + "; ".join(sorted({f"{f.method} on {f.hull}" for f in table}))
        + "."
    )
    grid = pivot(table)
    numbers = [c for c in grid.columns if c in UNITS]
    styled = grid.style.map(lambda v: _BELOW if v < 0 else "", subset=numbers).format("{:.1f}", numbers, na_rep="–")
    st.dataframe(
        styled,
        hide_index=True,
        height=min(420, 40 + 35 * len(grid)),
        placeholder="–",
        alt="Lowest energies above the hull in meV/atom",
    )
    with st.expander("The candidates behind it"):
        st.dataframe(
            listing(table),
            hide_index=True,
            alt="The lowest candidates",
            column_config={
                "above hull (meV/atom)": st.column_config.NumberColumn(format="%.1f"),
                "formation energy (eV/atom)": st.column_config.NumberColumn(format="%.4f"),
                "candidate": st.column_config.LinkColumn(display_text=r"#(.*)$"),
            },
        )
    left, right = st.columns([1, 3], vertical_alignment="center")
    with left:
        tells = ("hull", "B-Ta-W, the lowest candidates")
        download("Download as CSV", lambda: as_csv(table), "experiments.csv", "text/csv", tells)
    found = "; ".join(f"{value:.3f} ({way}, ladder {ladder}, {unit})" for way, ladder, unit, value in PAPER_FOUND)
    right.caption(f"The paper found, by VASP against AFLOW's hull, meV/atom: {found.replace('-', '−')}.")


def pivot(table: Sequence[Lowest]) -> pd.DataFrame:
    """A row for each model, ladder, method and state, a column in meV/atom for each composition."""
    rows: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for f in table:
        state = "relaxed" if f.relaxed else "as drawn"
        rows.setdefault((f.model, f.series, f.method, state), {})[f.formula] = 1000 * f.above
    units = list(UNITS)  # a composition without a number has a dash
    data = [
        {"model": model, "ladder": series.removeprefix("ladder ")} | {u: row.get(u) for u in units}
        | {"method": method, "state": state}
        for (model, series, method, state), row in sorted(rows.items())
    ]  # fmt: skip
    frame = pd.DataFrame(data)
    return frame.astype(dict.fromkeys(units, float))


def listing(table: Sequence[Lowest]) -> pd.DataFrame:
    """A row for each number, with its candidate, method and hull."""
    return pd.DataFrame(
        [
            {
                "model": f.model,
                "ladder": f.series.removeprefix("ladder "),
                "composition": f.formula,
                "above hull (meV/atom)": 1000 * f.above,
                "formation energy (eV/atom)": f.formation,
                "candidate": f"candidates?run={f.run}&candidate={f.candidate}#{f.name}",
                "state": "relaxed" if f.relaxed else "as drawn",
                "placed": f.placed,
                "method": f.method,
                "hull": f.hull,
            }
            for f in table
        ]
    )
