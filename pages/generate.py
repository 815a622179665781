"""Generate: a composition, space groups, energies; watch; look at what came out."""

import streamlit as st

from core.ui.generate_form import generate_form
from core.ui.run_view import run_page
from core.ui.widgets import header, page, selected, selected_int, sentences
from core.workflows.methods import list_methods

header("Generate", "New crystals of a composition, in the space groups and at the energies you ask for.")
if selected("job") is not None:
    run_page(selected_int("job"))
    st.stop()

models = list_methods("generation")
if not models:
    st.info("There is no model for generation yet.", icon=":material/neurology:")
    st.page_link(page("train"), label="Train one", icon=":material/arrow_forward:")
    st.stop()
with sentences():
    generate_form(models)
