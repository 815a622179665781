"""One training on the page: its card, curves, other trainings beside it, the crystals it draws, its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from core.jobs import queue
from core.jobs.kinds import KINDS
from core.samplers.registry import METHODS
from core.ui import training_charts as charts
from core.ui.model_card import percent, recipe
from core.ui.training_samples import show_samples
from core.ui.widgets import (
    ago,
    counted,
    go,
    is_active,
    job_card,
    job_log,
    page,
    pages,
    pick_row,
    plain,
    segments,
    selected,
    sentences,
    training_metrics,
)
from core.workflows import trainings
from core.workflows.context import UserError
from core.workflows.train import TrainParams, plan_of
from db.tables import Job

PAGE = 12
MOST_COMPARED = 5
PARTS = {"loss": "Total", "loss_frac": "Coordinates", "loss_lattice": "Cell"}
AXES = {"step": "Steps", "structures": "Structures seen"}


def show_training(job_id: int) -> None:
    """Everything about one training; what it is compared with and which loss is shown are in the URL."""
    job = queue.get(job_id)
    if job.kind != "train":
        raise UserError(f"Job {job_id} is no training: the page Jobs shows it.")
    trainings.tidy(job)
    active = is_active(job)
    # of a training that stands still no part: a click in a part that was just drawn anew may be lost
    head = st.fragment(_head, run_every=1.0) if active else _head
    head(job_id, active)
    _ways_on(job)
    others, part, axis = _controls(job)
    st.fragment(_curves, run_every=2.0 if active else None)(job_id, others, part, axis)
    st.fragment(_samples, run_every=10.0 if active else None)(job_id, active)
    with st.expander("Settings"), sentences():
        _settings(job)
    job_log(job)


def _head(job_id: int, active: bool) -> None:
    """The card and the numbers of now; the page is run again when the training ends."""
    job = queue.get(job_id)
    if active and not is_active(job):
        st.rerun()  # before anything is drawn: a click on a button of this run would be lost with it
    job_card(job, "train", more=False)
    curves = trainings.read_curves(job)
    if curves.step:
        training_metrics(job, curves)
    elif job.status == "running":
        st.caption("The first numbers come within seconds.")
    elif job.status == "queued":
        st.caption("Its curves appear here when it runs.")


def _ways_on(job: Job) -> None:
    model = trainings.model_of(job)
    with st.container(horizontal=True, vertical_alignment="center"):
        if model is not None:
            use = page("generate" if model.task == "generation" else "modify")
            link = {"model": model.name}
            st.page_link(use, label=f"Use {plain(model.name)}", icon=":material/arrow_forward:", query_params=link)
            st.page_link(page("models"), label="Its card", icon=":material/neurology:", query_params=link)
        if st.button("Clone with changes", icon=":material/content_copy:", type="tertiary"):
            go("*", like=job.id)
        if st.button("All trainings", icon=":material/list:", type="tertiary"):
            go("*")
    if job.status == "done" and model is None:
        st.caption("Its model was deleted.")


def _controls(job: Job) -> tuple[list[int], str, str]:
    """(jobs to compare with, which loss, axis)."""
    known = {t.job.id: t.job for t in trainings.list_trainings(limit=200) if t.job.id != job.id}
    wanted = [int(i) for i in (selected("compare") or "").split(",") if i.isascii() and i.isdecimal() and len(i) < 12]
    others = [i for i in dict.fromkeys(wanted) if i in known][:MOST_COMPARED]
    left, middle, right = st.columns([3, 2, 4], vertical_alignment="bottom")
    part = segments("Loss", PARTS, "part", where=left, quiet=False)
    axis = segments("Against", AXES, "axis", where=middle, quiet=False) if others else "step"
    if known:
        chosen = right.multiselect(
            "Compare with",
            list(known),
            default=others,
            format_func=lambda i: name_of(known[i]),
            max_selections=MOST_COMPARED,
            placeholder="other trainings",
            key=f"compare-{job.id}-{others}",
        )
        if chosen != others:
            if chosen:
                go(compare=",".join(map(str, chosen)))
            go("compare", "axis")
    return others, part, axis


def name_of(job: Job) -> str:
    """ "borides-small (job 12)"."""
    return f"{job.params.get('name', 'unnamed')} (job {job.id})"


def _curves(job_id: int, others: list[int], part: str, axis: str) -> None:
    jobs = [queue.get(i) for i in (job_id, *others)]
    runs = {name_of(job): trainings.read_curves(job).points for job in jobs}
    mine = runs[name_of(jobs[0])]
    if not mine:
        return
    scale = {name_of(job): float(_values(job).get("batch") or 1) for job in jobs} if axis == "structures" else None
    left, right = st.columns(2, gap="medium")
    with left:
        how = "solid: validation, dotted: training" if others else "a dot marks the lowest of validation"
        st.markdown(f"**Loss** :small[{how}]")
        st.altair_chart(charts.losses(runs, part, scale), alt="Curves: training and validation loss")
        kinds = {str(_values(job).get("loss")) for job in jobs}
        if len(kinds) > 1:
            st.caption(f":material/info: Losses of several kinds ({', '.join(sorted(kinds))}): their heights differ.")
    with right:
        how = "match rate, solid: field's tolerances, dashed: paper's" if others else "for validation structures"
        st.markdown(f"**Crystals drawn** :small[{how}]")
        if any(name in points for points in runs.values() for name in charts.RATES):
            st.altair_chart(charts.rates(runs, scale), alt="Curves: match rate and validity of drawn crystals")
        else:
            none = "Some are drawn and matched now and then; the first after a while of training."
            st.caption(none if is_active(jobs[0]) else "None were drawn: it was too short for that.")
    small = st.columns(3, gap="medium")
    paces = (
        ("learning_rate", "learning rate", ".1e"), ("structures_per_s", "structures/s", "~s"),
        ("memory_mb", "memory (MB)", "~s"),
    )  # fmt: skip
    for column, (name, title, form) in zip(small, paces, strict=True):
        column.altair_chart(charts.pace(runs, name, title, form, scale), alt=f"Curve: {title}")


def _values(job: Job) -> Mapping[str, Any]:
    """Its hyperparameters with the preset's defaults; as written where this version no longer knows one of them."""
    try:
        return plan_of(KINDS["train"].parse(job.params)).values
    except UserError:
        return job.params


