"""Three ways to a hull: a file, a dataset of the store, AFLOW."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from core.data.aflow import CITATION, METHOD, TERMS
from core.jobs import queue
from core.ui.periodic_table import element_picker
from core.ui.permits import permitted
from core.ui.uploads import save_uploads
from core.ui.widgets import go, sentences
from core.workflows.datasets import list_datasets
from core.workflows.hulls import as_system, import_hull
from core.workflows.hulls_aflow import AflowHullParams
from core.workflows.hulls_build import BuildHullParams, check_build
from core.workflows.hulls_store import check_new_hull


def file_form() -> None:
    """A file: AFLOW's hull files, this app's JSON, a CSV."""
    file = st.file_uploader(
        "A hull file of AFLOW, this app's JSON, or CSV with formula and formation_energy (eV/atom)",
        type=["csv", "json", "gz"],
        key="hull-file",
    )
    left, right = st.columns(2)
    name = left.text_input("Name", placeholder="as the file says", key="hull-file-name")
    method = right.text_input("Energy method, where the file names none", placeholder="AFLOW", key="hull-file-method")
    missing = None if file else "Choose a file first."
    if st.button("Import", type="primary", **permitted(disabled=bool(missing), help=missing)) and file:
        with sentences():
            (path,), (own,) = save_uploads([file])
            safe = "".join(c for c in own if c.isalnum() or c in "._- ") or "hull.json"
            with tempfile.TemporaryDirectory(dir=Path(path).parent) as place:
                named = Path(path).rename(Path(place) / safe)  # its sentences name the user's file
                made = import_hull(named, name.strip(), method.strip())
            go("*", hull=made.row.id)


def dataset_form() -> None:
    """Structures of a dataset, of one system and its sub-systems, by one method."""
    datasets = {d.name: d for d in list_datasets()}
    if not datasets:
        st.info("There is no dataset yet.", icon=":material/dataset:")
        return
    left, middle, right = st.columns([3, 2, 2])
    dataset = left.selectbox("Dataset", list(datasets), key="hull-dataset")
    system = middle.text_input("Chemical system", placeholder="B-Ta-W", key="hull-system")
    methods = [m for m in datasets[dataset].summary.get("methods", {}) if m]
    method = right.selectbox("Energies", methods, placeholder="none here", key=f"hull-method-{dataset}")
    name = left.text_input("Name", placeholder=dataset, key="hull-name")
    if st.button("Make the hull", type="primary", icon=":material/change_history:", **permitted(disabled=not methods)):
        with sentences():
            normal = as_system(system)
            params = BuildHullParams(dataset, normal, str(method), name.strip())
            check_build(params)
            go(job=queue.submit("hull-build", f"Hull of {normal} from {dataset}", params, "io"))


def aflow_form() -> None:
    """Everything that AFLOW has of a system and its sub-systems."""
    elements = element_picker("Elements", "hull-elements", default=("B", "Ta", "W"), most=4)
    left, right = st.columns([3, 4], vertical_alignment="bottom")
    name = left.text_input("Name", placeholder="AFLOW", key="hull-aflow-name")
    if right.button(
        "Fetch from AFLOW", type="primary", icon=":material/cloud_download:", **permitted(disabled=not elements)
    ):
        with sentences():
            system = as_system("-".join(elements))
            check_new_hull(system, METHOD, name.strip() or "AFLOW")
            params = AflowHullParams(system, name.strip())
            go(job=queue.submit("hull-aflow", f"Hull of {system} from AFLOW", params, "io"))
    st.caption(f"AFLOW: {TERMS} Cite {CITATION}")
