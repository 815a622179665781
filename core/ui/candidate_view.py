"""What one run has made, for the pages that start runs: numbers, a table, one crystal, and the way to all of them."""

from __future__ import annotations

import streamlit as st

from core.evaluation.validity import MEANING
from core.ui.candidate_one import show_one
from core.ui.candidate_table import NOTE, STAR, column_config, frame, table_height
from core.ui.widgets import energy, page, pages, plain
from core.workflows import candidates as workflow
from core.workflows.candidates import Scope
from core.workflows.context import UserError
from core.workflows.relax import method_of
from core.workflows.twins import with_twins
from db.candidate_lists import CandidateFilter, Placing
from db.tables import Job

PAGE = 24


def _awaited(job_id: int) -> None:
    """Until there is a candidate; then the page runs again."""
    if workflow.count(CandidateFilter(job_id=job_id)):
        st.rerun()
    st.caption("The first candidates come within seconds.")


def show_run(job: Job) -> None:
    """What a run has made so far, the lowest above its hull first once some are relaxed."""
    placing = workflow.placing_for(_method(job))
    wanted = CandidateFilter(job_id=job.id)
    found = workflow.summary(wanted, placing)
    if not found.count:
        if job.status == "running":
            st.fragment(_awaited, run_every=3)(job.id)
        elif workflow.count(CandidateFilter(job_id=job.id, deleted=True)):
            st.caption("All that this run made lie in the bin of the page Candidates.")
        return
    _numbers(found, placing)
    offset = pages(found.count, PAGE, "rows")
    scope = Scope(wanted=wanted, placing=placing, order="above" if found.relaxed else "run")
    rows = with_twins(workflow.list_rows(scope, PAGE, offset), placing)
    data = frame(rows).drop(columns=[STAR, NOTE])  # the page Candidates has them
    event = st.dataframe(
        data,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"run-{job.id}-{offset}",
        column_config=column_config(data),
        height=table_height(len(data)),
        placeholder="",
        alt="What the run has made. Select a row to see its crystal.",
    )
    chosen = [i for i in event["selection"]["rows"] if i < len(rows)]
    first = next((i for i, row in enumerate(rows) if row.candidate.valid), 0)
    show_one(rows[chosen[0] if chosen else first], placing, notes=False)
    st.page_link(
        page("candidates"),
        label="Relax them and see them against the hull" if not found.relaxed else "All of them on the page Candidates",
        icon=":material/arrow_forward:",
        query_params={"run": str(job.id)},
    )


def _numbers(found: workflow.Summary, placing: Placing) -> None:
    columns, method = st.columns(6), plain(placing.method)
    columns[0].metric("candidates", f"{found.count:,}")
    columns[1].metric("valid", f"{found.valid:,}", help=MEANING)
    columns[2].metric("unique as drawn", f"{found.unique:,}", help="Valid, and no repeat of another of this run.")
    columns[3].metric(
        "new as drawn",
        "–" if found.novel is None else f"{found.novel:,}",
        help="Valid, and in no dataset they were compared with; – where they were compared with none.",
    )
    columns[4].metric("relaxed", f"{found.relaxed:,}", help=f"With {method}.")
    columns[5].metric(
        "lowest above hull",
        energy(found.lowest).replace(" eV/atom", ""),
        help=f"eV/atom, relaxed with {method}; negative is below the hull.",
    )


def _method(job: Job) -> str:
    """Of the potential that the run relaxes with, where it says one that is here; else the one used here."""
    potential = job.params.get("potential")
    try:
        return method_of(potential) if potential else ""
    except UserError:
        return ""
