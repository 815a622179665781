"""What a model is worth on a dataset: a form that measures it, and what was measured before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from core.evaluation.validity import PUBLISHED
from core.jobs import queue
from core.ui.devices import devices
from core.ui.evaluation_charts import groups_of, match_rates
from core.ui.model_card import percent
from core.ui.permits import permitted
from core.ui.widgets import ago, counted, go, job_log, pick_row, plain, selected_int, sentences, watch_job
from core.workflows.datasets import list_datasets
from core.workflows.evaluate import EvaluateParams, check_params
from core.workflows.method import About
from core.workflows.methods import is_substitution, label_of
from core.workflows.models import evaluations_of
from db.tables import Job

PARTS = {"val": "validation", "train": "training", "": "all"}
CONDITIONS = {"space-group": "space group", "energy": "energy"}
TASKS = {"generation": "generate it", "modification": "modify towards it"}
MATCHERS = {"paper": "paper: ltol 0.2, stol 0.3, 5°", "field": "field: ltol 0.3, stol 0.5, 10°"}
BY = {"by_size": "atoms in the cell", "by_elements": "number of elements", "by_system": "crystal system"}


def show_evaluations(model: About) -> None:
    """The form, the list, and the one that the URL names (`job`)."""
    found = evaluations_of(model.name, model.hash)
    job_id = selected_int("job")
    shown = next((job for job in found if job.id == job_id), None)
    with st.expander("Evaluate on a dataset", icon=":material/straighten:", expanded=not found):
        _form(model)
    if job_id is not None and shown is None:
        st.warning("The link names an evaluation that is not of this model.", icon=":material/info:")
    if not found:
        st.info(
            "Not evaluated yet. The form above measures it on structures that are new to it.", icon=":material/info:"
        )
        return
    _list(found, shown)
    if shown is not None:
        _show(shown)
    else:
        st.caption("Select an evaluation to see it.")


def _form(model: About) -> None:
    datasets = [d.name for d in list_datasets()]
    if not datasets:
        st.info("There is no dataset to measure it on.", icon=":material/dataset:")
        return
    own = model.dataset
    with st.form("evaluate", border=False):
        left, middle, right = st.columns([4, 4, 6], gap="large")
        dataset = left.selectbox("Dataset", datasets, index=datasets.index(own) if own in datasets else 0)
        part = left.segmented_control(
            "Part", list(PARTS), default="val", format_func=PARTS.__getitem__, required=True,
            help="Validation structures are of formulas that the model has not seen.",
        )  # fmt: skip
        limit = middle.number_input("Structures, at most", 1, 1_000_000, 200, step=50)
        given = middle.pills(
            "Given besides the composition", list(CONDITIONS), selection_mode="multi", default=list(CONDITIONS),
            format_func=CONDITIONS.__getitem__,
        )  # fmt: skip
        matcher = right.radio("Matcher", list(MATCHERS), format_func=MATCHERS.__getitem__)
        with st.expander("Advanced"):
            a, b, c, d = st.columns(4)
            samples = a.number_input("Samples per structure", 1, 100, 1, help="With several: how often one is right.")
            steps = 1
            if not is_substitution(model.name):
                steps = int(b.number_input("Steps of the sampler", 1, 1000, model.steps, help="The paper: 100."))
            seed = c.number_input("Seed", 0, 2**31 - 1, 0)
            device = d.selectbox("Device", devices())
        task = model.task or right.segmented_control(
            "Task", list(TASKS), default="generation", format_func=TASKS.__getitem__, required=True,
            help="Modify: the lowest polymorph of each formula is to be found from each of the others.",
        )  # fmt: skip
        asked = st.form_submit_button("Evaluate", type="primary", icon=":material/straighten:", **permitted())
    if asked:
        with sentences():
            params = EvaluateParams(
                model.name, dataset=dataset, split=str(part), conditions=("composition", *given), samples=int(samples),
                matcher=str(matcher), limit=int(limit), steps=steps, seed=int(seed),
                task="" if model.task else str(task),
            )  # fmt: skip
            check_params(params)
            go(job=queue.submit("evaluate", f"Evaluate {label_of(model.name)} on {dataset}", params, device))


def _list(found: list[Job], shown: Job | None) -> None:
    frame = pd.DataFrame([_row(job) for job in found])
    columns = {
        "match rate": st.column_config.NumberColumn(format="%.1f %%"),
        "valid": st.column_config.NumberColumn(format="%.1f %%"),
        "RMS": st.column_config.NumberColumn(format="%.3f", help="of the matched, in units of (V/N)^⅓"),
    }
    key = f"evaluations-{len(found)}-{found[0].id}-{shown.id if shown else ''}"
    chosen = pick_row(
        frame, key, columns, found.index(shown) if shown in found else None, alt="Evaluations; select one"
    )
    if chosen is not None:
        go(job=found[chosen].id)


def _row(job: Job) -> dict[str, object]:
    params, result = job.params, job.result or {}
    return {
        "job": job.id,
        "dataset": str(params.get("dataset") or "–"),
        "part": PARTS.get(str(params.get("split")), str(params.get("split"))),
        "structures": result.get("targets"),
        "matcher": str(params.get("matcher")),
        "match rate": _in_percent(result.get("match_rate")),
        "RMS": result.get("rms"),
        "valid": _in_percent(result.get("valid")),
        "status": job.status,
        "when": ago(job.created_at),
    }


def _in_percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _show(job: Job) -> None:
    if job.status != "done" or not job.result:
        watch_job(job.id, "evaluate")
        job_log(job)
        return
    params, result = job.params, job.result
    given = ", ".join(["composition", *(w for c, w in CONDITIONS.items() if c in params.get("conditions", ()))])
    part, matcher = PARTS.get(str(params.get("split")), ""), plain(str(params.get("matcher")))
    steps = counted(params.get("steps", 1), "step")
    how = f"{counted(params.get('samples', 1), 'sample')} each, {steps}, seed {params.get('seed')}"
    st.markdown(
        f"**On {plain(str(params.get('dataset')))}** :small[{part} part, {matcher} matcher, given {given}; {how}]"
    )
    _numbers(result)
    parts = {key: groups for key in BY if (groups := groups_of(result.get(key)))}
    for column, (key, groups) in zip(st.columns(max(1, len(parts))), parts.items(), strict=False):
        with column:
            st.markdown(f"**Match rate by {BY[key]}**")
            chart = match_rates(groups, BY[key], result.get("match_rate"))
            st.altair_chart(chart, alt=f"Bars: match rate by {BY[key]}")
    if parts:
        st.caption("Bars with 95 % intervals; dashed: all structures. What is not valid or not matched is a miss.")


def _numbers(result: Mapping[str, Any]) -> None:
    interval = result.get("ci95")
    rms, samples = result.get("rms"), int(result.get("samples") or 1)
    columns = st.columns(5)
    columns[0].metric("match rate", percent(result.get("match_rate")))
    columns[1].metric("95 % interval", "{:.0f}–{:.0f} %".format(*(100 * v for v in interval)) if interval else "–")
    columns[2].metric("RMS of matches", "–" if rms is None else f"{rms:.3f}", help="in units of (V/N)^⅓")
    columns[3].metric("valid", percent(result.get("valid")), help=PUBLISHED)
    if samples > 1:
        help_ = f"share matched by at least one of {samples} samples"
        columns[4].metric(f"match rate @ {samples}", percent(result.get("match_rate_at_k")), help=help_)
    else:
        columns[4].metric("structures", f"{result.get('targets', 0):,}")
    if result.get("task") == "modification" and result.get("structures"):
        left_out = int(result.get("pairs_left_out") or 0)
        st.caption(
            f"Of {result['structures']:,} structures the lowest of each formula is the target, the others are starts"
            + (f"; {counted(left_out, 'pair')} without a common cell of 64 sites left out." if left_out else ".")
        )
    for problem, count in (result.get("problems") or {}).items():
        st.caption(f":material/info: {counted(int(count), 'structure')} not drawn, a miss: {plain(str(problem))}")
