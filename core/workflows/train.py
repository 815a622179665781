"""Train a model on a dataset: a job that can be paused, finished early, and goes on from its checkpoint."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from core.data.pairs import fits_ahead
from core.data.tensors import TRAIN, TensorData
from core.models.checkpoint import CheckpointError, save_model
from core.models.registry import NETWORKS, build_network
from core.training.checkpoints import BEST, CHECKPOINT
from core.training.devices import DeviceError, out_of_memory
from core.training.loop import Report, Training, TrainingError
from core.training.plan import Plan, make_plan, make_sources
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import check_name, get_dataset, load_tensors
from core.workflows.models import register
from core.workflows.seen import seen_in
from core.workflows.store import store
from core.workflows.training_cost import Estimate, estimate_plan
from core.workflows.training_samples import Judge, Samples, read_samples
from core.workflows.trainings import FINISH
from db import datasets as rows
from db.jobs import drop_metrics_after
from db.tables import Dataset, Model

__all__ = ["Estimate", "Samples", "TrainParams", "check_params", "estimate", "read_samples", "train"]


@dataclass(frozen=True)
class TrainParams:
    """What to train. Budget: steps, minutes or both, whichever ends first; method "" takes the task's first.

    What is None or "" from `batch` on has the preset's value (`core.training.presets.hyperparameters`).
    """

    dataset: str
    name: str
    task: str = "generation"
    method: str = ""
    network: str = "transformer"
    preset: str = "small"
    steps: int | None = None
    minutes: float | None = None
    batch: int | None = None
    learning_rate: float | None = None
    warmup: int | None = None
    clip: float | None = None
    weight_decay: float | None = None
    ema: float | None = None
    drop: float | None = None
    loss: str = ""
    geometry: str = ""
    noise: float | None = None
    schedule: str = ""
    path: str = ""
    precision: str = ""
    compile: bool = False
    patience: int | None = None
    pairs: str = ""
    seed: int = 0


def train(params: TrainParams, context: Context) -> dict[str, Any]:
    """Train (or go on from the folder's checkpoint) and put the model into the store. Raises UserError."""
    if (made := _made_before(context.job_id)) is not None:
        return made
    plan = check_params(params)
    dataset = get_dataset(params.dataset)
    data = plan.within(load_tensors(dataset))
    if plan.task == "modification" and context.device.startswith("cuda") and data.fits is None:
        context.progress(0.0, "Fitting pairs of polymorphs to one another")  # a GPU would wait for them in every epoch
        data = replace(data, fits=fits_ahead(data, os.cpu_count() or 1))
    try:
        learning, validation = make_sources(plan, data)
    except ValueError as error:
        raise UserError(str(error)) from error
    torch.manual_seed(params.seed)
    context.progress(0.0, "Preparing the network")
    with Judge(context) as judge:
        try:
            network = build_network(params.network, plan.network_config)
            run = Training(
                network, plan.sampler, learning, validation, plan.config, context.folder, context.device, judge
            )
            first = run.step == 0
            if not first and run.fleet.first:
                print(f"going on from the checkpoint at step {run.step}", flush=True)
                with store().session() as session:
                    drop_metrics_after(session, context.job_id, run.step)
            final = run.run(lambda report: _tell(context, report, judge), lambda: _stops(context))
        except (TrainingError, CheckpointError, DeviceError) as error:
            raise UserError(str(error)) from error
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                f"{context.device} ran out of memory: take a smaller batch than {plan.config.batch} or a smaller "
                "preset. The last checkpoint is kept."
            ) from error
        if not run.fleet.first:
            return {}  # the first process of several keeps the model
        if context.cancelled() and not _finishing(context):
            raise Cancelled
        final |= judge.wait()
    context.metrics(run.step, **final)
    model = _keep(params, plan, dataset, data, run, final, first, context)
    return {"model": model.name, "hash": model.hash, "steps": run.step, "best_step": run.best_step, **final}


