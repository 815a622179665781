"""Generate: a composition, space groups, energies; watch; look at what came out."""

import streamlit as st

from core.jobs import queue
from core.ui.candidate_view import show_run
from core.ui.conditions import model_picker, parse_energies, sampler_picker, space_group_picker
from core.ui.devices import devices
from core.ui.widgets import go, header, page, selected_int, sentences, watch_job
from core.workflows.context import UserError
from core.workflows.generate import GenerateParams, plan
from core.workflows.models import list_models, load_model, unfamiliar

header("Generate", "New crystals of a composition, in the space groups and at the energies you ask for.")
job_id = selected_int("job")
if job_id is not None:
    watch_job(job_id, "generate")
    with sentences():
        show_run(queue.get(job_id))
    if st.button("Generate more", icon=":material/add:"):
        go("*")
    st.stop()

models = [m.name for m in list_models("generation")]
if not models:
    st.info("There is no model for generation yet.", icon=":material/neurology:")
    st.page_link(page("train"), label="Train one", icon=":material/arrow_forward:")
    st.stop()

left, right = st.columns(2, gap="large")
with left:
    model_name = model_picker(models)
    formula = st.text_input(
        "Composition",
        "Ta1W1B6",
        help="The cell content: Ta2W2B12 is two formula units of TaWB6. Several, separated by commas, are drawn each.",
    )
    groups = space_group_picker()
with right:
    energy_text = st.text_input(
        "Formation energies, eV/atom",
        placeholder="-0.4, -0.3",
        help="Separated by commas; empty asks for none in particular. On the scale of the model's training energies.",
    )
    count = st.number_input("Candidates per combination", 1, 1000, 8)
    with st.expander("Advanced"):
        sampler, steps = sampler_picker(model_name)
        seed = st.number_input("Seed", 0, 2**31 - 1, 0)
        device = st.selectbox("Device", devices())

try:
    params = GenerateParams(
        model_name,
        tuple(f.strip() for f in formula.split(",") if f.strip()),
        groups,
        parse_energies(energy_text),
        int(count),
        steps,
        int(seed),
        sampler,
    )
    wishes = plan(params)
    model = load_model(model_name)
except UserError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()

st.caption(f"Energies are on the scale of {model.row.energy_method or 'no method'}, which {model_name} learned from.")
warnings = {
    sentence
    for name, natoms in {(w.formula, len(w.numbers)) for w in wishes}
    for sentence in unfamiliar(model, name, natoms, list(groups), list(params.energies))
}
for sentence in sorted(warnings):
    st.warning(sentence, icon=":material/info:")
if st.button(f"Generate {len(wishes):,} candidates", type="primary", icon=":material/auto_awesome:"):
    with sentences():
        go(job=queue.submit("generate", f"Generate {formula}", params, device))
