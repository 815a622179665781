"""A run that generates: its stages, what came of it, its candidates, and the way to more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from core.jobs import queue
from core.jobs.kinds import KINDS
from core.ui.candidate_view import show_run
from core.ui.experiment_view import experiment_table
from core.ui.generate_form import url_of
from core.ui.job_result import show_missing
from core.ui.widgets import counted, is_active, page, plain, sentences, watch_job
from core.workflows.chain import Chain, count_energies, new_of, stages_of, summarise
from core.workflows.context import UserError
from core.workflows.generate import GenerateParams, count_of
from core.workflows.methods import is_substitution, label_of
from core.workflows.relax import method_of
from core.workflows.store import store
from db import chains
from db.tables import Job

_NAMES = {"draw": "Draw", "judge": "Judge", "relax": "Relax", "energies": "Energies", "place": "Place on the hull"}
_ICONS = {
    "done": ":green[:material/check_circle:]",
    "active": ":blue[:material/progress_activity:]",
    "waiting": ":gray[:material/radio_button_unchecked:]",
    "stopped": ":orange[:material/pause_circle:]",
}


@dataclass(frozen=True)
class StageState:
    """One stage of a run: its key, "done", "active", "waiting" or "stopped", and what it has made in words."""

    key: str
    state: str
    about: str


def run_page(job_id: int | None) -> None:
    """Everything about the run that the URL names."""
    with sentences():
        if job_id is None:
            raise UserError("The link names no run: a run is named by its number, as in ?job=12.")
        job = queue.get(job_id)
        watch_job(job_id, "generate")
        if job.kind != "generate":
            raise UserError(f"Job {job_id} is no generation.")
        params: GenerateParams = KINDS["generate"].parse(job.params)
        st.caption(f"{plain(label_of(params.model))}: {plain(_conditions(params))}")
        show_stages(job, params, count_of(params))
        show_missing(job)
        if params.experiment:
            experiment_table()
            with st.expander("This run alone"):
                _lowest(job, params)
        else:
            _lowest(job, params)
        with st.container(horizontal=True):
            st.page_link(
                page("generate"), label="Generate more like this", icon=":material/content_copy:",
                query_params=url_of(params), help="The form as it was for this run, with the next seed.",
            )  # fmt: skip
            st.page_link(page("generate"), label="Generate something else", icon=":material/add:", query_params={})
        show_run(job)


def show_stages(job: Job, chain: Chain, total: int) -> None:
    """The stages of a run side by side; they renew themselves while it is active."""
    every = 1.5 if is_active(job) else None
    st.fragment(_stages, run_every=every)(job.id, chain, total)


def _stages(job_id: int, chain: Chain, total: int) -> None:
    found = stages(queue.get(job_id), chain, total)
    for column, stage in zip(st.columns(len(found)), found, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"{_ICONS[stage.state]} **{_NAMES[stage.key]}**  \n:small[{stage.about}]")


def stages(job: Job, chain: Chain, total: int) -> list[StageState]:
    """How far each stage has come, by what is in the store."""
    with store().session() as session:
        counts = chains.run_counts(session, job.id)
    about = {
        "draw": f"{counts.candidates:,} of {total:,}",
        "judge": f"{counts.valid:,} valid, {counts.unique:,} unique, {new_of(counts.novel)}"
        if counts.candidates
        else "–",
    }
    finished = {"draw": counts.candidates >= total, "judge": counts.candidates >= total}
    if chain.potential is not None:
        about |= _energies(job, chain, finished)
        finished["place"] = job.status == "done"
        about["place"] = "–" if is_active(job) else _placed(_result(job, chain), job.status)
    if job.status == "done":
        finished = dict.fromkeys(about, True)
    names = stages_of(chain)
    first = next((name for name in names if not finished.get(name)), "")
    now = {first, "judge"} if first == "draw" else {first}
    states = []
    for name in names:
        current = "active" if is_active(job) and job.status == "running" else "stopped"
        waiting = "waiting" if name not in now or job.status == "queued" else current
        states.append(StageState(name, "done" if finished.get(name) else waiting, about[name]))
    return states


def _result(job: Job, chain: Chain) -> dict[str, Any]:
    """What came of a run: of one that was stopped, of what it has done until then."""
    if job.result or is_active(job) or chain.potential is None:
        return job.result or {}
    try:
        return summarise(job.id, chain)
    except UserError:  # a potential that is gone
        return {}


def _energies(job: Job, chain: Chain, finished: dict[str, bool]) -> dict[str, str]:
    """What the stage of energies has done; writes into `finished` whether it is."""
    key = "energies" if chain.relax == "none" else "relax"
    result = job.result or {}
    try:
        method = str(result.get("method") or method_of(chain.potential or ""))
    except UserError as error:
        return {key: plain(str(error))}
    found = count_energies(job.id, method)
    if found.done and is_active(job):  # there may be fewer candidates than were asked for
        finished["draw"] = finished["judge"] = True
    finished[key] = finished["draw"] and found.done >= found.able
    if not found.done and not (finished[key] and job.status == "done"):
        return {key: f"with {method}"}
    able = f"{found.able:,} that can be" if key == "relax" else f"{found.able:,} that can have one"
    others = f", {found.others:,} more on request" if found.others else ""
    failed = f", {found.failed:,} failed" if found.failed else ""
    return {key: f"{found.done:,} of {able}{others}{failed}, {method}"}


def _placed(result: dict[str, Any], status: str) -> str:
    if status != "done":
        if not result.get("lowest"):
            return "ended before anything was placed"
        return f"of what it has done: {_placed(result, 'done')}"
    if not result.get("lowest"):
        return "no hull holds these elements" if result.get("unplaced") else "nothing to place"
    best = result["lowest"][0]
    value = f"{1000 * best['above']:.1f}".replace("-", "−")
    return f"{result['below_hull']:,} below it, lowest {value} meV/atom above it"


def _conditions(params: GenerateParams) -> str:
    """What was asked for, in a line."""
    shown = ", ".join(params.formulas[:4]) + (
        f" and {len(params.formulas) - 4} more" if len(params.formulas) > 4 else ""
    )
    parts = [shown, _groups(params)]
    if params.ladders:
        parts.append(
            f"ladder{'s' if len(params.ladders) > 1 else ''} {', '.join(map(str, params.ladders))} from the hull"
        )
    elif params.energies:
        parts.append(f"{len(params.energies)} energ{'y' if len(params.energies) == 1 else 'ies'}")
    how = "" if is_substitution(params.model) else f", {params.steps} steps, seed {params.seed}"
    return f"{'; '.join(parts)}; {params.count} each{how}"


def _groups(params: GenerateParams) -> str:
    if not params.space_groups:
        return "any space group"
    held = ", held" if params.hold_group and not is_substitution(params.model) else ""
    return counted(len(params.space_groups), "space group") + held


def _lowest(job: Job, params: GenerateParams) -> None:
    """The lowest candidate of each composition and ladder, where there are several."""
    result = _result(job, params)
    found, missing = result.get("lowest") or [], result.get("unplaced") or []
    if missing:
        st.caption(
            f":material/info: Not placed: no hull by {result.get('method')} holds {', '.join(missing[:6])}. "
            "The Hulls page makes one."
        )
    if not found:
        return
    hulls = "; ".join(result.get("hulls", {}).values())
    state = "relaxed" if found[0]["relaxed"] else "as drawn"
    st.markdown(f"**Lowest above the hull** :small[{plain(hulls)}, {state}]")
    frame = pd.DataFrame(
        [
            {
                "composition": row["formula"],
                "ladder": row["series"].removeprefix("ladder ") or "–",
                "above hull (meV/atom)": 1000 * row["above"],
                "formation energy (eV/atom)": row["formation"],
                "candidate": f"candidates?run={job.id}&candidate={row['candidate']}#{row['name']}",
                "placed": row["placed"],
            }
            for row in found[:200]
        ]
    )
    if not any(row["series"] for row in found):
        frame = frame.drop(columns="ladder")
    st.dataframe(
        frame,
        hide_index=True,
        height=min(300, 40 + 35 * len(frame)),
        alt="The lowest candidate of each composition and ladder",
        column_config={
            "above hull (meV/atom)": st.column_config.NumberColumn(format="%.1f"),
            "formation energy (eV/atom)": st.column_config.NumberColumn(format="%.4f"),
            "candidate": st.column_config.LinkColumn(display_text=r"#(.*)$"),
        },
    )
