"""Trained and shipped models with their cards."""

import streamlit as st

from core.ui.widgets import go, header, page, selected, sentences
from core.workflows.models import delete_model, list_models

header("Models", "What was trained here and what came with the app.")
models = list_models()
if not models:
    st.info("No model yet.", icon=":material/neurology:")
    st.page_link(page("train"), label="Train one", icon=":material/arrow_forward:")
    st.stop()
names = [m.name for m in models]
wanted = selected("model")
name = st.selectbox("Model", names, index=names.index(wanted) if wanted in names else 0)
st.query_params["model"] = name
model = models[names.index(name)]
card = model.card

columns = st.columns(4)
columns[0].metric("task", model.task)
columns[1].metric("parameters", f"{card['parameters'] / 1e6:.1f} M" if "parameters" in card else "–")
columns[2].metric("training", f"{card['training_minutes']:.1f} min" if "training_minutes" in card else "–")
columns[3].metric("steps", f"{card['steps']:,}" if "steps" in card else "–")
learned = card.get("dataset", "unknown")
st.caption(f"Learned from the dataset {learned}; energies are those of {model.energy_method or 'no method'}.")
if card.get("about"):
    st.write(card["about"])
metrics = card.get("metrics") or {}
if metrics:
    st.subheader("Measured")
    st.table({str(k).replace("_", " "): f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in metrics.items()})
use, remove = st.columns([3, 1])
with use:
    target = page("generate" if model.task == "generation" else "modify")
    st.page_link(target, label=f"Use {name}", icon=":material/arrow_forward:", query_params={"model": name})
with remove, st.popover("Delete", icon=":material/delete:", width="stretch"):
    st.write("Candidates that it made stay.")
    if st.button("Delete this model", type="primary"):
        with sentences():
            delete_model(name)
            go("*")
with st.expander("The whole card"):
    st.json({**card, "weights": model.hash})
