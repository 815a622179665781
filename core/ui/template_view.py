"""Template substitution on the page of models: what it is, what its dataset holds, and the ways to it."""

from __future__ import annotations

import streamlit as st

from core.ui.conditions import ABOUT
from core.ui.widgets import page, plain
from core.workflows.datasets import get_dataset
from core.workflows.method import About
from core.workflows.methods import label_of, list_methods, parts_of


def show_template_title(about: About) -> None:
    """Its name and what can be done with it; it cannot be downloaded, renamed or deleted: its dataset can."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"### {plain(label_of(about.name))}", width="stretch")
        ways = {"generation": ("generate", "Generate with it"), "modification": ("modify", "Modify with it")}
        for name, verb in (way for task, way in ways.items() if about.name in list_methods(task)):
            query = {"model": label_of(about.name)}
            st.page_link(page(name), label=verb, icon=":material/arrow_forward:", query_params=query)
        query = {"dataset": parts_of(about.name)[2]}
        st.page_link(page("datasets"), label="Its dataset", icon=":material/dataset:", query_params=query)


def show_template_card(about: About) -> None:
    """How it answers, and what the dataset holds. Raises UserError where that is gone."""
    dataset = get_dataset(parts_of(about.name)[2])
    st.write(ABOUT[parts_of(about.name)[0]])
    st.caption(
        "A template has the same stoichiometry pattern and number of atoms (or a whole part of it), and the space "
        "group asked for where there is one. Those with elements near to the new ones and an energy near to the one "
        "asked for come first. Of a structure to modify, its own atoms in another order or symmetry are templates too. "
        "The validation part is left out: there it can be evaluated like a model."
    )
    held = dataset.summary
    low, high = held["natoms"]
    lines = {
        "structures": f"{held['structures']:,} of {held['formulas']:,} formulas, {held['validation']:,} for validation",
        "elements": " ".join(list(held["elements"])[:30]),
        "atoms per cell": f"{low}–{high}",
        "space groups": f"{len(held['space_groups']):,}",
        "energy method": dataset.method or "none",
    }
    st.markdown("**What it knows**")
    st.table({key: plain(value) for key, value in lines.items()}, border="horizontal")
