"""The training loop: one for all networks and samplers, on Lightning Fabric."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from core.models.checkpoint import read_tensor_file, write_tensor_file
from core.models.state import Conditions, State
from core.samplers.noise import Noise
from core.samplers.protocol import Sampler
from core.training.checkpoints import BEST, CHECKPOINT, Samples, Snapshot, Weights, read_snapshot, write_snapshot
from core.training.data import Examples, Resident, Source, batches
from core.training.devices import Fleet, launch, memory_mb
from core.training.losses import LOSSES
from core.training.presets import TrainConfig
from core.training.sampling import Sampling
from core.training.templates import TemplateSource

__all__ = ["BEST", "CHECKPOINT", "Report", "TrainConfig", "Training", "TrainingError"]
_SEEDS = 2**31 - 1
_VALIDATED = 2048  # examples
_SAVING_SHARE = 0.05  # of the time, at most
_VALIDATING_SHARE = 0.1
_WARMING_SHARE = 0.1  # of the budget, at most: short runs learn too


class TrainingError(ValueError):
    """Training cannot go on; the message is a sentence. The last good checkpoint stays."""


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
    from a seed of its own. On several devices (`core.training.devices`) each takes its own batches, and the first one
    validates, reports and writes.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: Sampler,
        train: Source,
        validation: Source | None,
        config: TrainConfig,
        folder: Path,
        device: str = "cpu",
        on_samples: Callable[[Samples], None] | None = None,
    ) -> None:
        _check(train, config)
        self.config, self.sampler, self.folder = config, sampler, folder
        self.fleet: Fleet = launch(device, config.precision)
        self.fabric = self.fleet.fabric
        self.network = network.to(self.fabric.device)
        if config.compile:
            self.network.compile()
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=config.weight_decay
        )
        self._alone = _Plain(self.network)  # for validation, by the first process only
        self.model, self.optimizer = self.fabric.setup(_Plain(self.network), optimizer)
        resident = self.fabric.device.type == "cuda" and not isinstance(train, TemplateSource)
        self.train: Source = Resident.of(train.at(0), self.fabric.device) if resident else train
        self.validation = validation
        self.average = self._weights() if not config.ema else {k: v.clone() for k, v in self._weights().items()}
        self.step, self.epoch, self.seconds = 0, 0, 0.0
        self.best, self.best_step, self._worse = math.inf, 0, 0
        self._place = 0  # of the next batch in its epoch
        self._order: list[Tensor] = []
        self._validated: list[Examples] = []  # batches, made at the first validation and the same ever after
        self._losses_of = LOSSES[config.loss]
        self._sampling = Sampling(sampler, validation, config, folder, on_samples)
        self._load()

    def run(self, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Train until the budget is used or `should_stop`; writes checkpoints. Returns the last validation losses."""
        clock = _Clock(self.seconds)
        seen, losses = 0, dict[str, list[Tensor]]()
        while not self._ended(should_stop):
            parts, count = self._advance()
            seen += count
            self.seconds = clock.seconds()
            for name, value in parts.items():
                losses.setdefault(name, []).append(value)
            if clock.since("report") > 1.0 or self._fraction() >= 1:
                values = self._means(losses) | {"learning_rate": self._rate()}
                values |= {"structures_per_s": seen / clock.since("report"), "memory_mb": memory_mb(self.fabric.device)}
                if self.fleet.first:
                    values |= self._look(clock)
                    report(self._report(values))
                    self._save_now_and_then(clock)
                seen, losses = 0, {}
                clock.reset("report")
        self._means(losses)  # raises before anything broken is written
        self.save()
        return self._finish() if self.fleet.first else {}

    def weights(self) -> Weights:
        """What to keep: the averaged weights of the best validation, or the last ones where there is none."""
        if (self.folder / BEST).is_file():
            tensors, _ = read_tensor_file(self.folder / BEST)
            return tensors
        return self.average

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the averaged weights on the validation part, with the same noise every time.

        Of a large part the same 2,048 examples are looked at, so that validating stays short beside training.
        """
        if not self.validation:
            return {}
        if not self._validated:
            chosen = torch.linspace(0, len(self.validation) - 1, min(len(self.validation), _VALIDATED)).long()
            self._validated = [self.validation[index].to(self.fabric.device) for index in chosen.split(256)]
        sums: dict[str, float] = {}
        with _Averaged(self.network, self.average):
            for i, batch in enumerate(self._validated):
                for name, value in self._losses(self._alone, batch, _SEEDS - i, drop=0.0).items():
                    sums[f"validation_{name}"] = sums.get(f"validation_{name}", 0.0) + float(value) * len(batch)
        count = sum(map(len, self._validated))
        return {name: total / count for name, total in sums.items()}

    def save(self) -> None:
        """Write the checkpoint: weights, averaged weights, optimiser, step and time used.

        Raises TrainingError where the disk is full or the weights are no numbers; the checkpoint before stays.
        """
        if not self.fleet.first:
            return
        weights = self._weights()
        if not all(bool(torch.isfinite(w).all()) for w in weights.values() if w.is_floating_point()):
            raise TrainingError(_NOT_A_NUMBER.format(self.step))
        numbers: dict[str, Any] = {
            "step": self.step,
            "epoch": self.epoch,
            "place": self._place,
            "seconds": self.seconds,
        }
        numbers |= {"best": self.best, "best_step": self.best_step, "worse": self._worse, "config": asdict(self.config)}
        average = self.average if self.config.ema else weights
        _written(lambda: write_snapshot(self.folder, Snapshot(weights, average, self._moments(), numbers)))

    def _load(self) -> None:
        found = read_snapshot(self.folder)
        if found is None:
            return
        numbers = found.numbers
        self.step, self.seconds = int(numbers["step"]), float(numbers["seconds"])
        self.epoch, self._place = int(numbers["epoch"]), int(numbers["place"])
        self.best, self.best_step = float(numbers.get("best", math.inf)), int(numbers.get("best_step", 0))
        self._worse = int(numbers.get("worse", 0))
        self.network.load_state_dict(found.weights)
        if self.config.ema:
            self.average = {k: v.to(self.fabric.device) for k, v in found.average.items()}
        known = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": found.optimizer, "param_groups": known["param_groups"]})

    def _moments(self) -> dict[int, dict[str, Tensor]]:
        moments: dict[int, dict[str, Tensor]] = self.optimizer.state_dict()["state"]
        return moments

    def _weights(self) -> Weights:
        return {k: v.detach() for k, v in self.network.state_dict().items()}

    def _advance(self) -> tuple[dict[str, Tensor], int]:
        """One optimiser step; returns the losses and the number of crystals."""
        batch = self._next_batch()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        seed = 7_919 * self.config.seed + self.step + 104_729 * self.fleet.rank
        parts = self._losses(self.model, batch, seed % _SEEDS, self.config.drop)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(parts["loss"])
        if self.config.clip:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self._follow()
        self.step += 1
        return {name: value.detach() for name, value in parts.items()}, len(batch) * self.fleet.size

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
        order = list(batches(self.train.sizes, self.config.batch, self.config.seed, self.epoch))
        self._order = self.fleet.share(order)

    def _losses(self, network: nn.Module, batch: Examples, seed: int, drop: float) -> dict[str, Tensor]:
        """The sampler's regression at random times, everything drawn from one seed on the batch's device."""
        generator = torch.Generator(self.fabric.device).manual_seed(seed)
        x0 = self.sampler.start(batch.conditions, Noise(batch.target.mask, generator))
        t = self.sampler.times(len(batch), generator)
        x1 = self.sampler.pair(x0, batch.target, batch.conditions.numbers)
        state, target = self.sampler.training_target(x0, x1, t)
        conditions = batch.conditions
        if drop:
            kept = torch.rand(len(batch), 2, generator=generator, device=generator.device) >= drop
            present = conditions.present & kept
            conditions = Conditions(conditions.numbers, conditions.group, conditions.energy, present, conditions.start)
        with self.fabric.autocast():
            frac, lattice = network(state.frac, state.lattice, state.mask, t, *_plain(conditions))
        return self._losses_of(State(frac.float(), lattice.float(), state.mask), target)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights; early on they follow faster, so that short runs have an average too."""
        if not self.config.ema:
            return
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        current = {k: v for k, v in self.network.state_dict().items() if v.is_floating_point()}
        torch._foreach_lerp_([self.average[k] for k in current], list(current.values()), 1 - decay)

    def _look(self, clock: _Clock) -> dict[str, float]:
        """Validate where it is time, keep the best weights, and draw samples now and then."""
        values: dict[str, float] = {}
        pause = max(self.config.validate_s, clock.validating_s / _VALIDATING_SHARE)
        if self.validation and (clock.since("validated") > pause or self._fraction() >= 1):
            clock.reset("validated")
            values = self.validate()
            self._keep_best(values["validation_loss"])
            clock.validating_s = clock.since("validated")
            clock.reset("validated")
        if self._sampling.due(self.network, self.seconds):
            with _Averaged(self.network, self.average):
                values |= self._sampling.draw(self.network, self.step)
        return values

    def _finish(self) -> dict[str, float]:
        """The last validation, and where the budget is used the last samples."""
        if not self.validation:
            return {}
        final = self.validate()
        self._keep_best(final["validation_loss"])
        if self._fraction() >= 1 and self._sampling.affordable(self.network, self.seconds):
            with _Averaged(self.network, self.average):
                self._sampling.draw(self.network, self.step)
        return final

    def _keep_best(self, loss: float) -> None:
        if loss >= self.best:
            self._worse += 1
            return
        self.best, self.best_step, self._worse = loss, self.step, 0
        self.folder.mkdir(parents=True, exist_ok=True)
        _written(lambda: write_tensor_file(self.folder / BEST, self.average, {"step": str(self.step)}))

    def _save_now_and_then(self, clock: _Clock) -> None:
        if clock.since("saved") > max(self.config.checkpoint_s, clock.saving_s / _SAVING_SHARE):
            clock.reset("saved")
            self.save()
            clock.saving_s = clock.since("saved")
            clock.reset("saved")

    def _means(self, losses: dict[str, list[Tensor]]) -> dict[str, float]:
        """Raises TrainingError where the loss is no number."""
        values = {name: float(torch.stack(v).mean()) for name, v in losses.items()}
        if not math.isfinite(values.get("loss", 0.0)):
            raise TrainingError(_NOT_A_NUMBER.format(self.step))
        return values

    def _ended(self, should_stop: Callable[[], bool]) -> bool:
        """Decided by the first process for all."""
        early = self.config.patience is not None and self._worse > self.config.patience
        return self.fleet.agree(self._fraction() >= 1 or early or should_stop())

    def _fraction(self) -> float:
        """Share of the budget used."""
        steps = self.step / self.config.steps if self.config.steps else 0.0
        minutes = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(steps, minutes))

    def _rate(self) -> float:
        """Learning rate: linear warm-up, then a cosine to a hundredth over the budget."""
        warm = min(1.0, max((self.step + 1) / max(1, self.config.warmup), self._fraction() / _WARMING_SHARE))
        return self.config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self._fraction())))

    def _report(self, values: dict[str, float]) -> Report:
        fraction = self._fraction()
        eta = self.seconds * (1 - fraction) / fraction if fraction > 0 else math.nan
        return Report(self.step, fraction, eta, values)


