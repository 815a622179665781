"""Trained and shipped models and what datasets are templates for: what they are worth, and their way in and out."""

import streamlit as st

from core.ui.model_evaluate import show_evaluations
from core.ui.model_view import add_form, models_table, show_card, show_title
from core.ui.template_view import show_template_card, show_template_title
from core.ui.widgets import header, page, segments, selected, sentences
from core.workflows.methods import about_model, list_templates, name_of
from core.workflows.models import list_models

VIEWS = {"card": "Card", "evaluations": "Evaluate"}

header("Models", "What was trained here, what came with the app, what you bring; template substitution beside them.")
models, templates = list_models(), list_templates()
with st.expander("Add a model", icon=":material/add_circle:", expanded=selected("new") == "1"):
    add_form()
if not models:
    st.info("No model yet: train one, or add one above.", icon=":material/neurology:")
    st.page_link(page("train"), label="Train one", icon=":material/arrow_forward:")
    if not templates:
        st.stop()

wanted = name_of(selected("model") or "")
known = {m.name: about_model(m) for m in models} | {about.name: about for about in templates}
about = known.get(wanted) or next(iter(known.values()))
if wanted and wanted != about.name:
    st.warning("The link names a model that is not here; another one is shown.", icon=":material/info:")
models_table(models, templates, about.name)
model = next((m for m in models if m.name == about.name), None)
with sentences():
    show_title(model) if model else show_template_title(about)
    if segments("Show", VIEWS, "show", "job", of=about.name) == "evaluations":
        show_evaluations(about)
    elif model:
        show_card(model)
    else:
        show_template_card(about)
