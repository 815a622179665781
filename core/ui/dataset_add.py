"""Three ways to structures: files, AFLOW's search, decorated prototypes."""

from __future__ import annotations

import streamlit as st

from core.data.aflow import CITATION, DFT_TYPE, TERMS
from core.data.aflow.query import CATALOGS, DFT_TYPES, Query, check_summons, summons
from core.energy.load import choices
from core.jobs import queue
from core.settings import settings
from core.ui.conditions import space_group_picker
from core.ui.devices import devices
from core.ui.periodic_table import element_picker
from core.ui.permits import permitted
from core.ui.text import said
from core.ui.uploads import save_uploads
from core.ui.widgets import go, sentences
from core.workflows.aflow import AflowParams, count_entries
from core.workflows.context import UserError
from core.workflows.datasets import check_new_name
from core.workflows.imports import ImportParams
from core.workflows.prototypes import PrototypeParams, plan_prototypes
from core.workflows.uploads import forgotten_if_refused


def files_form() -> None:
    """Files from the user's disk."""
    with st.form("import", border=False):
        files = st.file_uploader(
            "CIF, POSCAR, extxyz, JSON lines, CSV, Parquet, pymatgen JSON, AFLOW entries, or a zip of structures",
            accept_multiple_files=True,
            help="Tables have a column `cif`, or AFLOW's columns. 200 MB each; larger files: "
            "./run cli dataset import FILE --name NAME",
        )
        left, right = st.columns(2)
        name = left.text_input("Name of the dataset", placeholder="borides-2026")
        method = right.text_input(
            "Energy method, where the rows name none",
            placeholder="PBE",
            help="Energies of different methods are never mixed unasked.",
        )
        if st.form_submit_button("Import", type="primary", **permitted()):
            with sentences():
                if not files:
                    st.warning("Choose one file or more.", icon=":material/info:")
                    return
                check_new_name(name)
                paths, uploads = save_uploads(files)
                params = ImportParams(paths, name, method.strip(), uploads=uploads)
                with forgotten_if_refused(paths):
                    go(job=queue.submit("import", f"Import {name}", params, "io"))


def aflow_form() -> None:
    """A question to AFLOW, composed or written, with the count of what matches."""
    left, right = st.columns([5, 4], gap="large")
    with left:
        elements = element_picker("Elements", "aflow-elements", default=("B", "Ta", "W"))
        mode = st.radio(
            "Structures", ["only", "all", "any"], horizontal=True, key="aflow-mode",
            format_func={
                "only": "of nothing but these", "all": "with all of these", "any": "with any of these"
            }.__getitem__,
        )  # fmt: skip
    with right:
        a, b = st.columns(2)
        few = a.number_input("Elements per structure, from", 1, 10, 1, key="aflow-few")
        many = b.number_input("to", 1, 10, max(1, len(elements) if mode == "only" else 4), key=f"aflow-many-{mode}")
        smallest, largest = st.slider("Atoms per cell", 1, 120, (1, 60), key="aflow-atoms")
        low, high = st.slider("Formation enthalpy (eV/atom)", -5.0, 5.0, (-5.0, 5.0), 0.1, key="aflow-energy")
        groups = space_group_picker("aflow-groups")
        catalogs = st.multiselect("Catalogs", CATALOGS, placeholder="all", key="aflow-catalogs")
        kind = st.selectbox("DFT type", DFT_TYPES, index=DFT_TYPES.index(DFT_TYPE), key="aflow-dft")
    query = Query(
        tuple(elements), mode, (int(few), int(many)), (smallest, largest), groups, (low, high), tuple(catalogs), kind
    )
    try:
        composed = summons(query)
    except ValueError as error:
        st.error(said(str(error)), icon=":material/error:")
        return
    text = st.text_area(
        "The summons that is sent; edit it by hand if you like",
        composed,
        key=f"summons-{hash(query)}",
        help=f"Sent to {settings().aflux_url}, one page after the other.",
    )
    st.caption(f"AFLOW: {TERMS} Cite {CITATION}")
    left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
    name = left.text_input("Name of the dataset", placeholder="aflow-borides", key="aflow-name")
    if middle.button("Count the entries", width="stretch"):
        with sentences(), st.spinner("Asking AFLOW"):
            st.info(f"{count_entries(text):,} entries match.", icon=":material/search:")
    if right.button("Import from AFLOW", type="primary", **permitted()):
        with sentences():
            check_new_name(name)
            try:
                check_summons(text)
            except ValueError as error:
                raise UserError(str(error)) from error
            go(job=queue.submit("aflow", f"AFLOW {name}", AflowParams(text, name, kind), "io"))


def prototypes_form() -> None:
    """AFLOW's prototypes decorated with chosen elements: how to begin where there are no data."""
    left, right = st.columns([5, 4], gap="large")
    with left:
        elements = element_picker("Elements", "prototype-elements", default=("B", "Ta", "W"), most=8)
    with right:
        atoms = st.slider("Atoms per cell", 1, 40, (4, 20), key="prototype-atoms")
        least = st.number_input("Polymorphs per formula, at least", 1, 50, 1, key="prototype-least")
        usable = [c for c in choices(settings().m3gnet) if not c.problem]
        potential = st.selectbox("Potential", usable, format_func=lambda c: c.method, key="prototype-potential")
        relaxing = {"full": "cell and positions", "volume": "volume only (quick)", "none": "not at all"}
        relax = st.radio("Relax", list(relaxing), format_func=relaxing.__getitem__, key="prototype-relax")
    if not elements:
        st.info("Choose the elements.", icon=":material/info:")
        return
    with sentences():
        formulas, structures = plan_prototypes(tuple(elements), atoms, int(least))
        st.caption(
            f"{structures:,} structures of {formulas:,} formulas will be made. Space groups are found by spglib."
        )
        name = st.text_input("Name of the dataset", placeholder="-".join(elements), key="prototype-name", width=400)
        if st.button("Make the structures", type="primary", **permitted(disabled=not structures)):
            check_new_name(name)
            params = PrototypeParams(name, tuple(elements), atoms, potential.key, (), relax, min_polymorphs=int(least))
            go(job=queue.submit("prototypes", f"Prototypes of {' '.join(elements)}", params, devices()[0]))
