"""What to train: choices that live in the URL, hyperparameters with their defaults, and a start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.jobs import queue
from core.jobs.kinds import KINDS
from core.models.registry import NETWORKS
from core.samplers.diffusion import SCHEDULES
from core.samplers.flow import PATHS
from core.samplers.geometry import GEOMETRIES
from core.samplers.registry import ABOUT, METHODS
from core.training.losses import ABOUT as LOSSES
from core.training.presets import PAPER_VALUES, PRECISIONS, hyperparameters
from core.ui.devices import devices
from core.ui.permits import permitted
from core.ui.train_cost import preset_captions, show_cost
from core.ui.widgets import counted, go, plain, selected, selected_int, sentences
from core.workflows.context import UserError
from core.workflows.models import list_models
from core.workflows.train import TrainParams, check_params
from db.tables import Dataset

TASKS = {
    "generation": "crystals are drawn from noise",
    "modification": "a given structure is moved towards a stable polymorph",
}
_NUMBERS: dict[str, tuple[str, float, float, float, str, str]] = {  # label, least, most, step, format, what it is
    "batch": ("Batch", 0, 8192, 16, "%d", "Structures per step."),
    "learning_rate": ("Learning rate", 0.0, 1.0, 1e-4, "%.1e", "At its peak; a cosine takes it down over the budget."),
    "warmup": ("Warm-up steps", 0, 100_000, 100, "%d", "The learning rate rises over so many steps."),
    "clip": ("Gradient norm, at most", 0.0, 1000.0, 0.5, "%g", "0: not clipped."),
    "weight_decay": ("Weight decay", 0.0, 1.0, 0.01, "%g", "Of AdamW."),
    "ema": ("Decay of averaged weights", 0.0, 0.99999, 0.001, "%g", "The averaged weights are kept; 0: none."),
    "drop": ("Conditions left out", 0.0, 0.9, 0.05, "%g", "Share, so that the model serves without them too."),
    "noise": ("Blur of the start", 0.0, 1.0, 0.01, "%g", "In cell edges, so that many crystals come from one start."),
}
_PAIRS = {
    "all": "of every formula with two structures or more, up to 8 a pass",
    "paper": "of formulas with seven or more, one a pass (the paper's text)",
    "paper-code": "balanced by cell size, the two lowest as targets (the authors' code)",
}
_CHOICES: dict[str, tuple[str, Mapping[str, str]]] = {
    "loss": ("Loss", LOSSES),
    "geometry": ("Geometry", GEOMETRIES),
    "schedule": ("Noise schedule", dict.fromkeys(SCHEDULES, "")),
    "path": ("Way from noise to crystal", PATHS),
    "precision": ("Precision", PRECISIONS),
    "pairs": ("Pairs of polymorphs", _PAIRS),
}
_DIFFUSION = ("ddpm", "ddim", "palette")


def train_form(datasets: list[Dataset]) -> None:
    """The whole form; what is chosen is in the URL, `like` names a training to begin with."""
    with sentences():
        base = _base()
        left, right = st.columns([3, 2], gap="large")
        with left:
            params = _choices(datasets, base)
        with right:
            key = selected("like") or ""
            name = st.text_input(
                "Name of the model", _next_name(base.name), placeholder="borides-small", key=f"n-{key}"
            )
            a, b = st.columns(2)
            minutes = a.number_input(
                "Minutes of training", 0.0, 100_000.0, _minutes(base),
                step=5.0, format="%g", key=f"minutes-{key}",
                help="Or a number of steps under Advanced: the first to end counts.",
            )  # fmt: skip
            device = b.selectbox("Device", devices())
            cost = st.container()
            start = st.button("Start training", type="primary", icon=":material/play_arrow:", **permitted())
        with st.expander("Advanced"):
            params = _advanced(replace(params, name=name.strip(), minutes=minutes), base)
        with cost, sentences():
            show_cost(params, device)
        if start:
            check_params(params)
            go("*", job=queue.submit("train", f"Train {params.name}", params, device))


def _base() -> TrainParams:
    """The params of the training that the URL names as a model (`like`), else nothing chosen. Raises UserError."""
    job_id = selected_int("like")
    if job_id is None:
        return TrainParams("", "")
    job = queue.get(job_id)
    if job.kind != "train":
        raise UserError(f"Job {job_id} is no training that could be cloned.")
    left, right = st.columns([5, 1], vertical_alignment="center")
    left.info(
        f"As {plain(str(job.params.get('name')))} (job {job.id}): change what you like.", icon=":material/content_copy:"
    )
    if right.button("Begin anew", icon=":material/close:", width="stretch"):
        go("*")
    base: TrainParams = KINDS["train"].parse(job.params)
    return base


def _minutes(base: TrainParams) -> float | None:
    if base.minutes:
        return min(max(float(base.minutes), 0.1), 100_000.0)
    return None if base.steps else 10.0


def _next_name(name: str) -> str:
    """ "borides" -> "borides-2": the first that no model has; "" for no name."""
    taken = {model.name for model in list_models()}
    stem = name.rsplit("-", 1)[0] if name.rpartition("-")[2].isdecimal() else name
    return next(n for n in (f"{stem[:54]}-{i}" for i in range(2, 10_000)) if n not in taken) if name else ""


def _choices(datasets: list[Dataset], base: TrainParams) -> TrainParams:
    """Dataset, task, method, network and preset."""
    names = [d.name for d in datasets]
    dataset = _pick("dataset", names, base.dataset)
    chosen = st.selectbox("Dataset", names, index=names.index(dataset), key=f"dataset-{dataset}")
    if chosen != dataset:
        go(dataset=chosen)
    summary = datasets[names.index(dataset)].summary
    held = summary["validation"]
    st.caption(f"{counted(summary['structures'] - held, 'structure')} to learn from, {held:,} for validation.")
    a, b = st.columns(2, gap="medium")
    with a:
        task = _radio("Task", "task", TASKS, base.task, gone="method")
        method = _radio("Method", "method", {m: ABOUT[m] for m in METHODS[task]}, base.method)
    with b:
        network = _radio("Network", "network", {n: c.about for n, c in NETWORKS.items()}, base.network, gone="preset")
        params = replace(base, dataset=dataset, task=task, method=method, network=network)
        presets = dict(reversed(NETWORKS[network].presets.items()))
        wanted = base.preset if base.preset in presets else "small"
        preset = _radio("Preset", "preset", preset_captions(params, presets), wanted)
    return replace(params, preset=preset)


def _radio(label: str, name: str, options: Mapping[str, str], default: str, gone: str = "") -> str:
    """One of a few, each with a line on what it is; the choice is in the URL."""
    current = _pick(name, list(options), default)
    chosen = st.radio(
        label, list(options), index=list(options).index(current), captions=list(options.values()),
        key=f"{name}-{current}-{len(options)}", horizontal=False,
    )  # fmt: skip
    if chosen != current:
        go(*([gone] if gone else []), **{name: chosen})
    return current


def _pick(name: str, options: list[str], default: str) -> str:
    """What the URL says, else the default, else the first."""
    asked = selected(name)
    if asked and asked not in options:
        st.caption(f":material/info: The link names the {name} {plain(asked[:60])}, which is not here.")
    return next((v for v in (asked, default) if v in options), options[0])


def _advanced(params: TrainParams, base: TrainParams) -> TrainParams:
    """Hyperparameters; what equals the preset's default is left to the preset."""
    defaults = hyperparameters(params.network, params.preset, params.method)
    key = f"{selected('like') or ''}-{params.network}-{params.preset}-{params.method}"
    shown = [n for n in _NUMBERS if n != "noise" or params.method == "cfm"]
    changes: dict[str, Any] = {}
    columns = st.columns(4)
    for i, name in enumerate(shown):
        changes[name] = _number(columns[i % 4], name, defaults[name], getattr(base, name), key)
    wanted = ["loss", "geometry", "precision"]
    wanted += ["schedule"] if params.method in _DIFFUSION else []
    wanted += ["path"] if params.method.startswith("cfm") else []
    wanted += ["pairs"] if params.task == "modification" else []
    halves = st.columns(2)
    for i, name in enumerate(wanted):
        changes[name] = _option(halves[i % 2], name, defaults[name], getattr(base, name), key, params.method)
    a, b, c, d = st.columns(4, vertical_alignment="bottom")
    steps = a.number_input("Steps, at most", 1, 10**9, base.steps, key=f"steps-{key}", help="Empty: the minutes alone.")
    patience = b.number_input(
        "Patience", 1, 10_000, base.patience, key=f"patience-{key}",
        help="Validations in a row without a better loss after which it ends early; empty: never.",
    )  # fmt: skip
    seed = c.number_input("Seed", 0, 2**31 - 1, base.seed, key=f"seed-{key}", help="The paper: 42.")
    compiled = d.toggle("Compile", base.compile, key=f"compile-{key}", help="torch.compile: a slow start, then faster.")
    return replace(params, **changes, steps=steps, patience=patience, seed=int(seed), compile=compiled)


def _number(where: DeltaGenerator, name: str, default: float, known: float | None, key: str) -> float | None:
    label, least, most, step, form, about = _NUMBERS[name]
    whole = form == "%d"
    kind = int if whole else float
    first = min(max(default if known is None else known, least), most)
    value = where.number_input(
        label, kind(least), kind(most), kind(first), kind(step), format=form,
        help=f"{about} The paper: {PAPER_VALUES[name]:g}. This preset: {default:g}.", key=f"{name}-{key}",
    )  # fmt: skip
    return None if value == default else value


def _option(where: DeltaGenerator, name: str, default: str, known: str, key: str, method: str) -> str:
    label, options = _CHOICES[name]
    if name == "loss" and method != "regression":
        options = {k: v for k, v in options.items() if k in ("squared", "l1", default, known)}
    names = list(options)
    paper = "periodic" if (name, method) == ("loss", "regression") else PAPER_VALUES[name]
    value = where.selectbox(
        label, names, index=names.index(known if known in names else default), key=f"{name}-{key}",
        format_func=lambda k: f"{k}: {options[k]}" if options[k] else k,
        help=f"The paper: {paper}. This preset: {default}.",
    )  # fmt: skip
    return "" if value == default else value
