"""What the page asks of a relaxation is what the job gets."""

from __future__ import annotations

from typing import Any

import pytest

from core.jobs import queue, shards
from core.ui import relax_form
from core.workflows.relax import RelaxParams
from core.workflows.store import store
from db import jobs as rows
from tests.ui.test_pages import open_page, run  # noqa: F401


def test_choices_go_into_the_job(run: int, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(queue, "submit", lambda *a: asked.append(a) or 1)
    app = open_page("candidates", run=str(run), do="relax")
    next(t for t in app.toggle if t.label == "Keep the space group").set_value(True)
    next(t for t in app.toggle if t.label == "Relax the cell too").set_value(False)
    next(n for n in app.number_input if n.label.startswith("Largest force")).set_value(0.02)
    next(n for n in app.number_input if n.label == "Steps, at most").set_value(40)
    next(b for b in app.button if b.label.startswith("Relax ")).click().run()
    kind, _, params, device = asked[0]
    assert (kind, device) == ("relax", "cpu")
    assert isinstance(params, RelaxParams)
    assert (params.potential, params.cell, params.symmetry, params.fmax, params.steps) == (
        "chgnet",
        False,
        True,
        0.02,
        40,
    )
    assert len(params.candidate_ids) >= 1


def test_a_relaxation_is_split_into_jobs_of_a_cluster(run: int, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("SUBHULL_SLURM", "partition=work")
    monkeypatch.setattr(shards, "tick", lambda: None)  # none of them is started
    app = open_page("candidates", run=str(run), do="relax")
    next(n for n in app.number_input if n.label == "Jobs to split it into").set_value(2)
    next(s for s in app.selectbox if s.label == "Device").set_value("slurm")
    next(b for b in app.button if b.label.startswith("Relax ")).click().run()
    assert not app.exception
    with store().session() as session:
        made = rows.list_jobs(session, ["queued"])
    assert sorted(job.title for job in made) == [f"Relax 2 candidates, part {part} of 2" for part in (1, 2)]
    assert {job.runner for job in made} == {"slurm"}
    assert [t.value for t in app.toast] == ["2 jobs are queued: the page Jobs shows them all."]


def test_more_than_one_job_takes_are_split_from_the_start(run: int, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(relax_form, "MAX_IN_ONE", 3)
    app = open_page("candidates", run=str(run), do="relax")
    jobs = next(n for n in app.number_input if n.label == "Jobs to split it into")
    assert (jobs.value, jobs.min) == (2, 2), "of four candidates"


def test_a_job_that_waits_in_a_clusters_queue_says_so(run: int) -> None:  # noqa: F811
    with store().session() as session:
        job_id = rows.add_job(session, kind="relax", title="Relax 9 candidates", params={}, device="slurm")
        values = {"status": "running", "runner": "slurm", "cluster_id": "7", "message": "Waiting in Slurm's queue"}
        rows.update_job(session, job_id, folder="", attempts=1, **values)
    app = open_page("jobs")
    shown = " ".join(str(element.value) for kind in ("markdown", "caption") for element in getattr(app, kind))
    assert "Relax 9 candidates" in shown
    assert [element.proto.text for element in app.get("progress")] == ["Waiting in Slurm's queue · on slurm"]
