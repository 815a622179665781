"""Trained and shipped models: their cards, what they are worth, and their way in and out."""

import streamlit as st

from core.ui.model_evaluate import show_evaluations
from core.ui.model_view import add_form, models_table, show_card, show_title
from core.ui.widgets import header, page, segments, selected, sentences
from core.workflows.models import list_models

VIEWS = {"card": "Card", "evaluations": "Evaluate"}

header("Models", "What was trained here, what came with the app, and what you bring.")
models = list_models()
with st.expander("Add a model", icon=":material/add_circle:", expanded=selected("new") == "1"):
    add_form()
if not models:
    st.info("No model yet: train one, or add one above.", icon=":material/neurology:")
    st.page_link(page("train"), label="Train one", icon=":material/arrow_forward:")
    st.stop()

wanted = selected("model")
model = next((m for m in models if m.name == wanted), models[0])
if wanted and wanted != model.name:
    st.warning("The link names a model that is not here; another one is shown.", icon=":material/info:")
models_table(models, model.name)
with sentences():
    show_title(model)
    if segments("Show", VIEWS, "show", "job", of=model.id) == "card":
        show_card(model)
    else:
        show_evaluations(model)
