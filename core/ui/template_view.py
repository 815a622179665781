"""Template substitution on the page of models: what it is, what its dataset holds, and the ways to it."""

from __future__ import annotations

import streamlit as st

from core.ui.conditions import SUBSTITUTES
from core.ui.widgets import page, plain
from core.workflows.method import About
from core.workflows.methods import label_of
from db.tables import Dataset


def show_template_title(about: About) -> None:
    """Its name and what can be done with it; it cannot be downloaded, renamed or deleted: its dataset can."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"### substitution in {plain(about.dataset)}", width="stretch")
        for name, verb in (("generate", "Generate with it"), ("modify", "Modify with it")):
            query = {"model": label_of(about.name)}
            st.page_link(page(name), label=verb, icon=":material/arrow_forward:", query_params=query)
        query = {"dataset": about.dataset}
        st.page_link(page("datasets"), label="Its dataset", icon=":material/dataset:", query_params=query)


def show_template_card(dataset: Dataset) -> None:
    """How it answers, and what the dataset holds."""
    st.write(SUBSTITUTES)
    st.caption(
        "A template has the same stoichiometry pattern and number of atoms (or a whole part of it), and the space "
        "group asked for where there is one. Those with elements near to the new ones and an energy near to the one "
        "asked for come first. The validation part is left out: there it can be evaluated like a model."
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
