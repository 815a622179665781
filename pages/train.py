"""Train a model: choose, see what it costs, start, watch. The training runs in a process of its own."""

import streamlit as st

from core.ui.train_form import train_form
from core.ui.training_view import list_trainings, show_training
from core.ui.widgets import header, page, selected, selected_int, sentences
from core.workflows.datasets import list_datasets

header("Train", "A model learns a dataset. It goes on when this tab or the server closes.")
job_id = selected_int("job")
if job_id is not None:
    with sentences():
        show_training(job_id)
    st.stop()

if selected("job"):
    st.warning("The link names no training: below are all of them.", icon=":material/info:")
datasets = list_datasets()
if datasets:
    train_form(datasets)
else:
    st.info("There is no dataset to learn from yet.", icon=":material/dataset:")
    st.page_link(page("datasets"), label="Import a dataset", icon=":material/arrow_forward:")
list_trainings()
