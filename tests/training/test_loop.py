"""What people trust a training for: the best is kept, trouble is a sentence, every method learns."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.learn_by_heart import came_back, learn
from core.crystals import Crystals, concatenate, to_structures
from core.data.fitted_pairs import PairCells, starts_of
from core.evaluation.matching import rms_distance
from core.models.checkpoint import read_config, read_tensor_file
from core.models.registry import as_values, build_network, configure
from core.samplers.registry import METHODS, sampler_for
from core.settings import ROOT
from core.training import loop
from core.training.checkpoints import CHECKPOINT, SAMPLES, Samples, read_samples
from core.training.data import (
    GenerationSource,
    ModificationSource,
    Resident,
    generation_examples,
)
from core.training.loop import TrainConfig, Training, TrainingError
from core.training.plan import make_plan
from core.training.presets import PAPER_VALUES
from tests.models.test_learning import generator, some_crystals, training

EVERY = [(task, method) for task in METHODS for method in METHODS[task]]


def never() -> bool:
    return False


def test_the_best_by_validation_is_kept_and_patience_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = generation_examples(some_crystals(20))
    run = training(tmp_path, examples, steps=200, validate_s=0.0, patience=2, samples=0)
    losses = iter([5.0, 3.0, 4.0, 4.5, 9.0, 9.0, 9.0])
    kept: list[dict[str, torch.Tensor]] = []

    def validate() -> dict[str, float]:
        kept.append({k: v.clone() for k, v in run.average.items()})
        return {"validation_loss": next(losses)}

    monkeypatch.setattr(run, "validate", validate)
    monkeypatch.setattr(loop._Clock, "since", lambda self, what: 2.0)  # every step reports
    monkeypatch.setattr(loop, "_VALIDATING_SHARE", math.inf)  # and validates
    run.run(lambda _: None, never)
    assert run.step == 5
    assert (run.best, run.best_step) == (3.0, 2)
    for name, value in run.weights().items():
        assert torch.equal(value, kept[1][name]), name


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """kill -9 between and within checkpoints, twice; then the weights of a run that was left alone."""
    code = (
        "import sys; from pathlib import Path; from tests.models.test_learning import *\n"
        "run = training(Path(sys.argv[1]), generation_examples(some_crystals(20)), steps=400, samples=0)\n"
        "advance = run._advance\n"
        "def slowly():\n"
        "    run.save()\n"
        "    return advance()\n"
        "run._advance = slowly\n"
        "run.run(lambda _: None, lambda: False)\n"
    )
    folder = tmp_path / "cut"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(2):
        before = (folder / CHECKPOINT).stat().st_mtime_ns if folder.exists() else 0
        child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(folder)], cwd=ROOT, env=environment)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (folder / CHECKPOINT).is_file() and (folder / CHECKPOINT).stat().st_mtime_ns > before:
                break
            time.sleep(0.01)
        time.sleep(0.3)
        child.kill()
        child.wait()
    examples = generation_examples(some_crystals(20))
    resumed = training(folder, examples, steps=400, samples=0, checkpoint_s=1e9)
    assert 0 < resumed.step < 400
    resumed.run(lambda _: None, never)
    whole = training(tmp_path / "whole", examples, steps=400, samples=0, checkpoint_s=1e9)
    whole.run(lambda _: None, never)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
        assert torch.equal(resumed.average[name], whole.average[name]), name


def test_without_averaging_the_weights_themselves_are_kept(tmp_path: Path) -> None:
    examples = generation_examples(some_crystals(8))
    run = training(tmp_path, examples, steps=6, ema=0.0, samples=0)
    run.run(lambda _: None, never)
    state = run.network.state_dict()
    assert all(torch.equal(run.average[k], v) for k, v in state.items())
    tensors, _ = read_tensor_file(tmp_path / CHECKPOINT)
    assert not [name for name in tensors if name.startswith("average.")]
    again = training(tmp_path, examples, steps=6, ema=0.0)
    assert all(torch.equal(again.average[k], v) for k, v in state.items())


def test_a_full_disk_is_a_sentence_and_the_checkpoint_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = generation_examples(some_crystals(8))
    training(tmp_path, examples, steps=3, samples=0).run(lambda _: None, never)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    run = training(tmp_path, examples, steps=9, samples=0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*free space"):
        run.run(lambda _: None, never)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "nothing half-written"


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    run = training(tmp_path, generation_examples(some_crystals(8)), steps=3, samples=0)
    run.save()
    kept = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        next(run.network.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="no longer a number"):
        run.save()
    assert (tmp_path / CHECKPOINT).read_bytes() == kept


def test_samples_are_drawn_at_the_end_handed_over_and_kept(tmp_path: Path) -> None:
    crystals = some_crystals(12)
    taken: list[Samples] = []
    examples = generation_examples(crystals)
    run = training(tmp_path, examples, steps=4, samples=5, sample_steps=3)
    run._sampling.on_samples = taken.append
    run.run(lambda _: None, never)
    found = read_samples(tmp_path)
    assert found is not None
    assert (len(taken), found.step, len(found.drawn), len(found.target)) == (1, 4, 5, 5)
    spread = torch.linspace(0, 11, 5).long().tolist()
    chosen = [next(i for i in spread if torch.equal(crystals.numbers[i], n)) for n in found.target.numbers]
    assert sorted(chosen) == spread != chosen, "neighbours in the dataset do not stand together"
    assert torch.equal(found.target.group, crystals.group[chosen])
    for drawn, real in zip(to_structures(found.target), to_structures(crystals[chosen]), strict=True):
        assert rms_distance(drawn, real) == pytest.approx(0, abs=1e-4)
    assert found.start is None
    (tmp_path / SAMPLES).unlink()
    assert read_samples(tmp_path) is None


def test_drawing_takes_at_most_a_tenth_of_the_time(tmp_path: Path) -> None:
    run = training(tmp_path, generation_examples(some_crystals(12)), steps=4)
    sampling = run._sampling
    sampling.took = 3.0
    assert not sampling.due(run.network, 10.0), "nothing is worth drawing so early"
    assert not sampling.due(run.network, 29.0)
    assert sampling.due(run.network, 31.0)
    assert sampling.affordable(run.network, 1.0)
    sampling.took = 61.0
    assert not sampling.affordable(run.network, 600.0)
    assert sampling.affordable(run.network, 611.0)
    sampling.took, sampling.spent = 3.0, 3.0
    assert not sampling.due(run.network, 59.0)
    assert sampling.due(run.network, 61.0)


def test_examples_on_the_device_are_those_of_the_source() -> None:
    crystals = some_crystals(30)
    source = GenerationSource(crystals, torch.arange(30).flip(0))
    resident = Resident.of(source, torch.device("cpu"))
    assert resident.at(3) is resident
    assert torch.equal(resident.sizes, source.sizes)
    index = torch.tensor([4, 0, 17])
    ours, theirs = resident[index], source[index]
    assert torch.equal(ours.target.frac, theirs.target.frac[:, : ours.target.frac.shape[1]])
    assert torch.equal(ours.conditions.numbers, theirs.conditions.numbers[:, : ours.target.frac.shape[1]])
    assert torch.equal(ours.target.lattice, theirs.target.lattice)


def test_the_preset_paper_is_the_paper() -> None:
    plan = make_plan("modification", "regression", "unet", "paper", {"minutes": 1.0})
    config = plan.config
    assert (config.batch, config.learning_rate, config.warmup, config.clip) == (256, 1e-4, 500, 1.0)
    assert (config.ema, config.weight_decay, config.drop, config.loss) == (0.0, 0.0, 0.0, "periodic")
    assert make_plan("generation", "ddpm", "unet", "paper", {}).config.loss == "l1"
    assert plan.cell == "vectors"
    assert plan.network_config["plain"] is True
    assert make_plan("generation", "ddpm", "unet", "paper", {}).network_config["time_scale"] == 1000.0
    assert set(PAPER_VALUES) == set(plan.values)
    ours = make_plan("generation", "", "transformer", "small", {"batch": 7, "loss": ""})
    assert (ours.method, ours.config.batch, ours.cell) == ("cfm-uniform", 7, "log")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 0}, "batch"),
        ({"ema": 1.0}, "averaged"),
        ({"loss": "cubed"}, "no loss"),
        ({"pairs": "many"}, "no pairs"),
        ({"precision": "8"}, "no precision"),
        ({"noise": -1.0}, "negative"),
        ({"geometry": "flat"}, "no geometry"),
    ],
)
def test_what_cannot_be_trained_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan("generation", "", "transformer", "small", wrong)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_bare_machine_trains_from_one_file_alone_or_with_others(
    processes: int, tmp_path: Path, starter: Path
) -> None:
    """`core.training` under torchrun (gloo) and without: one model, whose average is the same on every process."""
    from core.workflows.dataset_export import export_dataset

    file = tmp_path / "data.safetensors"
    export_dataset("starter", file, tensors=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes > 1 else []
    asked = ["--preset", "quick", "--steps", "12", "--batch", "16", "--device", "cpu"]
    command = [
        sys.executable,
        "-W",
        "ignore",
        *launcher,
        "-m",
        "core.training",
        str(file),
        str(tmp_path / "run"),
        *asked,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_config(tmp_path / "run" / "model")["method"] == "cfm-uniform"
    card = json.loads((tmp_path / "run" / "model" / "card.json").read_text())
    assert (card["steps"], card["device"]) == (12, f"{processes} x cpu")
    lines = [json.loads(line) for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 12
    assert all(math.isfinite(line["loss"]) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "method"), EVERY)
def test_every_method_learns_eight_crystals_by_heart(task: str, method: str) -> None:
    """Eight of 4 to 8 atoms; `benchmarks.learn_by_heart` does it with 32 real ones."""
    crystals = some_crystals(8, sites=8, seed=4)
    steps = {"cfm-uniform": 1500, "cfm-normal": 1500, "regression": 400, "cfm": 500}.get(method, 1000)
    assert all(came_back(learn(crystals, task, method, steps), crystals))


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_lower_precision_learns_and_keeps_weights_of_32_bits(precision: str, tmp_path: Path) -> None:
    """float16 needs a GPU: on a processor it trains in 32 bits."""
    run = training(tmp_path, generation_examples(some_crystals(16)), steps=20, samples=0, precision=precision)
    seen: list[float] = []
    run.run(lambda report: seen.append(report.values["loss"]), never)
    assert all(math.isfinite(value) for value in seen)
    assert {v.dtype for v in run.weights().values()} == {torch.float32}
    assert run.step == 20


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:x", "mps"])
def test_a_device_that_is_not_here_is_named(device: str, tmp_path: Path) -> None:
    network = build_network("transformer", as_values(configure("transformer", "quick")))
    examples = generation_examples(some_crystals(4))
    with pytest.raises(ValueError, match=f"no device '{device}' here: choose cpu"):
        Training(network, sampler_for("generation", "ddpm"), examples, None, TrainConfig(steps=1), tmp_path, device)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced for real; the code that is traced is run without a C++ compiler, which not every machine has."""
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_(self, backend="eager"))
    examples = generation_examples(some_crystals(8))
    losses = []
    for name, compiles in (("plain", False), ("compiled", True)):
        run = training(tmp_path / name, examples, steps=3, samples=0, compile=compiles)
        losses.append(run.run(lambda _: None, never)["validation_loss"])
        assert not [k for k in run.weights() if "_orig_mod" in k], "a model is the same whatever trained it"
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_starts_stay_as_they_are_and_targets_come_to_them() -> None:
    """Nothing of a target is in its start: what is trained on is what a user brings."""
    target = some_crystals(10)
    order = torch.stack([torch.cat([torch.randperm(int(n)), torch.arange(int(n), 6)]) for n in target.natoms])
    shift = torch.rand(10, 1, 3, generator=generator(4))
    frac = (target.frac.gather(1, order[:, :, None].expand(-1, -1, 3)) + shift) % 1 * target.mask[:, :, None]
    numbers = target.numbers.gather(1, order)
    start = Crystals(frac, target.lattice, numbers, target.group, target.energy)
    both = concatenate([start, target])
    pairs = torch.stack([torch.arange(10), torch.arange(10, 20)], 1)
    source = ModificationSource(PairCells(both), lambda _: pairs, pairs)
    examples = source[torch.arange(10)]
    given = examples.conditions.start
    assert given is not None
    alone = starts_of(start, [1] * 10)
    torch.testing.assert_close(given.frac, alone.frac.float())
    assert torch.equal(examples.conditions.numbers, alone.numbers)
    torch.testing.assert_close(examples.target.frac, given.frac, atol=1e-5, rtol=0)  # the same crystal again
