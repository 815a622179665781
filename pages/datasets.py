"""Datasets: bring structures in, filter them, and see what is there."""

import streamlit as st

from core.jobs import queue
from core.ui.dataset_add import aflow_form, files_form, prototypes_form
from core.ui.dataset_view import show_dataset
from core.ui.permits import owners_button
from core.ui.recipe_view import build_form
from core.ui.widgets import counted, go, header, plain, segments, selected, selected_int, sentences, watch_job
from core.workflows.datasets import delete_dataset, get_dataset, list_datasets

FORMS = {
    "files": ("Files", files_form),
    "aflow": ("AFLOW", aflow_form),
    "prototypes": ("Prototypes", prototypes_form),
    "recipe": ("Filter and split", build_form),
}

header("Datasets", "Structures to learn from: where they come from, what they hold.")
datasets = list_datasets()
names = [d.name for d in datasets]

with st.expander("New dataset", icon=":material/add_circle:", expanded=not datasets or selected("new") in FORMS):
    form = segments("From", {key: label for key, (label, _) in FORMS.items()}, "new", "like")
    FORMS[form][1]()

job_id = selected_int("job")
if job_id is not None:
    watch_job(job_id, "made")
    with sentences():
        result = queue.get(job_id).result
        if result and "dataset" in result and result["dataset"] in names:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in result.get("reasons", {}).items())
            skipped = result.get("skipped", 0)
            left_out = f" {counted(skipped, 'row')} not taken: {reasons}." if skipped else ""
            made = counted(result["structures"], "structure")
            st.success(f"{made} in the dataset {plain(result['dataset'])}.{left_out}")
            if selected("dataset") != result["dataset"] and st.button("Show it", icon=":material/visibility:"):
                go("*", dataset=result["dataset"])

if not datasets:
    st.info("No dataset yet. Bring in files, AFLOW's entries or prototypes above.", icon=":material/dataset:")
    st.stop()

wanted = selected("dataset")
left, right = st.columns([6, 1], vertical_alignment="bottom")
shown = wanted if wanted in names else names[0]
chosen = left.selectbox("Dataset", names, index=names.index(shown), key=f"dataset-{shown}")
if wanted and wanted not in names:
    st.warning("The link names a dataset that is not here; another one is shown.", icon=":material/info:")
if chosen != shown:
    go(*(set(st.query_params) - {"job", "new", "show"}), dataset=chosen)
with right.popover("Delete", icon=":material/delete:", width="stretch"):
    st.write(f"{plain(chosen)} is removed, with structures that no other dataset shares.")
    if owners_button("Delete this dataset", "The dataset", get_dataset(chosen)):
        with sentences():
            delete_dataset(chosen)
            go("*")
with sentences():
    show_dataset(get_dataset(chosen))
