"""Widgets that pages share: jobs that are watched, selections in the URL, numbers with units."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.cli.common import duration
from core.jobs import queue
from core.settings import accounts
from core.ui.permits import owners_button, permitted
from core.ui.text import plain, said
from core.workflows import trainings
from core.workflows.context import UserError
from core.workflows.store import store
from db import jobs as job_rows
from db.tables import Job

COLOURS = {
    "queued": "gray",
    "running": "blue",
    "done": "green",
    "failed": "red",
    "cancelled": "gray",
    "paused": "violet",
    "lost": "orange",
}
_ICONS = {
    "import": "dataset",
    "prototypes": "dataset",
    "train": "model_training",
    "evaluate": "straighten",
    "relax": "compress",
    "vasp": "upload_file",
}


@contextmanager
def sentences() -> Iterator[None]:
    """Errors that a user can mend are shown as a sentence where they arise; the rest of the page goes on."""
    try:
        yield
    except UserError as error:
        st.error(said(str(error)), icon=":material/error:")


def page(name: str) -> str:
    """A page for `st.page_link`, which counts paths from the router."""
    return f"../../pages/{name}.py"


def header(title: str, about: str) -> None:
    """A page's name and one line on what it is for."""
    st.title(title)
    st.caption(about)


def go(*gone: str, **changes: object) -> NoReturn:
    """Change the URL (`gone` are keys to take away, "*" all of them) and run the page again.

    The pause lets the new address reach the browser: what still waits to be sent when a script is rerun is lost.
    The empty element gives way to a click of the user in the meantime, which the rerun would overwrite.
    """
    kept = {} if "*" in gone else {k: v for k, v in st.query_params.to_dict().items() if k not in gone}
    new = {k: [str(x) for x in v] if isinstance(v, (list, tuple)) else str(v) for k, v in changes.items()}
    st.query_params.from_dict({**kept, **new})
    time.sleep(0.05)
    st.empty()
    st.rerun()


def selected(name: str) -> str | None:
    """What the URL selects: `?job=12`."""
    return st.query_params.get(name)


def selected_int(name: str) -> int | None:
    """A number in the URL; None where it is missing or no number."""
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else None


def segments(
    label: str,
    options: Mapping[str, str],
    name: str,
    *gone: str,
    where: DeltaGenerator | None = None,
    of: object = "",
    quiet: bool = True,
) -> str:
    """One of a few values with their labels, the first by default; the choice is in the URL under `name`.

    gone: keys of the URL that mean nothing to another choice; of: what the choice belongs to, where that can change;
    quiet: the label is for screen readers only
    """
    wanted = selected(name) or ""
    current = wanted if wanted in options else next(iter(options))
    chosen = (where or st.container()).segmented_control(
        label,
        list(options),
        default=current,
        format_func=options.__getitem__,
        key=f"{name}-{of}-{current}",  # the URL says what is chosen, also after the browser's Back
        label_visibility="collapsed" if quiet else "visible",
        required=True,
    )
    if chosen and chosen != current:
        go(*gone, **{name: chosen})
    return current


def pick_row(
    frame: pd.DataFrame,
    key: str,
    columns: Mapping[str, Any] | None = None,
    shown: int | None = None,
    most: int = 330,
    alt: str = "Select a row to open it",
) -> int | None:
    """A table of which one row can be chosen; returns the row that was chosen now, None for the one that is `shown`.

    columns: column_config; most: pixels, after which it scrolls; alt: what it is, for screen readers
    """
    event = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row" if shown is None else "single-row-required",
        selection_default={"selection": {"rows": [] if shown is None else [shown]}},
        key=key,
        column_config=columns,
        height=min(most, 40 + 35 * len(frame)),
        placeholder="–",
        alt=alt,
    )
    rows = [i for i in event["selection"]["rows"] if i < len(frame) and i != shown]
    return rows[0] if rows else None


def picked(event: Any) -> dict[str, Any]:
    """What was clicked in a chart: {field: value}, or {field: [low, high]} of a brush; {} for nothing."""
    found = event.get("selection", {}).get("pick", {})
    if isinstance(found, list):
        return dict(found[0]) if found else {}
    return dict(found)


def badge(status: str) -> str:
    """A status as coloured Markdown."""
    return f":{COLOURS.get(status, 'gray')}-badge[{status}]"


