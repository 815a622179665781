"""A relaxation in parts, by workers that are killed or work on the same part: every result once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures, pack_cells
from core.jobs import shards, worker
from core.workflows import relax as workflow
from core.workflows.context import UserError
from core.workflows.relax import RelaxParams, candidates_to_relax, shard_of
from core.workflows.store import store
from db import candidates as rows
from db import jobs
from tests.conftest import ROOT
from tests.energy.test_guards import Springs

COUNT = 24
_WORKER = """
import sys, time
from core.jobs import worker
from core.workflows import relax
from tests.energy.test_guards import Springs
relax.potential_for, relax._PART, relaxing = lambda *_: Springs(), 1, relax._relax
relax._relax = lambda *given: (time.sleep(0.3), relaxing(*given))[1]
worker.run(int(sys.argv[1]), 1)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def ids(request: pytest.FixtureRequest, var: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, ...]]:
    """Candidates of a run, and a potential known in closed form."""
    if request.param == "postgres":
        monkeypatch.setenv("SUBHULL_DATABASE_URL", request.getfixturevalue("postgres"))
    monkeypatch.setattr(workflow, "potential_for", lambda *_: Springs())
    monkeypatch.setattr(shards, "tick", lambda: None)
    sites = [[0.03, 0, 0], [0.5, 0.52, 0.5]]
    structures = [Structure(Lattice.cubic(3.2 + 0.01 * i), ["Ta", "W"], sites) for i in range(COUNT)]
    with store().session() as session:
        run = jobs.add_job(session, kind="generate", title="g", params={}, device="cpu")
        made = [
            {"job_id": run, "index": i, "model": "m", "formula": "Ta1W1", "reduced_formula": "TaW",
             "chemical_system": "Ta-W", "natoms": 2, "valid": True, "cell": cell}
            for i, cell in enumerate(pack_cells(from_structures(structures)))
        ]  # fmt: skip
        rows.add_candidates(session, made)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield candidates_to_relax([str(run)])
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)


def begin(job_id: int, attempt: int) -> None:
    """As tick claims it."""
    with store().session() as session:
        old = "queued" if attempt == 1 else "running"
        assert jobs.change_status(session, job_id, old, "running", attempts=attempt)


def relaxed(ids: tuple[int, ...]) -> dict[int, tuple[int | None, str, str]]:
    """(job, status, when) by candidate; every row is by the one method."""
    with store().session() as session:
        found = rows.relaxations(session, ids)
    assert all(n == 1 for n in Counter(r.candidate_id for r in found).values())
    return {r.candidate_id: (r.job_id, r.status, str(r.created_at)) for r in found}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_parts_that_are_killed_in_the_middle_go_on_and_no_row_is_doubled(ids: tuple[int, ...]) -> None:
    made = shards.submit_relaxation(RelaxParams(ids, fmax=0.01, steps=400, trajectories=False), "cpu", 3)
    assert len(made) == 3
    begin(made[0], 1)
    command = [sys.executable, "-W", "ignore", "-c", _WORKER, str(made[0])]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]  # two workers on the same part
    deadline = time.monotonic() + 90
    while len(relaxed(ids)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for process in both:
        process.kill()
        process.wait()
    kept = relaxed(ids)
    assert 3 <= len(kept) < COUNT // 3
    begin(made[0], 2)
    assert worker.run(made[0], 1) == "lost", "an attempt that was given up changes nothing"
    assert worker.run(made[0], 2) == "done"
    for job_id in made[1:]:
        begin(job_id, 1)
        assert worker.run(job_id, 1) == "done"
    found = relaxed(ids)
    assert set(found) == set(ids)
    assert {i: found[i] for i in kept} == kept, "what was there before the kill is not done again"
    assert Counter(job for job, _, _ in found.values()) == dict.fromkeys(made, COUNT // 3)
    with store().session() as session:
        results = [(jobs.get_job(session, i).result or {}).get("relaxed") for i in made]  # type: ignore[union-attr]
    assert results == [COUNT // 3] * 3


def test_parts_are_the_same_whatever_the_order_and_share_nothing() -> None:
    ids = [7, 3, 11, 2, 5, 3]
    parts = [shard_of(ids, k, 3) for k in range(3)]
    assert sorted(i for part in parts for i in part) == [2, 3, 5, 7, 11]
    assert parts == [shard_of(sorted(set(ids), reverse=True), k, 3) for k in range(3)]


def test_a_hundred_thousand_are_in_one_part_each(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "tick", lambda: None)  # none of them is started
    made = shards.submit_relaxation(RelaxParams(tuple(range(1, 100_001))), "cpu", 100)
    with store().session() as session:
        parts = [jobs.get_job(session, i).params["candidate_ids"] for i in made]  # type: ignore[union-attr]
    assert {len(part) for part in parts} == {1000}
    assert set().union(*parts) == set(range(1, 100_001))


@pytest.mark.parametrize("count", [0, 501])
def test_a_number_of_parts_that_cannot_be_meant_is_refused(var: Path, count: int) -> None:
    with pytest.raises(UserError, match=f"split into 1 to 500 jobs, not {count}"):
        shards.submit_relaxation(RelaxParams((1, 2)), "cpu", count)
