"""Trainings as the store knows them: curves that are read once, best values, what is left of one that is given up."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from core.training.checkpoints import BEST, CHECKPOINT
from core.workflows import trainings
from core.workflows.store import folder, store
from core.workflows.train import TrainParams
from core.workflows.trainings import FINISH
from db import jobs as rows
from db.tables import Job


def training(status: str = "running", **values: object) -> Job:
    with store().session() as session:
        params = asdict(TrainParams("d", "m"))
        job_id = rows.add_job(session, kind="train", title="Train m", params=params, device="cpu")
        place = folder("jobs") / str(job_id)
        place.mkdir()
        rows.update_job(session, job_id, folder=str(place), status=status, **values)
    return again(job_id)


def again(job_id: int) -> Job:
    with store().session() as session:
        job = rows.get_job(session, job_id)
    assert job is not None
    return job


def write(job: Job, *points: tuple[int, str, float]) -> None:
    with store().session() as session:
        rows.write_metrics(session, job.id, list(points))


def test_curves_grow_and_rates_that_come_late_are_seen() -> None:
    job = training()
    assert trainings.read_curves(job).step == 0
    write(job, (1, "loss", 3.0), (2, "loss", 2.0), (2, "validation_loss", 2.5), (2, "structures_per_s", 10.0))
    curves = trainings.read_curves(job)
    assert curves.points["loss"] == [(1, 3.0), (2, 2.0)]
    assert curves.last("valid") is None
    write(job, (2, "match_rate_paper", 0.5), (3, "loss", 2.25), (3, "validation_loss", 2.75), (1, "valid", 1.0))
    write(job, (3, "validation_loss_frac", 1.0), (4, "match_rate_paper", 0.25), (4, "structures_per_s", 5.0))
    curves = trainings.read_curves(job)
    assert curves.points["loss"] == [(1, 3.0), (2, 2.0), (3, 2.25)]
    assert curves.points["match_rate_paper"] == [(2, 0.5), (4, 0.25)]
    assert (curves.step, curves.last("loss")) == (4, 2.25)
    assert {n: curves.best[n] for n in ("loss", "validation_loss", "match_rate_paper", "structures_per_s")} == {
        "loss": (2, 2.0), "validation_loss": (2, 2.5), "match_rate_paper": (2, 0.5), "structures_per_s": (2, 10.0),
    }  # fmt: skip
    assert trainings.read_curves(job) == curves


def test_another_attempt_forgets_what_came_after_its_checkpoint() -> None:
    job = training()
    write(job, (1, "loss", 3.0), (9, "loss", 0.5))
    assert trainings.read_curves(job).step == 9
    with store().session() as session:
        rows.drop_metrics_after(session, job.id, 1)
        rows.update_job(session, job.id, attempts=1)
    curves = trainings.read_curves(again(job.id))
    assert curves.points["loss"] == [(1, 3.0)]
    assert curves.best["loss"] == (1, 3.0)


@pytest.mark.parametrize("at_once", [True, False])
def test_long_curves_stay_small_and_their_best_is_exact(at_once: bool) -> None:
    job = training()
    points = [(s, "loss", abs(s - 4321.0)) for s in range(10_000)]
    size = len(points) if at_once else 700
    for start in range(0, len(points), size):
        write(job, *points[start : start + size])
        curves = trainings.read_curves(job)
    assert len(curves.points["loss"]) <= 2 * trainings.MOST
    assert curves.points["loss"][-1] == (9999, 5678.0)
    assert curves.best["loss"] == (4321, 0.0)


def test_states_in_the_words_of_a_training() -> None:
    assert trainings.state_of(training("running")) == "running"
    job = training("cancelled")
    assert trainings.state_of(job) == "cancelled"
    (Path(job.folder) / CHECKPOINT).touch()
    assert trainings.state_of(job) == "paused"
    running = training("running")
    assert not trainings.is_finishing(running)
    (Path(running.folder) / FINISH).touch()
    assert trainings.is_finishing(running)


def test_one_that_is_given_up_keeps_its_checkpoint_until_it_has_ended() -> None:
    job = training("running", started_at=1000.0)
    kept = [Path(job.folder) / name for name in (CHECKPOINT, BEST)]
    for path in kept:
        path.touch()
    trainings.give_up(job)
    assert all(path.is_file() for path in kept), "it still runs"
    with store().session() as session:
        rows.update_job(session, job.id, status="cancelled")
    (listed,) = trainings.list_trainings()
    assert listed.state == "cancelled"
    assert not any(path.exists() for path in kept)


def test_one_that_was_taken_up_again_is_not_given_up() -> None:
    job = training("cancelled", started_at=1000.0)
    (Path(job.folder) / CHECKPOINT).touch()
    os.utime(_given_up(job), (900.0, 900.0))
    trainings.tidy(job)
    assert trainings.can_go_on(job)
    trainings.give_up(job)
    assert not trainings.can_go_on(job)


def _given_up(job: Job) -> Path:
    path = Path(job.folder) / "given-up"
    path.touch()
    return path


def test_trainings_are_listed_with_their_best_values() -> None:
    first, second = training("done"), training("queued")
    write(first, (1, "validation_loss", 0.5), (2, "validation_loss", 0.75), (2, "match_rate_paper", 0.1))
    listed = trainings.list_trainings()
    assert [(t.job.id, t.best_loss, t.match_rate) for t in listed] == [(second.id, None, None), (first.id, 0.5, 0.1)]
    assert trainings.count_trainings() == 2
    assert [t.job.id for t in trainings.list_trainings(1, 1)] == [first.id]