def counted(number: int, thing: str) -> str:
    """ "1 row", "1,200 rows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def energy(value: float | None, digits: int = 3) -> str:
    """ "−0.412 eV/atom", or a dash."""
    if value is None:
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f} eV/atom".replace("-", "−")  # no minus before a zero


def watch_job(job_id: int, key: str) -> None:
    """A card of one job that renews itself while the job is active, and reruns the page when it ends."""
    with sentences():
        job = queue.get(job_id)
        if is_active(job):
            _live_card(job_id, key)
        else:
            job_card(job, key)


def is_active(job: Job) -> bool:
    """Does it wait, run, or is it about to be started again?"""
    return job.status in job_rows.ACTIVE or (job.status == "lost" and queue.will_retry(job))


@st.fragment(run_every=1.0)
def _live_card(job_id: int, key: str) -> None:
    job = queue.get(job_id)
    if not is_active(job):
        st.rerun()  # before anything is drawn: a click on a button of this run would be lost with it
    job_card(job, key)


def job_card(job: Job, key: str, more: bool = True) -> None:
    """Title, status, progress and what can be done about it; `more`: a training's numbers, and the way to its page."""
    state = trainings.state_of(job) if job.kind == "train" else job.status
    with st.container(border=True):
        title, action = st.columns([3, 2] if job.kind == "train" else [3, 1], vertical_alignment="center")
        icon = _ICONS.get(job.kind, "auto_awesome")
        of = f", of {plain(job.owner)}" if accounts() else ""
        title.markdown(f":material/{icon}: **{plain(job.title)}** {badge(state)} :small[job {job.id}{of}]")
        with action.container(horizontal=True, horizontal_alignment="right"):
            if job.kind == "train":
                training_actions(job, key)
            else:
                _job_action(job, key)
        _card_state(job, state)
        if job.kind == "train" and more:
            _training(job)


def _card_state(job: Job, state: str) -> None:
    """Progress, place in the queue, or what ended it, in words."""
    if state == "running":
        st.progress(min(1.0, job.progress or 0.0), text=_progress_text(job))
    elif state == "queued":
        with store().session() as session:
            ahead = job_rows.queue_position(session, job)
        st.caption(f"Waiting for {job.device}: {ahead} before it in the queue." if ahead else f"Next on {job.device}.")
    elif state == "failed":
        st.error(said(job.error) or "It failed; the log says more.", icon=":material/error:")
        if queue.is_refused(job):
            st.caption("Change that and start a new one: this one would fail in the same way again.")
    elif state == "lost":
        st.warning("Its process disappeared. " + ("It is being started again." if is_active(job) else "Resume it."))
    elif state == "paused":
        done = f"{100 * (job.progress or 0):.0f} %"
        st.caption(f"Stopped after {done} of its budget. Resume goes on from its checkpoint.")


def _job_action(job: Job, key: str) -> None:
    mine = partial(permitted, "The job", job)
    if job.status in job_rows.ACTIVE:
        asked = job.cancel_requested_at is not None
        if st.button("Stopping …" if asked else "Cancel", key=f"{key}-cancel", **mine(disabled=asked)):
            _do(queue.cancel, job.id)
    elif queue.can_resume(job) and st.button("Resume", key=f"{key}-resume", **mine()):
        _do(queue.resume, job.id)


def training_actions(job: Job, key: str) -> None:
    """Pause, finish, cancel; resume, give up."""
    mine = partial(permitted, "The job", job)
    if job.status == "running":
        finishing, asked = trainings.is_finishing(job), job.cancel_requested_at is not None
        if finishing or asked:
            st.button("Finishing …" if finishing else "Stopping …", key=f"{key}-asked", disabled=True)
            return
        about = "Stops it; its checkpoint stays."
        if st.button("Pause", key=f"{key}-cancel", icon=":material/pause:", **mine(help=about)):
            _do(queue.cancel, job.id)
        about = "Ends it and keeps its model."
        if st.button("Finish now", key=f"{key}-finish", icon=":material/flag:", **mine(help=about)):
            _do(trainings.finish, job.id)
        _give_up(job, key, "Cancel", "It stops, and what it has learned is thrown away. *Pause* keeps it.")
    elif job.status == "queued":
        _job_action(job, key)
    elif queue.can_resume(job):
        goes_on = trainings.can_go_on(job)
        label, icon = ("Resume", ":material/play_arrow:") if goes_on else ("Start again", ":material/replay:")
        if st.button(label, key=f"{key}-resume", icon=icon, **mine()):
            _do(queue.resume, job.id)
        if goes_on:
            _give_up(job, key, "Give up", "What it has learned is thrown away: it cannot go on then.")


