"""What a training keeps in its folder: the checkpoint to go on from, the best weights, the latest samples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.crystals import Crystals
from core.models.checkpoint import read_tensor_file, write_tensor_file

CHECKPOINT, BEST, SAMPLES = "checkpoint.safetensors", "best.safetensors", "samples.safetensors"
_FIELDS = ("frac", "lattice", "numbers", "group", "energy")
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Snapshot:
    """weights and their average, moments of the optimiser by parameter, and numbers that JSON holds."""

    weights: Weights
    average: Weights
    optimizer: dict[int, dict[str, Tensor]]
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Samples:
    """Crystals drawn at a step of training for M validation examples, and what they should have become.

    start: what was modified, None for generation
    """

    step: int
    drawn: Crystals
    target: Crystals
    start: Crystals | None = None


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Atomically. Raises OSError or SafetensorError where the disk does not take it; what was there stays."""
    tensors = {f"model.{k}": v for k, v in snapshot.weights.items()}
    if snapshot.average is not snapshot.weights:
        tensors |= {f"average.{k}": v for k, v in snapshot.average.items()}
    for i, state in snapshot.optimizer.items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_tensor_file(folder / CHECKPOINT, tensors, {"state": json.dumps(snapshot.numbers)})


def read_snapshot(folder: Path) -> Snapshot | None:
    """The folder's checkpoint, None where there is none. Raises CheckpointError for a damaged one."""
    if not (folder / CHECKPOINT).is_file():
        return None
    tensors, metadata = read_tensor_file(folder / CHECKPOINT)
    parts: dict[str, Weights] = {"model": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        parts[head][rest] = tensor
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = tensor
    return Snapshot(parts["model"], parts["average"] or parts["model"], moments, json.loads(metadata["state"]))


def write_samples(folder: Path, samples: Samples) -> None:
    """The latest samples replace those before."""
    tensors = {}
    for name in ("drawn", "target", "start"):
        crystals = getattr(samples, name)
        for field in _FIELDS if crystals is not None else ():
            tensors[f"{name}.{field}"] = getattr(crystals, field).clone()  # they share numbers
    write_tensor_file(folder / SAMPLES, tensors, {"step": str(samples.step)})


def read_samples(folder: Path) -> Samples | None:
    """None where nothing was drawn yet. Raises CheckpointError for a damaged file."""
    if not (folder / SAMPLES).is_file():
        return None
    tensors, metadata = read_tensor_file(folder / SAMPLES)
    parts = {
        name: Crystals(*(tensors[f"{name}.{field}"] for field in _FIELDS))
        for name in ("drawn", "target", "start")
        if f"{name}.frac" in tensors
    }
    return Samples(int(metadata["step"]), **parts)
