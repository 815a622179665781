"""Modify: a given structure towards a more stable polymorph."""

import streamlit as st

from core.crystals import unpack_cells
from core.jobs import queue
from core.ui.candidate_view import show_run
from core.ui.conditions import model_picker, parse_energies, sampler_picker, space_group_picker
from core.ui.viewer import show_crystal
from core.ui.widgets import go, header, page, selected_int, sentences, watch_job
from core.workflows.context import UserError
from core.workflows.models import list_models
from core.workflows.modify import ModifyParams, parse_start, plan

header("Modify", "A structure you have, moved towards polymorphs of lower energy.")
job_id = selected_int("job")
if job_id is not None:
    watch_job(job_id, "modify")
    with sentences():
        job = queue.get(job_id)
        show_run(job)
        if job.params.get("cif"):
            with st.expander("The structure it started from"):
                start = parse_start(job.params["cif"], job.params["name"])
                show_crystal(unpack_cells([start.cell]), height=350)
    if st.button("Modify another", icon=":material/add:"):
        go("*")
    st.stop()

models = [m.name for m in list_models("modification")]
if not models:
    st.info(
        "There is no model for modification yet. Train one: choose the task modification and a dataset with energies; "
        "a few minutes on the starter dataset are enough to try it.",
        icon=":material/neurology:",
    )
    st.page_link(page("train"), label="Train one", icon=":material/arrow_forward:")
    st.stop()

left, right = st.columns(2, gap="large")
with left:
    model = model_picker(models)
    file = st.file_uploader("A structure (CIF)", type=["cif"])
    pasted = st.text_area("or paste a CIF", height=120)
with right:
    groups = space_group_picker()
    changes_text = st.text_input(
        "Energy changes, eV/atom", "-0.1", help="Negative is more stable; empty asks for none."
    )
    count = st.number_input("Candidates per combination", 1, 1000, 8)
    with st.expander("Advanced"):
        sampler, steps = sampler_picker(model)
        seed = st.number_input("Seed", 0, 2**31 - 1, 0)
text = file.getvalue().decode(errors="replace") if file else pasted
if not text.strip():
    st.caption("Give a structure to begin.")
    st.stop()
try:
    name = file.name if file else "pasted.cif"
    start = parse_start(text, name)
    changes = parse_energies(changes_text)
    params = ModifyParams(model, text, name, groups, changes, int(count), steps, int(seed), sampler)
    wishes = plan(params, start, unpack_cells([start.cell]))
except UserError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()
st.markdown(f"**{start.formula}** :small[as read: {start.natoms} atoms, space group {start.space_group or 'unknown'}]")
show_crystal(unpack_cells([start.cell]), height=340)
if st.button(f"Draw {len(wishes):,} candidates", type="primary", icon=":material/transform:"):
    with sentences():
        go(job=queue.submit("modify", f"Modify {start.formula}", params))
