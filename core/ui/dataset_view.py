"""One dataset on the page: cards, linked charts, polymorphs side by side, its structures, its quality, its recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch

from core.data.aflow import CITATION, METHOD, TERMS
from core.data.symmetry import named
from core.ui import dataset_charts as charts
from core.ui import periodic_table
from core.ui.crystal_view import choose_palette, show_structure
from core.ui.dataset_filter import chips, choose, forget, selection
from core.ui.dataset_recipe import show_quality, show_recipe
from core.ui.widgets import energy, pages, picked, plain, segments, selected
from core.workflows.dataset_query import ORDERS, Facets, Selection, facets, polymorphs, rows_of
from core.workflows.datasets import load_tensors
from core.workflows.store import store
from db import structures as rows
from db.tables import Dataset

PAGE = 25
ENERGY = "formation energy (eV/atom)"
SIDE_BY_SIDE = 3
VIEWS = {
    "overview": "Overview",
    "polymorphs": "Polymorphs",
    "structures": "Structures",
    "quality": "Quality",
    "recipe": "Recipe",
}


def show_dataset(dataset: Dataset) -> None:
    """Everything about one dataset; which part is in the URL (`show`)."""
    summary = dataset.summary
    columns = st.columns(6)
    columns[0].metric("structures", f"{summary['structures']:,}")
    columns[1].metric("formulas", f"{summary['formulas']:,}")
    columns[2].metric("7 or more polymorphs", f"{summary['groups_of_7']:,}", help="formulas that have so many")
    columns[3].metric("elements", len(summary["elements"]))
    columns[4].metric("space groups", len([g for g in summary["space_groups"] if g != "0"]))
    columns[5].metric("atoms per cell", f"{summary['natoms'][0]}–{summary['natoms'][1]}")
    view = segments("Show", VIEWS, "show", "rows", of=dataset.id)
    if any(m == METHOD or m.startswith((f"{METHOD}-", f"{METHOD}+")) for m in summary["methods"]):
        st.caption(f"Data of AFLOW. {TERMS} Cite {CITATION}")
    shown = {"polymorphs": _polymorphs, "structures": _structures, "quality": show_quality, "recipe": show_recipe}
    chosen = selection()
    chips(chosen)
    shown.get(view, _overview)(dataset, chosen)


def _overview(dataset: Dataset, chosen: Selection) -> None:
    found = facets(dataset, chosen)
    method = energies_in_words(dataset)
    if chosen:
        st.caption(f"{found.structures:,} structures of {found.formulas:,} formulas are shown. Energies: {method}.")
    else:
        st.caption(f"Energies: {method}.")
    if not found.structures:
        st.info("No structure has all of this: take a filter away.", icon=":material/filter_alt:")
        return
    version = f"{dataset.hash[:8]}-{hash(chosen)}"  # other filters make other charts: a used click is gone
    left, right = st.columns([5, 4], gap="large")
    with left:
        by_energy = st.toggle("Colour by mean formation energy", disabled=found.energy is None, key="by-energy")
        table = periodic_table.heat_map(found.elements, by_energy)
        event = _clickable(table, f"elements-{version}-{by_energy}")
        if hit := picked(event):
            choose(element=hit["element"])
    with right:
        many = len([g for g in found.groups if g])
        which = f"the 25 most frequent of {many}; click one to filter" if many > 25 else "click one to filter"
        st.markdown(f"**Space groups** :small[{which}]")
        event = _clickable(charts.space_groups(found.groups), f"groups-{version}")
        if hit := picked(event):
            choose(group=hit["space group"])
    _histograms(found, version)
    _structures(dataset, chosen)


def _histograms(found: Facets, version: str) -> None:
    """Energies, cell sizes and coordinates, each with a brush that filters."""
    left, middle, right = st.columns(3, gap="medium")
    with left:
        st.markdown("**Formation energy** :small[brush to filter]")
        if found.energy is None:
            st.caption("These structures have no energies.")
        else:
            event = _clickable(charts.energies(*found.energy), f"energy-{version}")
            st.caption("The outermost bars hold what lies beyond.")
            if hit := picked(event):
                choose(energy=tuple(hit["low"]))
    with middle:
        st.markdown("**Atoms per cell** :small[brush to filter]")
        event = _clickable(charts.cell_sizes(found.atoms), f"atoms-{version}")
        if hit := picked(event):
            choose(atoms=(float(np.ceil(hit["low"][0])), float(np.floor(hit["low"][1]))))
    with right:
        st.markdown("**Coordinates** :small[of the sites; brush to filter]")
        chart = charts.coordinates(*found.coordinates)
        event = _clickable(chart, f"coordinates-{version}")
        if hit := picked(event):
            choose(coordinate=tuple(hit["coordinate"]))
        if found.sampled < found.structures:
            st.caption(f"Of {found.sampled:,} structures drawn at random.")


_SAID = {
    "elements": "Periodic table: structures of each element; the button Filter chooses by keyboard",
    "groups": "Bars: structures in each space group",
    "energy": "Histogram: structures by formation energy in eV/atom",
    "atoms": "Histogram: structures by atoms per cell",
    "coordinates": "Histogram: sites by fractional coordinate along a, b and c",
}


def _clickable(chart: Any, key: str) -> Any:
    """Draw a chart; what was clicked or brushed in it. Its key begins with what it shows."""
    return st.altair_chart(chart, on_select="rerun", key=key, alt=_SAID[key.split("-", 1)[0]])


def energies_in_words(dataset: Dataset) -> str:
    """Which energies the dataset has, and for how many of its structures."""
    known, total = dataset.summary["energies"], dataset.summary["structures"]
    if not known:
        return "none; rows carry them as enthalpy_formation_atom or formation_energy_per_atom, in eV/atom"
    return plain(dataset.method) + (f" for {known:,} of {total:,} structures" if known < total else "")


def _polymorphs(dataset: Dataset, chosen: Selection) -> None:
    data = load_tensors(dataset)
    left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
    order = left.selectbox("Order", ["polymorphs", "energy span", "formula"], key="group-order")
    text = middle.text_input(
        "Formula contains", value=chosen.formula or "", placeholder="TaB", key=f"formula-{chosen.formula}"
    )
    if text != (chosen.formula or ""):
        if text:
            choose(formula=text)
        forget("formula")
    found = polymorphs(dataset, chosen, order)
    right.caption(f"{len(found.formula):,} formulas")
    if not len(found.formula):
        st.info("No formula fits: take a filter away.", icon=":material/filter_alt:")
        return
    table, chart = st.columns([3, 2], gap="large")
    with chart:
        st.markdown("**Polymorphs per formula**")
        st.altair_chart(charts.group_sizes(found.count), alt="Bars: formulas by number of polymorphs")
    with table:
        offset = pages(len(found.formula), PAGE, "rows")
        part = slice(offset, offset + PAGE)
        names = [data.formulas[i] for i in found.formula[part].tolist()]
        frame = pd.DataFrame(
            {
                "formula": names,
                "polymorphs": found.count[part],
                "lowest (eV/atom)": found.lowest[part],
                "span (eV/atom)": found.span[part],
            }
        )
        event = st.dataframe(
            frame,
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key=f"formulas-{dataset.id}-{order}-{offset}-{hash(chosen)}",
            column_config={c: st.column_config.NumberColumn(format="%.4f") for c in frame.columns[2:]},
            height=min(330, 38 + 35 * len(frame)),
            placeholder="",
            alt="Formulas; select a row to see its polymorphs",
        )
    at = event["selection"]["rows"]
    wanted = names[at[0]] if at else selected("group_of") or names[0]
    if at:
        st.query_params["group_of"] = wanted
    _side_by_side(dataset, wanted)


def _side_by_side(dataset: Dataset, formula: str) -> None:
    """The polymorphs of one formula by rising energy, in 3D."""
    data = load_tensors(dataset)
    if formula not in data.formulas:
        return
    members = torch.nonzero(data.formula == data.formulas.index(formula)).flatten()
    values = data.crystals.energy[members]
    members = members[values.argsort()]
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.markdown(f"**{formula}** :small[{len(members)} structures, lowest first]")
    with right:
        first = data.crystals[[int(members[0])]]
        choose_palette(first.numbers[first.mask].tolist(), "beside")
    offset = pages(len(members), SIDE_BY_SIDE, "polymorph")
    shown = members[offset : offset + SIDE_BY_SIDE]
    lowest = float(data.crystals.energy[members[0]])
    with store().session() as session:
        known = {s.id: s for s in rows.get_structures(session, data.ids[shown].tolist())}
    for column, row in zip(st.columns(SIDE_BY_SIDE), shown.tolist(), strict=False):
        with column:
            value = float(data.crystals.energy[row])
            above = (
                f", {value - lowest:.3f} eV/atom above the lowest"
                if np.isfinite(value) and row != int(members[0])
                else ""
            )
            st.markdown(
                f"Space group **{named(int(data.crystals.group[row]))}**, {int(data.crystals.natoms[row])} atoms  \n"
                f":small[{energy(value if np.isfinite(value) else None, 4)}{above}]"
            )
            structure = known.get(int(data.ids[row]))
            label = structure.label if structure else ""
            show_structure(data.crystals[[row]], key=f"beside-{row}", name=label, height=330, details="none")
            st.caption(plain(label))


def _structures(dataset: Dataset, chosen: Selection) -> None:
    data = load_tensors(dataset)
    order = st.selectbox("Order of the table", ORDERS, key="row-order", width=240)
    found = rows_of(dataset, chosen, order)
    if not len(found):
        st.info("No structure has all of this: take a filter away.", icon=":material/filter_alt:")
        return
    offset = pages(len(found), PAGE, "rows")
    part = found[offset : offset + PAGE]
    with store().session() as session:
        names = {s.id: s.label for s in rows.get_structures(session, data.ids[part].tolist())}
    crystals = data.crystals
    frame = pd.DataFrame(
        {
            "formula": [data.formulas[i] for i in data.formula[part].tolist()],
            "atoms": crystals.natoms[part].numpy(),
            "space group": [g or None for g in crystals.group[part].tolist()],
            **({ENERGY: crystals.energy[part].numpy().astype(float)} if dataset.summary["energies"] else {}),
            "part": ["validation" if s else "training" for s in data.split[part].tolist()],
            "name": [names.get(int(i), "gone") for i in data.ids[part].tolist()],
        }
    )
    event = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"structures-{dataset.id}-{order}-{offset}-{hash(chosen)}",
        column_config={ENERGY: st.column_config.NumberColumn(format="%.4f")},
        height=min(320, 38 + 35 * len(frame)),
        placeholder="",
        alt="Structures; select a row to see one in 3D",
    )
    at = min((event["selection"]["rows"] or [0])[0], len(part) - 1)
    row = int(part[at])
    group = f"space group {named(int(crystals.group[row]))}"
    formula = data.formulas[int(data.formula[row])]
    st.markdown(f"**{formula}** :small[{int(crystals.natoms[row])} atoms, {group} as imported]")
    show_structure(crystals[[row]], key="one-structure", name=names.get(int(data.ids[row]), ""))
