"""Where what a job made is found, and how long it took."""

from __future__ import annotations

import streamlit as st

from core.ui.candidate_table import MAX_PICKED
from core.ui.widgets import counted, duration, page
from db.tables import Job

Link = tuple[str, str, dict[str, str]]  # page, label, query


def job_result(job: Job) -> None:
    """Of an ended job: its duration, and links to its result as far as it has one."""
    if job.started_at is not None and job.finished_at is not None:
        st.caption(f"It took {duration(max(0.0, job.finished_at - job.started_at))}.")
    for name, label, query in result_links(job):
        st.page_link(page(name), label=label, icon=":material/arrow_forward:", query_params=query)


def show_missing(job: Job) -> None:
    """Says where a run had fewer templates than candidates were asked for."""
    missing = int((job.result or {}).get("missing") or 0)
    if missing:
        st.caption(
            f":material/info: {counted(missing, 'candidate')} fewer than asked for: there are no more templates of "
            "these patterns and sizes."
        )


def result_links(job: Job) -> list[Link]:
    """Pages that show what an ended job made; none for one that made nothing."""
    result, own = job.result or {}, {"job": str(job.id)}
    found: list[Link] = []
    if job.finished_at is not None and job.kind in ("generate", "modify"):
        found.append((job.kind, "The run", own))
        found.append(("candidates", "Its candidates", {"run": str(job.id)}))
    if job.finished_at is not None and job.kind == "train":
        found.append(("train", "Curves and samples", own))
    if not result:
        return found
    if job.kind == "train" and result.get("model"):
        found.append(("models", "Its model", {"model": str(result["model"])}))
    if job.kind == "evaluate" and job.params.get("model"):
        found.append(("models", "The model it evaluated", {"model": str(job.params["model"])}))
    if job.kind == "relax" and job.params.get("candidate_ids"):
        ids = list(job.params["candidate_ids"])[:MAX_PICKED]
        found.append(("candidates", "What it relaxed", {"pick": ",".join(map(str, ids))}))
    if job.kind == "vasp":
        found.append(("candidates", "What it read", {**own, "do": "vasp"}))
    if result.get("dataset"):
        found.append(("datasets", "Its dataset", {"dataset": str(result["dataset"])}))
    if result.get("hull_id"):
        found.append(("hulls", "Its hull", {"hull": str(result["hull_id"])}))
    return found
