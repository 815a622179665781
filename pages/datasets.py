"""Datasets: bring structures in, and see what is there."""

import streamlit as st

from core.jobs import queue
from core.ui.dataset_view import show_dataset
from core.ui.widgets import header, save_uploads, selected, selected_int, sentences, watch_job
from core.workflows.datasets import ImportParams, check_name, delete_dataset, get_dataset, list_datasets

header("Datasets", "Structures to learn from: where they come from, what they hold.")
datasets = list_datasets()
names = [d.name for d in datasets]

importing = st.expander(
    "Import files", icon=":material/upload_file:", expanded=not datasets or "import" in st.query_params
)
with importing, st.form("import", border=False):
    files = st.file_uploader(
        "JSON lines with AFLOW's keys (.jsonl, .jsonl.gz), CSV, CIF, or a zip of CIFs",
        type=["jsonl", "gz", "csv", "cif", "zip"],
        accept_multiple_files=True,
        help="200 MB each; larger files: ./run cli dataset import FILE --name NAME",
    )
    left, right = st.columns(2)
    name = left.text_input("Name of the dataset", placeholder="borides-2026")
    method = right.text_input(
        "Energy method, where the rows name none",
        placeholder="PBE",
        help="Energies of different methods are never mixed unasked.",
    )
    if st.form_submit_button("Import", type="primary"):
        with sentences():
            if not files:
                st.warning("Choose one file or more.", icon=":material/info:")
            else:
                check_name(name)
                paths, uploads = save_uploads(files)
                params = ImportParams(paths, name, method.strip(), uploads=uploads)
                st.query_params["import"] = str(queue.submit("import", f"Import {name}", params, "io"))

import_job = selected_int("import")
if import_job is not None:
    watch_job(import_job, "import")
    with sentences():
        result = queue.get(import_job).result
        if result and "structures" in result:
            left_out = "".join(f", {n:,} {reason}" for reason, n in result["reasons"].items())
            skipped = f" {result['skipped']:,} rows were not taken{left_out}." if result["skipped"] else ""
            st.success(f"{result['structures']:,} structures are the dataset {result['dataset']}.{skipped}")

if not datasets:
    st.info("No dataset yet. Import a file above.", icon=":material/dataset:")
    st.stop()

wanted = selected("dataset")
chosen = st.selectbox("Dataset", names, index=names.index(wanted) if wanted in names else 0, key="dataset")
if wanted and wanted not in names:
    st.warning("The link names a dataset that is not here; another one is shown.", icon=":material/info:")
st.query_params["dataset"] = chosen
with sentences():
    show_dataset(get_dataset(chosen))

with st.popover("Delete this dataset", icon=":material/delete:"):
    st.write("The dataset and structures that no other dataset shares are removed.")
    if st.button("Delete", type="primary"):
        with sentences():
            delete_dataset(chosen)
            st.query_params.clear()
            st.rerun()
