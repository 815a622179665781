"""Weights on disk: safetensors with the configuration beside them, written whole or not at all, never pickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.json"


class CheckpointError(ValueError):
    """A model or checkpoint that cannot be read; the message is a sentence."""


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically and durably."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        plain = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}
        try:
            save_file(plain, str(partial), dict(metadata or {}))
        except SafetensorError as error:  # it has no other word for a disk that is full
            raise OSError(f"{path.name} cannot be written: {error}") from error
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_tensor_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata. Raises CheckpointError."""
    try:
        with safe_open(str(path), "pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(str(path)), metadata
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is no safetensors file, or it is damaged.") from error


def save_model(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """Write a model's folder; weights as bfloat16. Returns the SHA-256 of the weights' file."""
    folder.mkdir(parents=True, exist_ok=True)
    halved = {k: t.to(torch.bfloat16) if t.is_floating_point() else t for k, t in weights.items()}
    write_tensor_file(folder / WEIGHTS, halved)
    write_values(folder / CONFIG, config)
    write_values(folder / CARD, card)
    return weights_hash(folder)


def write_values(path: Path, values: Mapping[str, Any]) -> None:
    """As JSON; what was there before is replaced at once."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(values, indent=1) + "\n")
    os.replace(partial, path)


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """config.json: task, method, network, network_config, and what the model learned from. Raises CheckpointError."""
    try:
        values = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{CONFIG} of this model is missing or damaged.") from error
    needed = {"task", "method", "network", "network_config"}
    if not isinstance(values, dict) or not needed <= set(values):
        raise CheckpointError(f"{CONFIG} of this model lacks {', '.join(sorted(needed - set(values)))}.")
    return values


def begin_with(network: nn.Module, folder: Path) -> None:
    """Give a network the weights of a model that may know more than it: the rest is left.

    Raises CheckpointError where it needs some that the model has not.
    """
    tensors, _ = read_tensor_file(folder / WEIGHTS)
    needed = network.state_dict()
    if any(name not in tensors or tensors[name].shape != t.shape for name, t in needed.items()):
        raise CheckpointError("This network cannot begin with the weights of that model: they do not fit.")
    network.load_state_dict({name: tensors[name].to(t.dtype) for name, t in needed.items()})


def load_weights(network: nn.Module, folder: Path) -> nn.Module:
    """The network with the folder's weights, in evaluation mode. Raises CheckpointError where they do not fit."""
    tensors, _ = read_tensor_file(folder / WEIGHTS)
    floats = {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}
    expected = {k: tuple(t.shape) for k, t in network.state_dict().items()}
    if expected != {k: tuple(t.shape) for k, t in floats.items()}:
        raise CheckpointError("The weights of this model do not fit its configuration.")
    network.load_state_dict(floats)
    return network.eval()
