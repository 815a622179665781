"""One dataset on the page: counts, charts, a paged table, a structure in 3D, what was not taken."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.ui import charts
from core.ui.viewer import show_crystal
from core.ui.widgets import pages
from core.workflows.datasets import load_tensors
from core.workflows.store import store
from db import datasets as dataset_rows
from db import structures as rows
from db.tables import Dataset

PAGE = 25


def show_dataset(dataset: Dataset) -> None:
    """Everything about one dataset, in tabs."""
    summary = dataset.summary
    columns = st.columns(5)
    columns[0].metric("structures", f"{summary['structures']:,}")
    columns[1].metric("formulas", f"{summary['formulas']:,}")
    columns[2].metric("with 7 or more polymorphs", f"{summary['groups_of_7']:,}")
    columns[3].metric("elements", len(summary["elements"]))
    columns[4].metric("atoms per cell", f"{summary['natoms'][0]}–{summary['natoms'][1]}")
    methods = ", ".join(f"{m} ({n:,})" for m, n in summary["methods"].items()) or "none"
    st.caption(f"Energies: {methods}. This dataset uses {dataset.method or 'none'}. Content {dataset.hash[:12]}.")
    overview, table, skipped = st.tabs(["Overview", "Structures", "Not taken"])
    with overview:
        _charts(dataset)
    with table:
        _table(dataset)
    with skipped:
        _skipped(dataset)


def _charts(dataset: Dataset) -> None:
    data = load_tensors(dataset)
    summary = dataset.summary
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Elements**")
        st.altair_chart(charts.elements(summary["elements"]), width="stretch")
        st.markdown("**Atoms per cell**")
        st.altair_chart(charts.histogram(data.crystals.natoms.numpy(), "atoms", integer=True), width="stretch")
    with right:
        st.markdown("**Space groups**")
        st.altair_chart(charts.space_groups(summary["space_groups"]), width="stretch")
        st.markdown(f"**Formation energy** :small[{dataset.method}]")
        if summary["energies"]:
            title = "formation energy (eV/atom)"
            st.altair_chart(charts.histogram(data.crystals.energy.numpy(), title), width="stretch")
        else:
            st.caption("This dataset has no energies.")


def _table(dataset: Dataset) -> None:
    data = load_tensors(dataset)
    offset = pages(len(data), PAGE, "rows")
    ids = data.ids[offset : offset + PAGE].tolist()
    with store().session() as session:
        found = rows.get_structures(session, ids)
        energies = {e.structure_id: e.formation for e in rows.get_energies(session, ids, dataset.method)}
    frame = pd.DataFrame(
        [(s.formula, s.natoms, s.space_group or None, energies.get(s.id), s.label) for s in found],
        columns=["formula", "atoms", "space group", "formation energy (eV/atom)", "name"],
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        event = st.dataframe(
            frame,
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key=f"structures-{dataset.id}-{offset}",
            column_config={"formation energy (eV/atom)": st.column_config.NumberColumn(format="%.4f")},
            height=420,
            placeholder="",
        )
    chosen = (event["selection"]["rows"] or [0])[0]
    if not found:
        return
    chosen = min(chosen, len(found) - 1)
    with right:
        structure = found[chosen]
        group = f"space group {structure.space_group}" if structure.space_group else "space group unknown"
        st.markdown(f"**{structure.formula}** :small[{structure.natoms} atoms, {group}]")
        show_crystal(data.crystals[[offset + chosen]], height=350)


def _skipped(dataset: Dataset) -> None:
    with store().session() as session:
        imports = dataset_rows.imports_of(session, dataset.id)
        counts = rows.count_skipped(session, imports)
        listed = rows.skipped_rows(session, imports, limit=200)
    if not counts:
        st.caption("Every row of its files was taken.")
        return
    st.write(", ".join(f"{n:,} {reason}" for reason, n in counts.items()))
    frame = pd.DataFrame([(r.place, r.reason, r.detail) for r in listed], columns=["where", "reason", "what is wrong"])
    st.dataframe(frame, hide_index=True)
    if sum(counts.values()) > len(listed):
        st.caption(f"The first {len(listed)} are shown.")
