"""Files of jobs without a shared folder: by a folder elsewhere, and by a real S3 server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from core.jobs import queue
from core.models.checkpoint import read_tensor_file
from core.settings import settings
from core.training.loop import CHECKPOINT
from core.workflows import artefacts, models
from core.workflows.context import UserError
from core.workflows.store import store
from core.workflows.train import TrainParams
from db import jobs as rows
from tests.clusters.conftest import wait
from tests.conftest import ROOT, free_port


@pytest.fixture(params=["file", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address for artefacts: SUBHULL_ARTEFACTS."""
    if request.param == "file":
        monkeypatch.setenv("SUBHULL_ARTEFACTS", f"file://{tmp_path}/elsewhere/deep")
        yield settings().artefacts
        return
    pytest.importorskip("s3fs")
    servers = pytest.importorskip("moto.server")
    server = servers.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"subhull-{uuid4().hex[:8]}"  # servers of one process share what they keep
    monkeypatch.setenv("SUBHULL_ARTEFACTS", f"s3://{bucket}/some/where")
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    yield settings().artefacts
    server.stop()


def listed(remote: str) -> list[str]:
    """Every key below the address."""
    fs, root = fsspec.core.url_to_fs(remote, skip_instance_cache=True)
    fs.invalidate_cache()
    return sorted(str(path).removeprefix(root).lstrip("/") for path in fs.find(root))


def test_a_folder_comes_back_as_it_was_uploaded_last(remote: str, var: Path) -> None:
    job = var / "jobs" / "1"
    (job / "deep").mkdir(parents=True)
    (job / "a").write_text("one")
    (job / "deep" / "b").write_text("two")
    (job / ".partial").write_text("half")
    (job / "log.txt").write_text("the runner's")
    artefacts.push(job)
    (job / "a").write_text("three")
    (job / "deep" / "b").unlink()
    artefacts.push(job, made=["models/m"])
    assert len(listed(remote)) == 2, "one file, one manifest: what took its place is gone, and no partial upload stays"
    shutil.rmtree(job)
    job.mkdir()
    (job / "stale").write_text("of an earlier attempt")
    assert artefacts.pull(job) == ["models/m"]
    assert {p.name: p.read_text() for p in job.iterdir()} == {"a": "three"}
    assert artefacts.pull(var / "jobs" / "2") == []


def test_an_upload_that_is_cut_is_not_there(remote: str, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = var / "jobs" / "1"
    job.mkdir(parents=True)
    (job / "a").write_text("one")
    artefacts.push(job)
    before = listed(remote)
    (job / "a").write_text("two")
    (job / "b").write_text("new")
    kind = type(fsspec.core.url_to_fs(remote)[0])
    moving = kind.mv

    def cut(self: object, source: str, target: str, **given: object) -> None:
        if target.endswith(".json"):
            raise ConnectionError("cut")
        moving(self, source, target, **given)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "mv", cut)
        with pytest.raises(artefacts.ArtefactError, match="cannot be used"):
            artefacts.push(job)
    assert set(before) <= set(listed(remote))
    shutil.rmtree(job)
    artefacts.pull(job)
    assert {p.name: p.read_text() for p in job.iterdir()} == {"a": "one"}, (
        "all of the upload before, none of the cut one"
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_a_training_runs_on_a_machine_that_shares_no_folder(
    remote: str, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders of the app are moved away while the worker runs; the database stays."""
    monkeypatch.setenv("SUBHULL_DATABASE_URL", f"sqlite:///{tmp_path}/store.db")
    shutil.copy(starter / "subhull.db", tmp_path / "store.db")
    monkeypatch.setenv("SUBHULL_SLURM", "cluster=local")
    job_id = queue.add("train", "t", TrainParams("starter", "m", preset="quick", steps=30), "slurm")
    with store().session() as session:
        rows.change_status(session, job_id, "queued", "running", attempts=1)
    artefacts.send(queue.get(job_id))
    home = tmp_path / "home"
    starter.rename(home)
    command = [sys.executable, "-W", "ignore", "-m", "core.jobs.worker", str(job_id), "1"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    job = queue.get(job_id)
    assert (job.status, job.away) == ("done", True)
    shutil.rmtree(starter)
    home.rename(starter)
    wait(job_id, lambda job: not job.away)
    assert models.load_model("m").row.card["steps"] == 30
    assert not (Path(job.folder) / CHECKPOINT).exists()
    assert read_tensor_file(Path(job.folder) / "model" / "model.safetensors")[0]


@pytest.mark.slow
def test_an_upload_holds_up_nothing_and_can_be_cancelled(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_ARTEFACTS", f"file://{starter}/elsewhere")
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", f"http://127.0.0.1:{free_port()}")  # would refuse it
    sent = threading.Event()
    monkeypatch.setattr(artefacts, "send", lambda _: sent.wait(60))
    away = queue.submit("train", "t", TrainParams("starter", "m", steps=5), "ray")
    wait(away, lambda job: job.message == "Uploading what it needs")
    here = queue.submit("train", "t", TrainParams("starter", "n", preset="quick", steps=1), "cpu")
    wait(here, lambda job: job.status == "done")
    assert queue.get(away).status == "running"
    queue.cancel(away)
    sent.set()
    job = wait(away, lambda job: job.status != "running")
    assert (job.status, job.error, job.cluster_id) == ("cancelled", "", "")


def test_an_address_that_cannot_be_used_is_said(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (var / "jobs" / "1").mkdir(parents=True)
    (var / "jobs" / "1" / "a").touch()
    monkeypatch.setenv("SUBHULL_ARTEFACTS", "file:///proc/nowhere")
    with pytest.raises(artefacts.ArtefactError, match="artefacts at file:///proc/nowhere cannot be used"):
        artefacts.push(var / "jobs" / "1")
    with pytest.raises(UserError, match="same path on every machine"):
        artefacts.pull(Path("/somewhere/else"))
