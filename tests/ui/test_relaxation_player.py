"""The player of a relaxation: its frames are the trajectory's, its script holds nothing else, and it is found again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from core.crystals import Crystals, from_structures
from core.energy.trajectory import Trajectory, save_trajectory
from core.ui.relaxation_player import player_html
from core.ui.viewer import SCRIPT
from core.workflows.relax import trajectory_path
from core.workflows.store import folder, store
from db import candidates as rows
from db import jobs as job_rows
from tests.ui.test_charts import TA
from tests.ui.test_pages import open_page, run, said  # noqa: F401

STEPS = [0, 4, 9]


@pytest.fixture
def trajectory() -> Trajectory:
    one = from_structures([TA])
    stretched = torch.cat([one.lattice * factor for factor in (1.1, 1.05, 1.0)])
    crystals = Crystals(
        one.frac.expand(3, -1, -1),
        stretched,
        one.numbers.expand(3, -1),
        torch.zeros(3).long(),
        torch.full((3,), torch.nan),
    )
    return Trajectory(
        torch.tensor(STEPS), torch.tensor([-7.0, -7.5, float("nan")]), torch.tensor([2.0, 0.5, 0.01]), crystals
    )


def data_of(html: str) -> dict:
    found = re.search(r"const data = (\{.*?\}), last", html)
    assert found is not None
    return json.loads(found.group(1))


def test_every_frame_has_its_atoms_its_cell_and_its_numbers(trajectory: Trajectory) -> None:
    html = player_html(trajectory)
    data = data_of(html)
    assert (data["step"], data["energy"], data["force"]) == (STEPS, [-7.0, -7.5, None], [2.0, 0.5, 0.01])
    for frame, cell in zip(data["frames"], trajectory.crystals.lattice.numpy(), strict=True):
        lines = frame["xyz"].splitlines()
        assert lines[0] == "9", "eight corners and the centre"
        assert len(frame["edges"]) == 12
        ends = [np.array(e[4:]) - np.array(e[1:4]) for e in frame["edges"][:3]]
        assert np.allclose(sorted(map(np.linalg.norm, ends)), np.linalg.norm(cell, axis=1), atol=1e-3)
    assert set(re.findall(r'src="(.*?)"', html)) == {SCRIPT}
    assert "http" not in html.replace("http://www.w3.org", "")


def test_the_player_stands_under_a_relaxed_candidate(run: int, trajectory: Trajectory) -> None:  # noqa: F811
    with store().session() as session:
        first = rows.page_candidates(session, rows.CandidateFilter(job_id=run), 1)[0]
        place = folder("jobs") / "relaxed"
        job = job_rows.add_job(session, kind="relax", title="Relax", params={}, device="cpu")
        job_rows.update_job(session, job, folder=str(place), status="done")
        rows.put_relaxation(
            session, candidate_id=first.id, job_id=job, method="CHGNet-0.3.0", status="converged", steps=9,
            total_before=-7.0, total_after=-8.0, formation_before=-0.5, formation_after=-0.6, cell=first.cell,
        )  # fmt: skip
    path: Path = trajectory_path(place, first.id)
    save_trajectory(trajectory, path)
    app = open_page("candidates", run=str(run))
    assert "9 steps with CHGNet" in said(app).replace("\\", "")
    path.write_bytes(b"cut")
    app = open_page("candidates", run=str(run))
    assert "cannot be shown" in app.error[0].value
