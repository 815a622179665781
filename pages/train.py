"""Train a model: choose, start, watch. The training runs in a process of its own."""

import streamlit as st

from core.jobs import queue
from core.models.registry import NETWORKS
from core.ui.devices import devices
from core.ui.widgets import go, header, job_log, page, selected, selected_int, sentences, watch_job
from core.workflows.datasets import list_datasets
from core.workflows.store import store
from core.workflows.train import TrainParams, check_params
from db.jobs import list_jobs

header("Train", "A model learns a dataset. It goes on when this tab or the server closes.")
job_id = selected_int("job")
if job_id is not None:
    watch_job(job_id, "train")
    with sentences():
        job = queue.get(job_id)
        job_log(job)
        if job.status == "done" and job.result:
            st.page_link(
                page("generate") if job.params.get("task") == "generation" else page("modify"),
                label=f"Use {job.result['model']}",
                icon=":material/arrow_forward:",
                query_params={"model": str(job.result["model"])},
            )
    if st.button("Train another", icon=":material/add:"):
        go("*")
    st.stop()

datasets = [d.name for d in list_datasets()]
if not datasets:
    st.info("There is no dataset to learn from yet.", icon=":material/dataset:")
    st.page_link(page("datasets"), label="Import a dataset", icon=":material/arrow_forward:")
    st.stop()
with store().session() as session:
    running = list_jobs(session, ["running", "queued"], ["train"])
for job in running:
    st.page_link(page("train"), label=f"{job.title}: {job.status}", query_params={"job": str(job.id)})

left, right = st.columns(2, gap="large")
with left:
    wanted = selected("dataset")
    dataset = st.selectbox("Dataset", datasets, index=datasets.index(wanted) if wanted in datasets else 0)
    task = st.segmented_control(
        "Task",
        ["generation", "modification"],
        default="generation",
        required=True,
        help="Generation draws crystals from noise; modification moves a given structure towards a stable polymorph.",
    )
    presets = NETWORKS["transformer"].presets
    preset = st.radio("Preset", list(presets)[::-1], captions=list(presets.values())[::-1])
with right:
    name = st.text_input("Name of the model", placeholder="borides-small")
    minutes = st.number_input("Minutes of training", 0.1, 100_000.0, 10.0, step=5.0, format="%g")
    device = st.selectbox("Device", devices())
    with st.expander("Advanced"):
        batch = st.number_input("Batch", 1, 4096, 64)
        rate = st.number_input("Learning rate", 1e-6, 1e-1, 5e-4, format="%.1e", help="Peak, after 200 warm-up steps.")
        seed = st.number_input("Seed", 0, 2**31 - 1, 0)
if st.button("Start training", type="primary", icon=":material/play_arrow:"):
    with sentences():
        params = TrainParams(
            dataset, name.strip(), str(task), preset=preset, minutes=minutes, batch=batch, learning_rate=rate, seed=seed
        )
        check_params(params)
        go(job=queue.submit("train", f"Train {params.name}", params, device))
