"""The job that relaxes candidates: rows, words of failures, trajectories, symmetry, interruptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures, pack_cells, unpack_cells
from core.data.symmetry import detect_groups
from core.workflows import candidates
from core.workflows import relax as workflow
from core.workflows.context import Cancelled, UserError
from core.workflows.relax import RelaxParams, read_trajectory, relax_candidates, trajectory_path
from core.workflows.store import store
from db import candidates as rows
from db import jobs
from tests.energy.test_guards import Springs
from tests.workflows.test_workflows import TestContext
from tests.workflows.test_workflows import run_of as bare_run_of


def run_of(kind: str, params: RelaxParams) -> TestContext:
    """As the queue makes it: the row knows its folder."""
    context = bare_run_of(kind, params)
    with store().session() as session:
        jobs.update_job(session, context.job_id, folder=str(context.folder))
    return context


@pytest.fixture
def ids(var: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, ...]:
    """Five candidates that can be relaxed and two that cannot, and a potential known in closed form."""
    monkeypatch.setattr(workflow, "potential_for", lambda *_: Springs())
    sites = [[0.03, 0, 0], [0.5, 0.52, 0.5]]
    structures = [Structure(Lattice.cubic(3.2 + 0.05 * i), ["Ta", "W"], sites) for i in range(5)]
    structures.append(Structure(Lattice.cubic(3), ["Ta", "W"], [[0, 0, 0], [0.01, 0, 0]]))
    structures.append(Structure(Lattice.cubic(4), ["Lr", "W"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    run = run_of("generate", RelaxParams(()))
    cells = pack_cells(from_structures(structures))
    with store().session() as session:
        made = [
            {"job_id": run.job_id, "index": i, "model": "m", "formula": "Ta1W1", "reduced_formula": "TaW",
             "chemical_system": "Ta-W", "natoms": 2, "valid": True, "cell": cell} for i, cell in enumerate(cells)
        ]  # fmt: skip
        rows.add_candidates(session, made)
        found = rows.page_candidates(session, rows.CandidateFilter(job_id=run.job_id))
    return tuple(c.id for c in found)


def test_every_candidate_has_a_row_with_its_word_and_its_frames(ids: tuple[int, ...]) -> None:
    params = RelaxParams(ids, steps=400, fmax=0.01)
    context = run_of("relax", params)
    assert relax_candidates(params, context) == {"relaxed": 5, "failed": 2, "method": "springs"}
    with store().session() as session:
        found = {r.candidate_id: r for r in rows.relaxations(session, ids)}
    words = [found[i].status for i in ids]
    assert words == ["converged"] * 5 + ["failed: atoms under 0.5 Å", "failed: unknown element"]
    for i in ids[:5]:
        trajectory = read_trajectory(i, "springs")
        assert trajectory is not None
        assert trajectory.about["status"] == "converged"
        assert trajectory.about["method"] == "springs"
        assert float(trajectory.energy[-1]) == pytest.approx(found[i].total_after or 0, abs=1e-6)
        end = unpack_cells([found[i].cell or b""])
        torch.testing.assert_close(trajectory.crystals.lattice[-1], end.lattice[0].float())
        assert trajectory.about["group_after"] == str(found[i].group_found)
    assert read_trajectory(ids[5]) is None
    assert read_trajectory(10**6) is None


def test_a_candidate_that_is_removed_for_good_meanwhile_stops_nothing(
    ids: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    relaxing = workflow._relax

    def removing(*given: Any) -> Any:
        candidates.delete(candidates.Scope(ids=ids[:1]))
        candidates.empty_bin()
        return relaxing(*given)

    monkeypatch.setattr(workflow, "_relax", removing)
    params = RelaxParams(ids[:3], steps=400, fmax=0.01)
    relax_candidates(params, run_of("relax", params))
    with store().session() as session:
        assert {r.candidate_id for r in rows.relaxations(session, ids)} == set(ids[1:3])


def test_without_frames_and_with_damaged_ones(ids: tuple[int, ...]) -> None:
    params = RelaxParams(ids[:1], trajectories=False)
    relax_candidates(params, run_of("relax", params))
    assert read_trajectory(ids[0]) is None
    context = run_of("relax", params)
    relax_candidates(replace(params, trajectories=True), context)
    assert read_trajectory(ids[0]) is not None
    trajectory_path(context.folder, ids[0]).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cannot be shown: .* Relax it again"):
        read_trajectory(ids[0])


def test_a_job_that_is_stopped_keeps_what_ended_and_goes_on_from_there(ids: tuple[int, ...]) -> None:
    class Stopped(TestContext):
        enough = False

        def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
            self.enough = self.enough or (fraction or 0) >= 3 / 7

        def cancelled(self) -> bool:
            return self.enough

    params = RelaxParams(ids, fmax=0.01, steps=400)
    context = run_of("relax", params)
    stopped = Stopped(context.folder)
    stopped.job_id = context.job_id
    with pytest.raises(Cancelled):
        relax_candidates(params, stopped)
    with store().session() as session:
        kept = rows.relaxations(session, ids)
    assert 3 <= len(kept) < 7
    assert all(r.total_after is not None or r.status.startswith("failed") for r in kept)
    assert relax_candidates(params, context)["relaxed"] == 5
    with store().session() as session:
        assert len(rows.relaxations(session, ids)) == 7


def test_symmetry_is_kept_where_it_is_asked_for(ids: tuple[int, ...]) -> None:
    params = RelaxParams(ids[:1], symmetry=True, symprec=0.01, steps=200, fmax=0.01)
    relax_candidates(params, run_of("relax", params))
    trajectory = read_trajectory(ids[0])
    assert trajectory is not None
    groups = detect_groups(trajectory.crystals.to(dtype=torch.float64), 1e-4)
    assert int(groups[0]) == int(trajectory.about["group_before"]) > 1
    assert bool((groups >= groups[0]).all())
    assert trajectory.about["kept_symmetry"] == "true"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fmax": 0.0}, "largest force has to be larger than 0"),
        ({"symprec": float("nan")}, "tolerance of the symmetry"),
        ({"steps": -1}, "0 steps or more"),
        ({"processes": 0}, "1 to 64 processes"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(ids: tuple[int, ...], changes: dict[str, float], words: str) -> None:
    params = replace(RelaxParams(ids), **changes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=words):
        relax_candidates(params, run_of("relax", RelaxParams(ids)))
