"""Models on a page: the table of all, one with its card, what can be done with it, and how one comes in."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from core.models.checkpoint import WEIGHTS
from core.ui import model_card as words
from core.ui.downloads import download
from core.ui.permits import owners_button, permitted
from core.ui.text import code
from core.ui.training_charts import losses
from core.ui.widgets import go, page, pick_row, plain, sentences
from core.workflows.context import UserError
from core.workflows.datasets import list_datasets
from core.workflows.method import About
from core.workflows.methods import label_of, parts_of
from core.workflows.model_files import MAX_WEIGHTS, add_upload, pack_model
from core.workflows.models import config_of, delete_model, is_shipped, rename_model
from db.tables import Model

MOST_TO_DOWNLOAD = 1024**3  # bytes
_COLUMNS = {  # pixels: all of them stand beside each other on a laptop
    "model": st.column_config.Column(width=150),
    "task": st.column_config.Column(width=84),
    "method": st.column_config.Column(width=84),
    "network": st.column_config.Column(width=112),
    "parameters (M)": st.column_config.NumberColumn("params (M)", format="%.2f", width=76),
    "dataset": st.column_config.Column(width=66),
    "match rate (paper)": st.column_config.NumberColumn(
        "match (paper)",
        format="%.1f %%",
        help="Match rate on validation structures, by the paper's tolerances.",
        width=94,
    ),
    "validation loss": st.column_config.NumberColumn("val. loss", format="%.4f", width=72),
    "made": st.column_config.Column(width=86),
}


def models_table(models: list[Model], templates: list[About], shown: str) -> None:
    """Every model, and below them what datasets are templates for; a click shows another one."""
    names = [m.name for m in models] + [about.name for about in templates]
    frame = pd.DataFrame([_row(m) for m in models] + [template_row(about) for about in templates])
    key = f"models-{shown}-{hashlib.sha256(repr(names).encode()).hexdigest()[:8]}"
    chosen = pick_row(frame, key, _COLUMNS, names.index(shown), alt="Models; select a row to see one")
    if chosen is not None:
        go("job", model=names[chosen])


def _row(model: Model) -> dict[str, object]:
    card, config = model.card, config_of(model)
    recipe = card.get("recipe")
    preset = recipe.get("preset", "") if isinstance(recipe, dict) else ""
    parameters, rate = words.number(card, "parameters"), words.match_rate(card)
    return {
        "model": model.name,
        "task": model.task,
        "method": str(config.get("method", "–")),
        "network": f"{config.get('network', '–')} {preset}".strip(),
        "parameters (M)": None if parameters is None else parameters / 1e6,
        "dataset": str(card.get("dataset") or "–"),
        "match rate (paper)": None if rate is None else 100 * rate,
        "validation loss": words.number(words.metrics_of(card), "validation_loss"),
        "made": str(card.get("made") or f"{model.created_at:%Y-%m-%d}"),
    }


def template_row(about: About) -> dict[str, object]:
    """A line of the table."""
    kind, model, dataset = parts_of(about.name)
    return {
        "model": label_of(about.name),
        "task": about.task or "both",
        "method": kind.rstrip(":"),
        "network": model or "–",
        "dataset": dataset,
        "made": "–",
    }


def show_title(model: Model) -> None:
    """Its name, what it is, and what can be done with it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"### {plain(model.name)}", width="stretch")
        design = page("generate" if model.task == "generation" else "modify")
        verb = "Generate with it" if model.task == "generation" else "Modify with it"
        st.page_link(design, label=verb, icon=":material/arrow_forward:", query_params={"model": model.name})
        _download(model)
        with st.popover("Rename", icon=":material/edit:"):
            _rename(model)
        with st.popover("Delete", icon=":material/delete:"):
            _delete(model)


def _download(model: Model) -> None:
    weights = Path(model.folder) / WEIGHTS
    size = weights.stat().st_size if weights.is_file() else 0
    if size > MOST_TO_DOWNLOAD:
        st.caption(f"Too large for the browser: `./run cli models pack {code(model.name)} FILE.zip`")
        return
    download(
        "Download",
        partial(pack_model, model.name),
        f"{model.name}.zip",
        "application/zip",
        disabled=not size,
        help=f"Weights ({size / 1e6:.1f} MB), configuration and card in one .zip, which *Add a model* takes back.",
    )