_NOT_A_NUMBER = "The loss is no longer a number (step {}): lower the learning rate. The last good checkpoint is kept."


class _Clock:
    """Seconds of training, and since things were done last."""

    def __init__(self, before: float) -> None:
        self._start = time.monotonic() - before
        self._last = dict.fromkeys(("report", "validated", "saved"), time.monotonic())
        self.saving_s = self.validating_s = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def since(self, what: str) -> float:
        return time.monotonic() - self._last[what]

    def reset(self, what: str) -> None:
        self._last[what] = time.monotonic()


class _Averaged:
    """The network with its averaged weights and in evaluation mode, for as long as it is entered."""

    def __init__(self, network: nn.Module, average: Weights) -> None:
        self.network, self.average = network, average

    def __enter__(self) -> None:
        self._kept = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()

    def __exit__(self, *_: object) -> None:
        self.network.load_state_dict(self._kept)
        self.network.train()


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


def _check(train: Source, config: TrainConfig) -> None:
    """Raises TrainingError for what cannot be trained."""
    if not len(train):
        raise TrainingError("The training part is empty: choose a dataset with more formulas.")
    if config.steps is None and config.minutes is None:
        raise TrainingError("Say how long to train: a number of steps or of minutes.")
    if config.loss not in LOSSES:
        raise TrainingError(f"There is no loss {config.loss!r}: choose {', '.join(LOSSES)}.")


def _written(write: Callable[[], None]) -> None:
    """Raises TrainingError where the disk does not take a file."""
    try:
        write()
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"A checkpoint could not be written ({error}): free space on the disk, then resume. The last one is kept."
        ) from error