def _made_before(job_id: int) -> dict[str, Any] | None:
    """The result of a run that was ended when its model was in the store already."""
    with store().session() as session:
        model = rows.model_of_job(session, job_id) if job_id else None
    if model is None:
        return None
    steps = {key: model.card.get(key, 0) for key in ("steps", "best_step")}
    return {"model": model.name, "hash": model.hash, **steps, **model.card.get("metrics", {})}


def check_params(params: TrainParams) -> Plan:
    """Everything that can be known to be wrong before a job starts. Raises UserError."""
    check_name(params.name)
    with store().session() as session:
        if rows.find_model(session, params.name):
            raise UserError(f"There is a model {params.name!r} already: choose another name.")
    plan = plan_of(params)
    if not params.steps and not params.minutes:
        raise UserError("Say how long to train: a number of minutes or of steps.")
    get_dataset(params.dataset)
    return plan


def plan_of(params: TrainParams) -> Plan:
    """The params with the preset's defaults. Raises UserError for values that cannot be."""
    try:
        return make_plan(params.task, params.method, params.network, params.preset, asdict(params))
    except ValueError as error:
        raise UserError(str(error)) from error


def estimate(params: TrainParams, device: str = "cpu") -> Estimate:
    """What this training would cost on a device here, without building it. Raises UserError."""
    plan = plan_of(params)
    data = load_tensors(get_dataset(params.dataset))
    natoms = data.crystals.natoms[plan.within(data).part(TRAIN)]
    too_large = plan.too_large(data)
    if not len(natoms):
        raise UserError(
            f"Every structure of the training part has more than the {NETWORKS[plan.network].max_sites} atoms that "
            f"the {plan.network} holds."
            if too_large
            else "The training part of this dataset is empty."
        )
    return replace(estimate_plan(plan, natoms, device), too_large=too_large)


def _stops(context: Context) -> bool:
    return context.cancelled() or _finishing(context)


def _finishing(context: Context) -> bool:
    return (context.folder / FINISH).exists()


def _tell(context: Context, report: Report, judge: Judge) -> None:
    context.metrics(report.step, **report.values)
    judge.tell()
    speed = report.values.get("structures_per_s", 0.0)
    context.progress(report.fraction, f"Step {report.step:,}, {speed:,.0f} structures/s", report.eta_s)


def _keep(
    params: TrainParams,
    plan: Plan,
    dataset: Dataset,
    data: TensorData,
    run: Training,
    final: dict[str, float],
    unbroken: bool,
    context: Context,
) -> Model:
    """The model's folder with its card, into the store; what the training needed to go on is given back."""
    known = plan.model_config() | {"energy_method": dataset.method, "seen": seen_in(data)}
    staged = context.folder / "model"
    save_model(staged, run.weights(), known, _card(params, plan, dataset, run, final, unbroken))
    model = register(params.name, staged, context.job_id)
    with suppress(OSError):  # gigabytes for the large preset
        for name in (CHECKPOINT, BEST):
            (context.folder / name).unlink(missing_ok=True)
    return model


def _card(
    params: TrainParams, plan: Plan, dataset: Dataset, run: Training, final: dict[str, float], unbroken: bool
) -> dict[str, Any]:
    return {
        "name": params.name,
        "task": params.task,
        "parameters": parameters_of(run.network),
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "energy_method": dataset.method,
        "recipe": asdict(params) | {"method": plan.method} | plan.values,
        "steps": run.step,
        "best_step": run.best_step,
        "training_minutes": round(run.seconds / 60, 2),
        "uninterrupted": unbroken,
        "device": f"{run.fabric.device.type}, {_threads()}, {platform.machine()}",
        "metrics": {name: round(value, 5) for name, value in final.items()},
        "made": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
    }


def _threads() -> str:
    count = torch.get_num_threads()
    return "1 thread" if count == 1 else f"{count} threads"


def parameters_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
