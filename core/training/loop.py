"""The training loop: one for all networks and samplers, on Lightning Fabric."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from core.models.checkpoint import read_tensor_file, write_tensor_file
from core.models.state import Conditions, State
from core.samplers.flow import FlowMatching
from core.training.data import Examples, Source, batches
from core.training.losses import velocity_loss

CHECKPOINT = "checkpoint.safetensors"
_SEEDS = 2**31 - 1
_VALIDATED = 2048  # examples


class TrainingError(ValueError):
    """Training cannot go on; the message is a sentence. The last good checkpoint stays."""


@dataclass(frozen=True)
class TrainConfig:
    """A budget (steps, or minutes of training, or both: the first to end) and the usual hyperparameters.

    drop: probability that the space group, and that the energy, is not told, so that one model serves without them
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
    seed: int = 0
    checkpoint_s: float = 20.0
    validate_s: float = 10.0


@dataclass(frozen=True)
class Report:
    """How it goes: step, share of the budget used, seconds to go, and numbers to draw against the step."""

    step: int
    fraction: float
    eta_s: float
    values: dict[str, float]


class Training:
    """A run with its state in a folder: made anew, or resumed from the folder's checkpoint.

    On one CPU with a budget of steps a resumed run gives bit for bit what an uninterrupted one gives: every step draws
    from a seed of its own.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: FlowMatching,
        train: Source,
        validation: Source | None,
        config: TrainConfig,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        if not len(train):
            raise TrainingError("The training part is empty: choose a dataset with more formulas.")
        if config.steps is None and config.minutes is None:
            raise TrainingError("Say how long to train: a number of steps or of minutes.")
        kind, _, index = device.partition(":")
        self.fabric = Fabric(accelerator=kind, devices=[int(index or 0)] if kind == "cuda" else 1)
        self.config, self.sampler, self.folder = config, sampler, folder
        self.network = network.to(self.fabric.device)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=config.weight_decay
        )
        self.model, self.optimizer = self.fabric.setup(_Plain(self.network), optimizer)
        self.train, self.validation = train, validation
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step, self.epoch, self.seconds = 0, 0, 0.0
        self._place = 0  # of the next batch in its epoch
        self._order: list[Tensor] = []
        if (folder / CHECKPOINT).is_file():
            self._load()

    def run(self, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Train until the budget is used or `should_stop`; writes checkpoints. Returns the last validation losses."""
        started, before = time.monotonic(), self.seconds
        saved = validated = started
        seen, losses = 0, dict[str, list[Tensor]]()
        window = started
        while self._fraction() < 1 and not should_stop():
            parts, count = self._advance()
            seen += count
            self.seconds = before + time.monotonic() - started
            for name, value in parts.items():
                losses.setdefault(name, []).append(value)
            now = time.monotonic()
            if now - window > 1.0 or self._fraction() >= 1:
                values = {name: float(torch.stack(v).mean()) for name, v in losses.items()}
                if not math.isfinite(values["loss"]):
                    raise TrainingError(
                        f"The loss is no longer a number (step {self.step}): lower the learning rate. "
                        "The last good checkpoint is kept."
                    )
                values |= {"learning_rate": self._rate(), "structures_per_s": seen / (now - window)}
                if self.validation and (now - validated > self.config.validate_s or self._fraction() >= 1):
                    values |= self.validate()
                    validated = time.monotonic()
                report(self._report(values))
                seen, losses, window = 0, {}, time.monotonic()
                if now - saved > self.config.checkpoint_s:
                    self.save()
                    saved = time.monotonic()
        self.save()
        return self.validate() if self.validation else {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the averaged weights on the validation part, with the same noise every time.

        Of a large part the same 2,048 examples are looked at, so that validating stays short beside training.
        """
        if not self.validation:
            return {}
        kept = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        sums: dict[str, float] = {}
        chosen = torch.linspace(0, len(self.validation) - 1, min(len(self.validation), _VALIDATED)).long()
        for i, index in enumerate(chosen.split(256)):
            parts = self._losses(self.validation[index].to(self.fabric.device), _SEEDS - i, drop=0.0)
            for name, value in parts.items():
                sums[f"validation_{name}"] = sums.get(f"validation_{name}", 0.0) + float(value) * len(index)
        self.network.load_state_dict(kept)
        self.network.train()
        return {name: total / len(chosen) for name, total in sums.items()}

    def save(self) -> None:
        """Write the checkpoint: weights, averaged weights, optimiser, step and time used."""
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "place": self._place,
            "seconds": self.seconds,
            "config": asdict(self.config),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_tensor_file(self.folder / CHECKPOINT, tensors, {"state": json.dumps(state)})

    def _load(self) -> None:
        tensors, metadata = read_tensor_file(self.folder / CHECKPOINT)
        state = json.loads(metadata["state"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.epoch, self._place = int(state["epoch"]), int(state["place"])
        part = {p: {} for p in ("model", "average", "optimizer")}  # type: dict[str, dict[str, Tensor]]
        for name, tensor in tensors.items():
            head, _, rest = name.partition(".")
            part[head][rest] = tensor
        self.network.load_state_dict(part["model"])
        self.average = {k: v.to(self.fabric.device) for k, v in part["average"].items()}
        known = self.optimizer.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part["optimizer"].items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": known["param_groups"]})

    def _advance(self) -> tuple[dict[str, Tensor], int]:
        """One optimiser step; returns the losses and the number of crystals."""
        batch = self._next_batch()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        parts = self._losses(batch, (7_919 * self.config.seed + self.step) % _SEEDS, self.config.drop)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(parts["loss"])
        if torch.isfinite(parts["loss"]):
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip)
            self.optimizer.step()
            self._follow()
        self.step += 1
        return {name: value.detach() for name, value in parts.items()}, len(batch)

    def _next_batch(self) -> Examples:
        if not self._order:
            self._begin_epoch()
        if self._place >= len(self._order):  # also where a run was saved after an epoch's last batch
            self.epoch, self._place = self.epoch + 1, 0
            self._begin_epoch()
        self._place += 1
        return self.train[self._order[self._place - 1]].to(self.fabric.device)

    def _begin_epoch(self) -> None:
        self.train = self.train.at(self.epoch)
        self._order = list(batches(self.train.sizes, self.config.batch, self.config.seed, self.epoch))

    def _losses(self, batch: Examples, seed: int, drop: float) -> dict[str, Tensor]:
        """The flow's regression at random times, everything drawn on the CPU from one seed."""
        generator = torch.Generator().manual_seed(seed)
        device = self.fabric.device
        cpu = batch.conditions.to("cpu") if device.type != "cpu" else batch.conditions
        x0 = self.sampler.start(cpu, generator).to(device)
        t = torch.rand(len(batch), generator=generator).to(device)
        told = (torch.rand(len(batch), 2, generator=generator) >= drop).to(device)
        asked = batch.conditions
        conditions = Conditions(asked.numbers, asked.group, asked.energy, asked.present & told, asked.start)
        state, target = self.sampler.training_target(x0, batch.target, t)
        frac, lattice = self.model(state.frac, state.lattice, state.mask, t, *_plain(conditions))
        return velocity_loss(State(frac, lattice, state.mask), target)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights; early on they follow faster, so that short runs have an average too."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)

    def _fraction(self) -> float:
        """Share of the budget used."""
        steps = self.step / self.config.steps if self.config.steps else 0.0
        minutes = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(steps, minutes))

    def _rate(self) -> float:
        """Learning rate: linear warm-up, then a cosine to a hundredth over the budget."""
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return self.config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self._fraction())))

    def _report(self, values: dict[str, float]) -> Report:
        fraction = self._fraction()
        eta = self.seconds * (1 - fraction) / fraction if fraction > 0 else math.nan
        return Report(self.step, fraction, eta, values)


class _Plain(nn.Module):
    """The network with plain tensors in and out: Fabric looks into arguments, but not into frozen dataclasses."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frac: Tensor, lattice: Tensor, mask: Tensor, t: Tensor, *asked: Tensor) -> tuple[Tensor, Tensor]:
        numbers, group, energy, present, *start = asked
        given = State(start[0], start[1], mask) if start else None
        result = self.network(State(frac, lattice, mask), t, Conditions(numbers, group, energy, present, given))
        return result.frac, result.lattice


def _plain(conditions: Conditions) -> list[Tensor]:
    tensors = [conditions.numbers, conditions.group, conditions.energy, conditions.present]
    if conditions.start is not None:
        tensors += [conditions.start.frac, conditions.start.lattice]
    return tensors
