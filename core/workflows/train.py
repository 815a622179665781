"""Train a model on a dataset: a job that can be stopped and goes on from its checkpoint."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pymatgen.core import Element

from core.data.formulas import elements_of, pattern
from core.data.pairs import PairRules, align, draw_pairs, lowest_energy_pairs, pair_groups
from core.data.tensors import TRAIN, VALIDATION, TensorData
from core.models.checkpoint import CheckpointError, save_model
from core.models.registry import as_values, build_network, configure
from core.samplers.registry import METHODS, sampler_for
from core.training.data import GenerationSource, ModificationSource, Source
from core.training.loop import Report, TrainConfig, Training, TrainingError
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import check_name, get_dataset, load_tensors
from core.workflows.models import register
from core.workflows.store import store
from db import datasets as rows
from db.tables import Dataset


@dataclass(frozen=True)
class TrainParams:
    """What to train. Budget: steps, minutes or both, whichever ends first; method "" takes the task's first."""

    dataset: str
    name: str
    task: str = "generation"
    method: str = ""
    network: str = "transformer"
    preset: str = "small"
    steps: int | None = None
    minutes: float | None = None
    batch: int = 64
    learning_rate: float = 5e-4
    seed: int = 0


def train(params: TrainParams, context: Context) -> dict[str, Any]:
    """Train (or go on from the folder's checkpoint) and put the model into the store. Raises UserError."""
    check_params(params)
    dataset = get_dataset(params.dataset)
    data = load_tensors(dataset)
    method = params.method or next(iter(METHODS[params.task]))
    network_config = configure(params.network, params.preset)
    learning, validation = _sources(params.task, data, params.seed)
    torch.manual_seed(params.seed)
    config = TrainConfig(params.steps, params.minutes, params.batch, params.learning_rate, seed=params.seed)
    context.progress(0.0, "Preparing the network")
    try:
        network = build_network(params.network, as_values(network_config))
        sampler = sampler_for(params.task, method)
        run = Training(network, sampler, learning, validation, config, context.folder, context.device)
        if run.step:
            print(f"going on from the checkpoint at step {run.step}", flush=True)
        first = run.step == 0
        final = run.run(lambda report: _tell(context, report), context.cancelled)
    except (TrainingError, CheckpointError) as error:
        raise UserError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise UserError("The device ran out of memory: take a smaller batch or a smaller preset.") from error
    if context.cancelled():
        raise Cancelled
    known = {
        "task": params.task,
        "method": method,
        "network": params.network,
        "network_config": as_values(network_config),
        "energy_method": dataset.method,
        "seen": _seen(data),
    }
    card = _card(params, dataset, run, final, first)
    staged = context.folder / "model"
    save_model(staged, run.average, known, card)
    model = register(params.name, staged, context.job_id)
    return {"model": model.name, "hash": model.hash, "steps": run.step, **final}


def check_params(params: TrainParams) -> None:
    """Everything that can be known to be wrong before a job starts. Raises UserError."""
    check_name(params.name)
    with store().session() as session:
        if rows.find_model(session, params.name):
            raise UserError(f"There is a model {params.name!r} already: choose another name.")
    try:
        sampler_for(params.task, params.method or next(iter(METHODS.get(params.task, {"": None}))))
        configure(params.network, params.preset)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not params.steps and not params.minutes:
        raise UserError("Say how long to train: a number of minutes or of steps.")
    if params.batch < 1 or not 0 < params.learning_rate < 1:
        raise UserError("The batch must be 1 or more, the learning rate between 0 and 1.")
    get_dataset(params.dataset)


def _sources(task: str, data: TensorData, seed: int) -> tuple[Source, Source | None]:
    """What is learned from and what is validated on: lowest-energy pairs only there, as in the paper."""
    learning, validation = data.part(TRAIN), data.part(VALIDATION)
    if task == "generation":
        return (
            GenerationSource(data.crystals, learning),
            GenerationSource(data.crystals, validation) if len(validation) else None,
        )
    groups = pair_groups(data, learning, PairRules())
    if not len(groups.sizes):
        raise UserError(
            "This dataset has nothing to learn modification from: it needs formulas with two or more structures of one "
            "cell size and with energies."
        )
    held_out = lowest_energy_pairs(pair_groups(data, validation))
    fixed = ModificationSource(data.crystals, lambda _: held_out, align, held_out)

    def draw(epoch: int) -> torch.Tensor:
        return draw_pairs(groups, seed, epoch)

    return ModificationSource(data.crystals, draw, align, draw(0)), fixed if len(held_out) else None


def _tell(context: Context, report: Report) -> None:
    context.metrics(report.step, **report.values)
    speed = report.values.get("structures_per_s", 0.0)
    context.progress(report.fraction, f"Step {report.step:,}, {speed:,.0f} structures/s", report.eta_s)


def _seen(data: TensorData) -> dict[str, Any]:
    """What the training part holds, to warn by when something else is asked."""
    rows_ = data.part(TRAIN)
    natoms, energy = data.crystals.natoms[rows_], data.crystals.energy[rows_]
    energy = energy[torch.isfinite(energy)]
    formulas = [data.formulas[i] for i in torch.unique(data.formula[rows_]).tolist()]
    elements = {e for f in formulas for e in elements_of(f)}
    return {
        "elements": sorted(elements, key=lambda s: Element(s).Z),
        "natoms": [int(natoms.min()), int(natoms.max())],
        "space_groups": sorted(set(data.crystals.group[rows_].tolist()) - {0}),
        "patterns": sorted({pattern(f) for f in formulas}),
        "energies": [round(float(energy.min()), 4), round(float(energy.max()), 4)] if len(energy) else None,
        "formulas": len(formulas),
        "structures": len(rows_),
    }


def _card(
    params: TrainParams, dataset: Dataset, run: Training, final: dict[str, float], unbroken: bool
) -> dict[str, Any]:
    return {
        "name": params.name,
        "task": params.task,
        "parameters": sum(p.numel() for p in run.network.parameters()),
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "energy_method": dataset.method,
        "recipe": asdict(params),
        "steps": run.step,
        "training_minutes": round(run.seconds / 60, 2),
        "uninterrupted": unbroken,
        "device": f"{run.fabric.device.type}, {torch.get_num_threads()} thread(s), {platform.machine()}",
        "metrics": {name: round(value, 5) for name, value in final.items()},
        "made": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
    }
