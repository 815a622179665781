"""A training's troubles are sentences, and what it learned is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.training import loop
from core.training.checkpoints import CHECKPOINT, Samples
from core.training.loop import Training
from core.workflows import datasets, models
from core.workflows.context import UserError
from core.workflows.imports import ImportParams, import_files
from core.workflows.train import TrainParams, estimate, read_samples, train
from core.workflows.training_samples import Judge
from core.workflows.trainings import FINISH, finish
from db import jobs as job_rows
from tests.conftest import TestContext
from tests.data.test_readers import GOOD
from tests.models.test_learning import some_crystals
from tests.workflows.test_workflows import run_of

QUICK = TrainParams("starter", "quickly", preset="quick", steps=12, batch=16)


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation crystals enough to see that it works."""
    init = Training.__init__

    def smaller(self: Training, *arguments: Any, **more: Any) -> None:
        config = replace(arguments[4], samples=4, sample_steps=3)
        init(self, *arguments[:4], config, *arguments[5:], **more)

    monkeypatch.setattr(Training, "__init__", smaller)


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")])  # fmt: skip
def test_running_out_of_memory_is_a_sentence_that_keeps_the_checkpoint(
    starter: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    context = run_of("train", QUICK)
    advance, calls = Training._advance, [0]

    def failing(self: Training) -> Any:
        calls[0] += 1
        if calls[0] == 6:
            self.save()
            raise error
        return advance(self)

    monkeypatch.setattr(Training, "_advance", failing)
    with pytest.raises(UserError, match="smaller batch than 16 or a smaller preset"):
        train(QUICK, context)
    assert (context.folder / CHECKPOINT).is_file()
    monkeypatch.setattr(Training, "_advance", advance)
    assert train(QUICK, context)["steps"] == 12


def test_another_error_is_not_called_memory(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "_advance", lambda self: (_ for _ in ()).throw(RuntimeError("shapes do not fit")))
    with pytest.raises(RuntimeError, match="shapes"):
        train(QUICK, run_of("train", QUICK))


def test_a_dataset_that_was_deleted_meanwhile_is_named(starter: Path) -> None:
    context = run_of("train", QUICK)
    for model in models.list_models():  # which learned from it too
        models.delete_model(model.name)
    datasets.delete_dataset("starter")
    with pytest.raises(UserError, match="starter"):
        train(QUICK, context)


def test_finishing_early_keeps_the_model(starter: Path, few_samples: None) -> None:
    params = replace(QUICK, steps=100_000)
    context = run_of("train", params)
    with pytest.raises(UserError, match="no training that runs"):
        finish(context.job_id)
    with job_rows_session() as session:
        job_rows.update_job(session, context.job_id, status="running", folder=str(context.folder))
    finish(context.job_id)
    assert (context.folder / FINISH).is_file()
    result = train(params, context)
    assert result["steps"] == 0
    assert models.get_model("quickly").card["steps"] == 0
    assert not (context.folder / CHECKPOINT).exists(), "the disk is given back"


def job_rows_session() -> Any:
    from core.workflows.store import store

    return store().session()


@pytest.mark.slow
def test_samples_are_judged_beside_the_training_and_shown(starter: Path, few_samples: None) -> None:
    context = run_of("train", QUICK)
    result = train(QUICK, context)
    assert {"match_rate_paper", "match_rate_field", "valid", "validation_loss"} <= set(result)
    samples = read_samples(str(context.folder))
    assert samples is not None
    assert samples.step == 12
    assert len(samples.drawn) == len(samples.target) == 4
    for name in ("paper", "field"):
        assert None not in samples.matched[name]
        assert sum(bool(m) for m in samples.matched[name]) / 4 == result[f"match_rate_{name}"]
    card = models.get_model("quickly").card
    assert card["metrics"]["match_rate_field"] == pytest.approx(result["match_rate_field"], abs=1e-5)
    assert card["recipe"]["learning_rate"] == 5e-4, "the card names every hyperparameter"


@pytest.mark.slow
def test_the_judge_tells_the_truth_and_never_waits(tmp_path: Path) -> None:
    context = TestContext(tmp_path)
    target = some_crystals(6)
    drawn = replace(target, frac=torch.where(torch.arange(6)[:, None, None] < 4, target.frac, target.frac * 0.37))
    with Judge(context) as judge:
        judge(Samples(7, drawn, target))
        judge.tell()  # nothing is known yet, or all: both are right
        found = judge.wait() or context.values[-1][1]
    assert found["match_rate_paper"] == pytest.approx(4 / 6)
    assert [step for step, _ in context.values] == [7]
    assert json.loads((tmp_path / "verdicts.json").read_text())["paper"] == [True] * 4 + [False] * 2


def test_what_a_training_would_cost(starter: Path) -> None:
    quick = estimate(QUICK)
    paper = estimate(TrainParams("starter", "p", network="unet", preset="paper", minutes=1.0))
    assert quick.parameters == 202_225
    assert round(paper.parameters / 1e6, 1) == 304.8
    assert quick.structures == paper.structures == 2927
    assert quick.structures_per_s > 100 * paper.structures_per_s
    assert paper.memory_mb > 305 * 4 * 5
    assert quick.epoch_s == pytest.approx(quick.structures / quick.structures_per_s)
    with pytest.raises(UserError, match="no loss"):
        estimate(replace(QUICK, loss="cubed"))


def test_nothing_is_read_where_nothing_was_drawn(tmp_path: Path) -> None:
    assert read_samples(str(tmp_path)) is None
    (tmp_path / "samples.safetensors").write_bytes(b"half a file")
    assert read_samples(str(tmp_path)) is None
    assert loop.CHECKPOINT == CHECKPOINT


def stacks(folder: Path) -> str:
    """A dataset of borides, each as a cell of 1, 3, 7 and 21 layers: of 3, 9, 21 and 63 atoms. Returns its name."""
    rows = []
    for metal in ("Ta", "Ti", "W", "Zr"):
        for n in (1, 3, 7, 21):
            sites = GOOD["positions_fractional"]
            boron, other = (
                [[x, y, (z + k) / n] for k in range(n) for x, y, z in part] for part in (sites[:2], sites[2:])
            )
            geometry = [3.1, 3.1 + 0.01 * n, 3.3 * n, 90.0, 90.0, 120.0]
            rows.append(GOOD | {"auid": f"{metal}{n}", "species": ["B", metal], "composition": [2 * n, n],
                "positions_fractional": boron + other, "geometry": geometry, "enthalpy_formation_atom": -0.5 - 0.01 * n,
                "spacegroup_relax": 65})  # fmt: skip
    file, context = folder / "stacks.jsonl", TestContext(folder / "made")
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    import_files(ImportParams((str(file),), "layers", "M"), context)
    datasets.build_dataset(datasets.BuildParams(imports=("layers",), name="stacks", split=0.25), context)
    return "stacks"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["generation", "modification"])
def test_a_network_learns_from_what_it_can_hold(task: str, tmp_path: Path, var: Path, few_samples: None) -> None:
    """Cells of 9 and 21 atoms meet in one of 63: that pair is left out too."""
    params = TrainParams(stacks(tmp_path), "u", task, network="unet", preset="quick", steps=2, batch=4)
    cost = estimate(params)
    assert (cost.structures, cost.too_large) == (9, 3)
    assert estimate(replace(params, network="transformer")).too_large == 0
    train(params, run_of("train", params))
    assert models.load_model("u").seen["natoms"] == [3, 21]
