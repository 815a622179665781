"""Modify: a given structure towards a more stable polymorph."""

import streamlit as st

from core.jobs import queue
from core.ui.modify_ask import ask, modifier_picker, potential_picker
from core.ui.modify_preview import show_given
from core.ui.modify_result import show_result
from core.ui.modify_start import choose_start, forget_start, given
from core.ui.text import said
from core.ui.widgets import go, header, page, selected_int, sentences, watch_job
from core.workflows.context import UserError
from core.workflows.methods import list_methods
from core.workflows.modify import sites_of

header("Modify", "A structure you have, moved towards polymorphs of lower energy.")
job_id = selected_int("job")
if job_id is not None:
    watch_job(job_id, "modify")
    with sentences():
        show_result(queue.get(job_id))
    if st.button("Modify another", icon=":material/add:"):
        go("*")
    st.stop()

models = list_methods("modification")
if not models:
    st.info(
        "There is no model for modification yet. Train one: choose the task modification and a dataset with energies; "
        "a few minutes on the starter dataset are enough to try it.",
        icon=":material/neurology:",
    )
    st.page_link(page("train"), label="Train one", icon=":material/arrow_forward:")
    st.stop()

try:
    start = given()
except UserError as error:
    st.error(said(str(error)), icon=":material/error:")
    if st.button("Choose a structure", icon=":material/swap_horiz:"):
        forget_start()
    st.stop()
if start is None:
    choose_start()
    st.stop()

with sentences():
    left, right = st.columns(2, gap="large")
    with left:
        model = modifier_picker(models)
    with right:
        potential = potential_picker()
    preview = show_given(start, sites_of(model), potential)
    if preview is not None:
        st.markdown("##### :material/tune: What is asked of it")
        ask(preview.structure, preview.name, model, potential)
        preview.fill_energy()
