"""What a training is told: the budget and the hyperparameters, and their defaults by preset."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from core.samplers.geometry import PAPER, PERIODIC

PRECISIONS = {
    "auto": "bfloat16 on a GPU that has it, else 32 bits",
    "32": "32 bits",
    "bf16": "bfloat16 where it is safe",
    "16": "float16 where it is safe (the paper); 32 bits on a processor",
}


@dataclass(frozen=True)
class TrainConfig:
    """A budget (steps, or minutes of training, or both: the first to end) and the usual hyperparameters.

    ema: decay of the averaged weights, 0 for none; precision: one of `PRECISIONS`; compile: torch.compile
    drop: probability that the space group, and that the energy, is not told, so that one model serves without them
    patience: validations in a row without a better loss after which training ends early, None for never
    samples, sample_steps: validation crystals drawn now and then, at most a tenth of the time, and steps to draw them
    """

    steps: int | None = None
    minutes: float | None = None
    batch: int = 64
    learning_rate: float = 5e-4
    warmup: int = 200
    clip: float = 1.0
    weight_decay: float = 0.0
    ema: float = 0.999
    drop: float = 0.1
    loss: str = "squared"
    precision: str = "auto"
    compile: bool = False
    patience: int | None = None
    seed: int = 0
    checkpoint_s: float = 20.0
    validate_s: float = 10.0
    samples: int = 64
    sample_steps: int = 50


PAPER_VALUES: dict[str, Any] = {
    "batch": 256,
    "learning_rate": 1e-4,
    "warmup": 500,
    "clip": 1.0,
    "weight_decay": 0.0,
    "ema": 0.0,
    "drop": 0.0,
    "loss": "l1",
    "geometry": PAPER,
    "noise": 0.0,
    "schedule": "cosine",
    "path": "centred",
    "precision": "16",
    "pairs": "paper",
}


_OURS: dict[str, Any] = {f.name: f.default for f in fields(TrainConfig) if f.name in PAPER_VALUES} | {
    "geometry": PERIODIC,
    "noise": 0.02,
    "schedule": "cosine",
    "path": "matched",
    "pairs": "all",
}


def hyperparameters(network: str, preset: str, method: str) -> dict[str, Any]:
    """Every hyperparameter's default for a preset: the preset "paper" has the paper's (its appendix A.3).

    Ours differ: coordinates move on the torus, cells are log matrices, squares instead of absolute values, averaged
    weights, conditions that can be left out, and more pairs of polymorphs in an epoch.
    """
    values = dict(PAPER_VALUES if preset == "paper" else _OURS)
    if preset == "paper" and method == "regression":
        values["loss"] = "periodic"
    return values