def _give_up(job: Job, key: str, label: str, about: str) -> None:
    with st.popover(label, icon=":material/delete:", key=f"{key}-give-up-{label}"):
        st.write(f"{about} Its curves stay.")
        if owners_button("Throw it away", "The job", job, key=f"{key}-thrown"):
            _do(_throw_away, job.id)


def _throw_away(job_id: int) -> None:
    job = queue.get(job_id)
    if job.status == "running":
        queue.cancel(job_id)
    trainings.give_up(job)


def _do(action: Callable[[int], object], job_id: int) -> None:
    """A button's work. What went wrong is said in a corner: the live part around the button is soon drawn anew."""
    try:
        action(job_id)
    except UserError as error:
        st.toast(said(str(error)), icon=":material/error:", duration="long")
    else:
        st.rerun()


def _progress_text(job: Job) -> str:
    parts = [plain(job.message) or "Starting"]
    if job.eta_s:
        parts.append(f"{duration(job.eta_s)} to go")
    parts.append(f"on {job.device}")
    return " · ".join(parts)


def _training(job: Job) -> None:
    """The latest numbers of a training, and the way to its curves."""
    curves = trainings.read_curves(job)
    if curves.step:
        training_metrics(job, curves)
    elif job.status == "running":
        st.caption("The first numbers come within seconds.")
    st.page_link(
        page("train"), label="Curves and samples", icon=":material/show_chart:", query_params={"job": str(job.id)}
    )


def training_metrics(job: Job, curves: trainings.Curves) -> None:
    """Its best values, and beside them those of now."""
    columns = st.columns(6)
    columns[0].metric("step", f"{curves.step:,}")
    columns[1].metric("training loss", _number(curves.last("loss"), ".4f"))
    for column, name, label, form in (
        (columns[2], "validation_loss", "validation loss", ".4f"),
        (columns[3], "match_rate_paper", "match rate (paper)", ".1%"),
    ):
        step, best = curves.best.get(name, (0, None))
        column.metric(
            label,
            _number(best, form),
            delta=f"now {_number(curves.last(name), form)}" if best is not None else None,
            delta_color="off",
            delta_arrow="off",
            help=f"The best, at step {step:,}." + (" By the paper's tolerances." if "match" in name else "")
            if best is not None
            else None,
        )
    columns[4].metric("structures/s", _number(curves.last("structures_per_s"), ",.0f"))
    columns[5].metric("memory", f"{_number(curves.last('memory_mb'), ',.0f')} MB", help=f"Most of {job.device} so far.")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}".replace("%", " %")


def job_log(job: Job) -> None:
    """The end of a job's log, closed until opened; it renews itself while the job is active."""
    every = 2.0 if job.status in job_rows.ACTIVE else None
    st.fragment(_log, run_every=every)(job)


def _log(job: Job) -> None:
    with st.expander("Log"):
        text = queue.logs(job.id, 60)
        st.code(text or "Nothing written yet.", language=None)
        if job.runner == "local":
            st.caption(f"The whole log: {job.folder}/log.txt")


def pages(total: int, size: int, key: str) -> int:
    """A pager under a long table; returns the offset. The page is in the URL."""
    count = max(1, -(-total // size))
    if count == 1:
        return 0
    current = min(max(1, selected_int(key) or 1), count)
    left, middle, right = st.columns([1, 2, 1], vertical_alignment="center")
    if left.button("Previous page", key=f"{key}-previous", disabled=current == 1, icon=":material/chevron_left:"):
        go(**{key: current - 1})
    first = (current - 1) * size
    middle.caption(f"{first + 1:,} to {min(first + size, total):,} of {total:,}")
    if right.button("Next page", key=f"{key}-next", disabled=current == count, icon=":material/chevron_right:"):
        go(**{key: current + 1})
    return first


def ago(seconds: float) -> str:
    """How long since a time in seconds since 1970."""
    return f"{duration(max(0.0, time.time() - seconds))} ago"
