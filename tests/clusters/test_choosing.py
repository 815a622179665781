"""How a cluster is configured and chosen, and what is said where it is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.common import check_usable
from core.jobs import queue, shards
from core.jobs.runners.cluster import command, environment
from core.jobs.tick import may_retry
from core.settings import Place, SettingsError, settings
from core.ui.devices import cost_device, devices, memory_of
from core.workflows.context import UserError
from core.workflows.relax import RelaxParams
from db.tables import Job
from tests.cli.test_cli import run
from tests.conftest import ROOT, free_port


def test_devices_of_clusters_are_offered_where_they_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not {"slurm", "slurm-gpu", "ray", "ray-gpu"} & set(devices())
    monkeypatch.setenv("SUBHULL_SLURM_GPU", "partition=gpu gpus=2 time=600 memory=32")
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", "http://127.0.0.1:8265/")
    assert devices()[-2:] == ["slurm-gpu", "ray"]
    assert settings().places["slurm-gpu"] == Place(partition="gpu", gpus=2, time=600, memory=32)
    assert settings().ray_address == "http://127.0.0.1:8265"
    assert cost_device("ray") == "cpu"
    assert memory_of("slurm-gpu") is None
    check_usable("ray")
    with pytest.raises(UserError, match="needs the setting SUBHULL_SLURM,"):
        check_usable("slurm")
    with pytest.raises(UserError, match="not as a job: ray cannot take it"):
        check_usable("ray", here=True)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SUBHULL_SLURM", "queue=long", "SUBHULL_SLURM holds 'queue'"),
        ("SUBHULL_SLURM", "partition", "OPTION=VALUE"),
        ("SUBHULL_SLURM", "time=1:00", "whole number from 1 on, not '1:00'"),
        ("SUBHULL_SLURM", "cluster=pbs", "slurm or local"),
        ("SUBHULL_SLURM", "partition='x", "open quotation mark"),
        ("SUBHULL_SLURM_GPU", "partition=gpu", "SUBHULL_SLURM_GPU asks for no GPU"),
        ("SUBHULL_RAY_ADDRESS", "ray://head:10001", "SUBHULL_RAY_ADDRESS is no web address"),
        ("SUBHULL_ARTEFACTS", "/shared", "file:///FOLDER or s3://BUCKET"),
    ],
)
def test_settings_of_clusters_are_checked(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        settings()


def test_a_token_comes_from_its_file_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(SettingsError, match="RAY_AUTH_TOKEN_PATH names a file that cannot be read"):
        settings()
    (tmp_path / "token").write_text("secret-token\n")
    assert settings().ray_token == "secret-token"
    assert "secret-token" not in repr(settings())
    assert "secret-token" not in str(environment(Place()))


@pytest.mark.parametrize(("device", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_is_named(device: str, package: str, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_SLURM", "partition=work")
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", "http://127.0.0.1:1")
    for name in (package, "ray.job_submission"):
        monkeypatch.setitem(sys.modules, name, None)
    job = queue.get(queue.submit("relax", "r", RelaxParams((1,)), device))
    assert (job.status, job.runner) == ("failed", device)
    assert f"needs the package {package}: pip install -r requirements-cluster.txt" in job.error


def test_a_ray_that_is_not_there_is_said(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", "http://127.0.0.1:1")
    job = queue.get(queue.submit("relax", "r", RelaxParams((1,)), "ray"))
    assert job.error == "Ray does not answer at http://127.0.0.1:1: is its head running?"


def test_only_a_training_with_several_gpus_goes_through_the_launcher() -> None:
    job = Job(id=7, attempts=2, kind="train")
    assert command(job, Place(python="/py", gpus=1)) == ["/py", "-m", "core.jobs.worker", "7", "2"]
    assert command(job, Place(python="/py", gpus=4))[1:6] == [
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4")
    ]
    assert "torch.distributed.run" not in command(Job(id=7, attempts=1, kind="relax"), Place(gpus=4))


@pytest.mark.parametrize(
    ("attempts", "preempted", "again"), [(2, 0, True), (3, 0, False), (50, 48, True), (101, 100, False)]
)
def test_making_room_does_not_count_as_failing(attempts: int, preempted: int, again: bool) -> None:
    assert may_retry(Job(kind="train", attempts=attempts, preempted=preempted)) is again


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_slurms_signals_reach_the_worker_as_a_request_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    worker = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
        "print('ready', flush=True); time.sleep(30)"
    )
    carried = (
        "from core.jobs.runners.slurm import Work; import sys\n"
        f"sys.exit(Work([sys.executable, '-c', {worker!r}], {{}}, '/')())"
    )
    process = subprocess.Popen([sys.executable, "-c", carried], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(timeout=20) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["relax"], "one of the two"),
        (["relax", "a.cif"], "Say with --out"),
        (["relax", "a.cif", "--out", "o", "--shards", "3"], "go with --candidates"),
        (["relax", "--candidates", "1", "--out", "o"], "leave --out away"),
        (["relax", "--candidates", "x"], "is no candidate"),
        (["relax", "--candidates", "77", "--device", "slurm"], "needs the setting SUBHULL_SLURM"),
        (["relax", "--candidates", "77"], "Run 77 has no candidate"),
    ],
)
def test_the_command_says_what_does_not_go_together(
    arguments: list[str], message: str, var: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.workflows.starter.install", lambda: None)
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert message in error


def test_the_command_says_that_a_job_could_not_be_started(
    var: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.workflows.starter.install", lambda: None)
    monkeypatch.setattr("core.workflows.relax.candidates_to_relax", lambda _: (5,))
    monkeypatch.setenv("SUBHULL_RAY_ADDRESS", f"http://127.0.0.1:{free_port()}")
    code, _, said = run(capsys, "relax", "--candidates", "12", "--device", "ray", "--detach")
    why = f"Ray does not answer at {settings().ray_address}: is its head running?"
    assert (code, said.strip()) == (1, f"job 1 failed: {why}")
    code, out, said = run(capsys, "jobs", "resume", "1")
    assert (code, said.strip()) == (1, why)
    code, out, _ = run(capsys, "jobs", "list")
    assert why in out
    code, out, _ = run(capsys, "jobs", "log", "1")
    assert (code, out.strip()) == (0, why)


def test_the_command_queues_parts(
    var: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.workflows.starter.install", lambda: None)
    monkeypatch.setattr(shards, "tick", lambda: None)
    monkeypatch.setattr("core.workflows.relax.candidates_to_relax", lambda _: (5, 3, 9, 1))
    monkeypatch.setenv("SUBHULL_SLURM", "partition=work")
    asked = ("relax", "--candidates", "12", "--shards", "3", "--device", "slurm", "--detach")
    code, _, said = run(capsys, *asked)
    assert (code, said.strip()) == (0, "jobs 1 to 3 are queued; ./run cli jobs list shows them")
    made = [queue.get(i) for i in (1, 2, 3)]
    assert [job.params["candidate_ids"] for job in made] == [[1, 9], [3], [5]]
    assert {(job.runner, job.device, job.params["shards"]) for job in made} == {("slurm", "slurm", 3)}
    assert made[0].title == "Relax 2 candidates, part 1 of 3"