def _rename(model: Model) -> None:
    with st.form(f"rename-{model.id}", border=False):
        new = st.text_input("New name", model.name)
        st.caption("Candidates that it made carry the new name too.")
        if st.form_submit_button("Rename this model", type="primary", **permitted("The model", model)):
            with sentences():
                go("job", model=rename_model(model.name, new).name)


def _delete(model: Model) -> None:
    st.write("Candidates that it made stay.")
    if is_shipped(model):
        st.write(
            f"It came with the app: its files stay, and `./run cli models add {code(model.folder)}` brings it back."
        )
    if owners_button(f"Delete {plain(model.name)}", "The model", model):
        with sentences():
            delete_model(model.name)
            go("*")


def show_card(model: Model) -> None:
    """The card in words, and as it is."""
    card, config = model.card, config_of(model)
    rate = words.match_rate(card)
    columns = st.columns(5)
    columns[0].metric("task", plain(model.task))
    columns[1].metric("parameters", words.millions(words.number(card, "parameters")))
    columns[2].metric(
        "match rate (paper)",
        words.percent(rate),
        help="Share of validation structures that it draws again, by the paper's tolerances: ltol 0.2, stol 0.3, 5°.",
    )
    loss = words.number(words.metrics_of(card), "validation_loss")
    columns[3].metric("validation loss", "–" if loss is None else f"{loss:.4f}")
    columns[4].metric("training", words.cost(card).get("training", "–"))
    if about := card.get("about"):
        st.write(plain(str(about)))
    if limits := card.get("not_good_for"):
        st.caption(f":material/info: Not good for {plain(str(limits))}.")
    left, right = st.columns(2, gap="large")
    with left:
        _table("Learned from", words.learned_from(card, config, model.energy_method))
        _table("Cost", words.cost(card))
        st.markdown(f"**Licence** :small[{plain(str(card.get('licence') or 'not said'))}]")
        if data := card.get("data"):
            st.markdown(f"**Data** :small[{plain(str(data))}]")
    with right:
        _table("Measured", words.measured(card))
        if on := card.get("measured_on"):
            st.caption(f"On {plain(str(on))}.")
        _table("Recipe", words.recipe(card, config))
    if (series := words.curves(card)) and model.job_id is None:
        st.markdown("**Losses**")
        st.altair_chart(losses({model.name: series}).properties(height=200), alt="Losses against the step")
    _links(model)
    with st.expander("The whole card"):
        st.json({**card, "weights_sha256": model.hash, "folder": model.folder})


def _table(title: str, lines: dict[str, str]) -> None:
    st.markdown(f"**{title}**")
    if lines:
        st.table({key: plain(value) for key, value in lines.items()}, border="horizontal")
    else:
        st.caption("Nothing is known.")


def _links(model: Model) -> None:
    """To the dataset it learned from and to its training, where they are here."""
    hash_ = model.card.get("dataset_hash")
    dataset = next((d.name for d in list_datasets() if d.hash == hash_), None)
    with st.container(horizontal=True):
        if dataset:
            st.page_link(
                page("datasets"), label="Its dataset", icon=":material/dataset:", query_params={"dataset": dataset}
            )
        if model.job_id is not None:
            job = {"job": str(model.job_id)}
            st.page_link(page("train"), label="Its training", icon=":material/model_training:", query_params=job)
            st.page_link(
                page("train"), label="Train one like it", icon=":material/content_copy:",
                query_params={"like": str(model.job_id)},
            )  # fmt: skip


def add_form() -> None:
    """A model from the user's disk."""
    with st.form("add-model", border=False):
        files = st.file_uploader(
            "One .zip with model.safetensors and config.json, or these files themselves",
            type=["zip", "safetensors", "json"],
            accept_multiple_files=True,
            max_upload_size=MAX_WEIGHTS // 1024**2,
            help="As *Download* packs it. Pickled weights (.pt, .ckpt) are never opened: they can run code.",
        )
        name = st.text_input("Name", placeholder="as in its card", width=400)
        if st.form_submit_button("Add the model", type="primary", icon=":material/upload:", **permitted()):
            with sentences(), st.spinner("Checking"):
                try:
                    model = add_upload([(f.name, f) for f in files], name)
                except MemoryError as error:
                    raise UserError("The machine ran out of memory while it checked the weights.") from error
                go("*", model=model.name)
