"""Widgets that pages share: jobs that are watched, selections in the URL, numbers with units."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.cli.common import duration
from core.jobs import queue
from core.ui.charts import losses
from core.workflows.context import UserError
from core.workflows.store import folder, store
from db import jobs as job_rows
from db.tables import Job

COLOURS = {"queued": "gray", "running": "blue", "done": "green", "failed": "red", "cancelled": "gray", "lost": "orange"}
_ICONS = {"import": "dataset", "prototypes": "dataset", "train": "model_training", "relax": "compress"}


@contextmanager
def sentences() -> Iterator[None]:
    """Errors that a user can mend are shown as a sentence where they arise; the rest of the page goes on."""
    try:
        yield
    except UserError as error:
        st.error(str(error), icon=":material/error:")


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
    st.query_params.from_dict({**kept, **{k: str(v) for k, v in changes.items()}})
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


def badge(status: str) -> str:
    """A status as coloured Markdown."""
    return f":{COLOURS.get(status, 'gray')}-badge[{status}]"


def counted(number: int, thing: str) -> str:
    """ "1 row", "1,200 rows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def energy(value: float | None, digits: int = 3) -> str:
    """ "−0.412 eV/atom", or a dash."""
    return "–" if value is None else f"{value:.{digits}f} eV/atom".replace("-", "−")


def watch_job(job_id: int, key: str) -> None:
    """A card of one job that renews itself while the job is active, and reruns the page when it ends."""
    with sentences():
        job = queue.get(job_id)
        if job.status in job_rows.ACTIVE or (job.status == "lost" and queue.will_retry(job)):
            _live_card(job_id, key)
        else:
            job_card(job, key)


@st.fragment(run_every=1.0)
def _live_card(job_id: int, key: str) -> None:
    job = queue.get(job_id)
    job_card(job, key)
    if job.status in job_rows.ENDED and not (job.status == "lost" and queue.will_retry(job)):
        st.rerun()


def job_card(job: Job, key: str) -> None:
    """Title, status, progress and what can be done about it."""
    with st.container(border=True):
        title, action = st.columns([5, 1], vertical_alignment="center")
        icon = _ICONS.get(job.kind, "auto_awesome")
        title.markdown(f":material/{icon}: **{plain(job.title)}** {badge(job.status)} :small[job {job.id}]")
        with action:
            _job_action(job, key)
        if job.status == "running":
            st.progress(min(1.0, job.progress or 0.0), text=_progress_text(job))
        elif job.status == "queued":
            with store().session() as session:
                ahead = job_rows.queue_position(session, job)
            st.caption(
                f"Waiting for {job.device}: {ahead} before it in the queue." if ahead else f"Next on {job.device}."
            )
        elif job.status == "failed":
            st.error(job.error or "It failed; the log says more.", icon=":material/error:")
        elif job.status == "lost":
            st.warning(
                "Its process disappeared. " + ("It is being started again." if queue.will_retry(job) else "Resume it.")
            )
        if job.kind == "train":
            _training(job)


def _job_action(job: Job, key: str) -> None:
    if job.status in job_rows.ACTIVE:
        asked = job.cancel_requested_at is not None
        if st.button("Stopping …" if asked else "Cancel", key=f"{key}-cancel", disabled=asked, width="stretch"):
            with sentences():
                queue.cancel(job.id)
                st.rerun()
    elif job.status in queue.RESUMABLE and st.button("Resume", key=f"{key}-resume", width="stretch"):
        with sentences():
            queue.resume(job.id)
            st.rerun()


def _progress_text(job: Job) -> str:
    parts = [job.message or "Starting"]
    if job.eta_s:
        parts.append(f"{duration(job.eta_s)} to go")
    parts.append(f"on {job.device}")
    return " · ".join(parts)


def _training(job: Job) -> None:
    """The loss curve and the latest numbers of a training."""
    names = ["loss", "validation_loss", "structures_per_s", "learning_rate"]
    with store().session() as session:
        metrics = job_rows.read_metrics(session, job.id, names)
    if not metrics:
        if job.status == "running":
            st.caption("The first numbers come within seconds.")
        return
    latest = {name: value for _, name, value in metrics}
    columns = st.columns(5)
    columns[0].metric("step", f"{metrics[-1][0]:,}")
    columns[1].metric("training loss", f"{latest['loss']:.4f}")
    columns[2].metric("validation loss", f"{latest['validation_loss']:.4f}" if "validation_loss" in latest else "–")
    columns[3].metric("structures/s", f"{latest.get('structures_per_s', 0):,.0f}")
    columns[4].metric("device", job.device)
    st.altair_chart(losses(metrics), width="stretch")


def job_log(job: Job) -> None:
    """The end of a job's log, closed until opened; it renews itself while the job is active."""
    every = 2.0 if job.status in job_rows.ACTIVE else None
    st.fragment(_log, run_every=every)(job)


def _log(job: Job) -> None:
    with st.expander("Log"):
        text = queue.logs(job.id, 60)
        st.code(text or "Nothing written yet.", language=None)
        st.caption(f"The whole log: {job.folder}/log.txt")


def plain(text: str) -> str:
    """Text of a user inside Markdown: nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|$:~" else c for c in text)


def save_uploads(files: Sequence[UploadedFile]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(paths, names): uploads copied under var/uploads by names of our own; the user's names are for showing only."""
    paths = []
    for file in files:
        path = folder("uploads") / uuid4().hex
        with path.open("wb") as target:
            target.write(file.getbuffer())
        paths.append(str(path))
    return tuple(paths), tuple(Path(f.name).name[:200] for f in files)


def pages(total: int, size: int, key: str) -> int:
    """A pager under a long table; returns the offset. The page is in the URL."""
    count = max(1, -(-total // size))
    if count == 1:
        return 0
    current = min(max(1, selected_int(key) or 1), count)
    left, middle, right = st.columns([1, 2, 1], vertical_alignment="center")
    if left.button("Previous", key=f"{key}-previous", disabled=current == 1, icon=":material/chevron_left:"):
        go(**{key: current - 1})
    first = (current - 1) * size
    middle.caption(f"{first + 1:,} to {min(first + size, total):,} of {total:,}")
    if right.button("Next", key=f"{key}-next", disabled=current == count, icon=":material/chevron_right:"):
        go(**{key: current + 1})
    return first


def ago(seconds: float) -> str:
    """How long since a time in seconds since 1970."""
    return f"{duration(max(0.0, time.time() - seconds))} ago"
