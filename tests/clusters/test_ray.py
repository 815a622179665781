"""Jobs on a real Ray with token authentication."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from sqlalchemy import select

from core.jobs import queue
from core.jobs.runners import runner_for
from core.jobs.shards import submit_relaxation
from core.settings import settings
from core.workflows import models
from core.workflows.generate import GenerateParams
from core.workflows.relax import RelaxParams
from core.workflows.store import store
from core.workflows.train import TrainParams
from db.tables import Candidate, Model, Relaxation
from tests.clusters.conftest import learning, wait
from tests.clusters.servers import RayHead
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def configured(ray: RayHead, monkeypatch: pytest.MonkeyPatch) -> RayHead:
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", ray.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray.token)
    return ray


def test_nobody_is_answered_without_the_token(configured: RayHead, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requests.get(f"{configured.address}/api/jobs/", timeout=10).status_code in (401, 403)
    assert configured.token not in repr(settings())
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    job_id = queue.submit("train", "t", TrainParams("starter", "m", steps=5), "ray")
    job = queue.get(job_id)
    assert job.status == "failed"
    assert job.error.startswith(f"Ray at {configured.address} refused: ")
    assert "f" * 64 not in job.error
    assert queue.can_resume(job)


def test_a_training_is_preempted_and_cancelled_on_ray(configured: RayHead, starter: Path) -> None:
    job_id = queue.submit("train", "t", TrainParams("starter", "m", preset="quick", minutes=5.0), "ray")
    begun = wait(job_id, learning, 90)
    assert (begun.runner, begun.attempts) == ("ray", 1)
    assert begun.cluster_id.startswith(f"subhull-{job_id}-1-")
    code = f"from core.jobs import queue; print(queue.logs({job_id}))"  # a process that knows nothing but the row
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "alembic" in told.stdout, told.stderr
    assert configured.token not in told.stdout
    runner_for("ray").cancel(queue.get(job_id), force=True)  # as the cluster does to make room: SIGTERM
    wait(job_id, lambda j: learning(j) and j.attempts == 2, 60)
    assert queue.get(job_id).preempted == 1
    assert "going on from the checkpoint at step" in queue.logs(job_id)
    queue.cancel(job_id)
    cancelled = wait(job_id, lambda j: j.status == "cancelled", 30)
    wait(job_id, lambda _: runner_for("ray").status(cancelled) == "gone", 30)


def test_two_shards_run_on_a_machine_that_shares_no_folder(
    configured: RayHead, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the database and the address of artefacts are the same there: generated here, relaxed there, shown here."""
    if configured.unshared is None:
        pytest.skip("no mount namespaces here: a node without the folders cannot be made")
    shutil.copy(starter / "subhull.db", tmp_path / "store.db")
    monkeypatch.setenv("SUBHULL_DATABASE_URL", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("SUBHULL_ARTEFACTS", f"file://{tmp_path}/artefacts")
    var = configured.unshared / "var"
    shutil.copytree(starter, var)
    monkeypatch.setenv("SUBHULL_VAR", str(var))
    with store().session() as session:
        for model in session.scalars(select(Model)):
            model.folder = model.folder.replace(str(starter), str(var))
    asked = GenerateParams("starter-generator", ("TaB2",), count=4, steps=5)
    drawn = queue.submit("generate", "g", asked, "ray")
    wait(drawn, lambda job: job.status == "done" and not job.away, 120)
    with store().session() as session:
        ids = tuple(session.scalars(select(Candidate.id).where(Candidate.job_id == drawn).order_by(Candidate.id)))
    assert len(ids) == 4
    shards = submit_relaxation(RelaxParams(ids, "chgnet", steps=3), "ray", shards=2)
    for shard in shards:
        wait(shard, lambda job: job.status == "done" and not job.away, 120)
    with store().session() as session:
        relaxed = list(session.scalars(select(Relaxation.candidate_id).order_by(Relaxation.candidate_id)))
    assert relaxed == list(ids), "each once"
    assert (configured.there / "var" / "jobs" / str(drawn)).is_dir()
    assert not (configured.there / "var" / "subhull.db").exists(), "the folder here is not the folder there"
    told = [queue.logs(job) for job in (drawn, *shards)]
    assert all("alembic" in log for log in told), "from Ray"
    train = queue.submit("train", "t", TrainParams("starter", "m", preset="quick", steps=5), "ray")
    wait(train, lambda job: job.status == "done" and not job.away, 120)
    assert models.load_model("m").row.card["steps"] == 5, "its weights are here"