def _samples(job_id: int, active: bool) -> None:
    with sentences():
        show_samples(queue.get(job_id), active)


def _settings(job: Job) -> None:
    with sentences():
        _show_settings(KINDS["train"].parse(job.params))


def _show_settings(params: TrainParams) -> None:
    plan = plan_of(params)
    lines = {"dataset": params.dataset, "task": params.task}
    budget = [
        f"{params.minutes:g} minutes" if params.minutes else "",
        counted(params.steps, "step") if params.steps else "",
    ]
    lines["budget"] = " or ".join(b for b in budget if b)
    lines |= recipe({"recipe": asdict(params) | plan.values}, {"method": plan.method, "network": params.network})
    items = list(lines.items())
    half = -(-len(items) // 2)
    for column, part in zip(st.columns(2, gap="large"), (items[:half], items[half:]), strict=True):
        column.table({key: plain(value) for key, value in part}, border="horizontal")


def list_trainings() -> None:
    """Earlier trainings and those that run; a click opens one."""
    total = trainings.count_trainings()
    if not total:
        return
    st.subheader("Trainings")
    offset = pages(total, PAGE, "page")
    listed = trainings.list_trainings(PAGE, offset)
    frame = pd.DataFrame([_row(t) for t in listed])
    columns = {
        "progress": st.column_config.ProgressColumn(format="percent", width="small"),
        "validation loss": st.column_config.NumberColumn(format="%.4f", help="the lowest"),
    }
    chosen = pick_row(
        frame, f"trainings-{offset}-{listed[0].job.id if listed else 0}", columns, most=500, alt="Trainings; select one"
    )
    st.caption("Select a row to open the training.")
    if chosen is not None:
        go("*", job=listed[chosen].job.id)


def _row(training: trainings.Training) -> dict[str, object]:
    job, params = training.job, training.job.params
    usual = next(iter(METHODS.get(str(params.get("task")), {"–": None})))
    return {
        "job": job.id,
        "model": str(params.get("name", "–")),
        "status": training.state,
        "progress": job.progress,
        "method": str(params.get("method") or usual),
        "network": f"{params.get('network', '')} {params.get('preset', '')}",
        "dataset": str(params.get("dataset", "–")),
        "validation loss": training.best_loss,
        "match rate (paper)": percent(training.match_rate),
        "submitted": ago(job.created_at),
    }
