"""Where the result of a job is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.ui.job_result import result_links
from core.workflows.store import store
from db.tables import Job
from tests.data.test_readers import TIB2
from tests.ui.test_pages import open_page, said
from tests.workflows.test_vasp import candidates_of_structures


@pytest.mark.parametrize(
    ("kind", "result", "params", "links"),
    [
        ("generate", {"candidates": 3}, {}, [("generate", {"job": "7"}), ("candidates", {"run": "7"})]),
        ("generate", None, {}, [("generate", {"job": "7"}), ("candidates", {"run": "7"})]),
        ("train", {"model": "a"}, {}, [("train", {"job": "7"}), ("models", {"model": "a"})]),
        ("import", {"dataset": "d"}, {}, [("datasets", {"dataset": "d"})]),
        ("import", None, {}, []),
        ("hull-build", {"hull_id": 2}, {}, [("hulls", {"hull": "2"})]),
        ("relax", {"relaxed": 2}, {"candidate_ids": [4, 9]}, [("candidates", {"pick": "4,9"})]),
        ("vasp", {"read": 1}, {}, [("candidates", {"job": "7", "do": "vasp"})]),
    ],
)
def test_an_ended_job_leads_to_what_it_made(
    kind: str, result: dict[str, Any] | None, params: dict[str, Any], links: list[tuple[str, dict[str, str]]]
) -> None:
    job = Job(id=7, kind=kind, title="t", params=params, result=result, created_at=0.0, finished_at=5.0)
    assert [(name, query) for name, _, query in result_links(job)] == links


def test_its_page_says_how_long_it_took(var: Path) -> None:
    (made,) = candidates_of_structures([TIB2])
    with store().session() as session:
        job = session.get(Job, made.job_id)
        assert job is not None
        job.kind, job.started_at, job.finished_at = "generate", 1000.0, 1125.0
    assert "It took 2" in said(open_page("jobs", job=str(made.job_id)))
