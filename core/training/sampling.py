"""Validation crystals drawn during training by the sampler that will be used: what a loss does not show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from core.data.encoding import decode
from core.samplers.drawing import draw_crystals
from core.samplers.geometry import CELLS
from core.samplers.protocol import Sampler
from core.training.checkpoints import Samples, write_samples
from core.training.data import Source
from core.training.presets import TrainConfig

_SHARE = 0.1  # of the time, at most
_FIRST_S = 20.0  # nothing is worth drawing before
_LAST_S = 60.0  # at the end so much may be spent after the shortest training


class Sampling:
    """The same examples of the validation part, drawn with the same seeds whenever the time spent allows.

    `on_samples` takes them (the matcher is handed in so); the latest lie in the folder all the same.
    """

    def __init__(
        self,
        sampler: Sampler,
        validation: Source | None,
        config: TrainConfig,
        folder: Path,
        on_samples: Callable[[Samples], None] | None,
    ) -> None:
        self.sampler, self.config, self.folder, self.on_samples = sampler, config, folder, on_samples
        self.validation = validation if config.samples and validation and len(validation) else None
        self.spent, self.took = 0.0, 0.0
        self._drawn_at = -1

    def due(self, network: nn.Module, seconds: float) -> bool:
        """May it draw after so many seconds of training?"""
        if self.validation is None or seconds < _FIRST_S:
            return False
        return self.spent + (self.took or self._guess(network)) <= _SHARE * seconds

    def affordable(self, network: nn.Module, seconds: float) -> bool:
        """May it draw once more at the end?"""
        if self.validation is None:
            return False
        return (self.took or self._guess(network)) <= max(_LAST_S, _SHARE * seconds)

    def draw(self, network: nn.Module, step: int) -> dict[str, float]:
        """Draw now, unless that was done at this very step; returns what it took."""
        if self.validation is None or self._drawn_at == step:
            return {}
        started = time.monotonic()
        count = min(self.config.samples, len(self.validation))
        chosen = torch.linspace(0, len(self.validation) - 1, count).long()
        chosen = chosen[torch.randperm(count, generator=torch.Generator().manual_seed(0))]  # neighbours are alike
        examples = self.validation[chosen]
        steps, asked = self.config.sample_steps, examples.conditions
        drawn = draw_crystals(network, self.sampler, asked, range(len(examples)), steps)
        cell = CELLS[self.sampler.geometry]
        target = decode(examples.target, asked, cell)
        target = replace(target, group=asked.group * asked.present[:, 0])
        start = None if asked.start is None else decode(asked.start, asked, cell)
        samples = Samples(step, drawn, target, start)
        write_samples(self.folder, samples)
        if self.on_samples:
            self.on_samples(samples)
        self._drawn_at, self.took = step, time.monotonic() - started
        self.spent += self.took
        return {"sampling_s": self.took}

    def _guess(self, network: nn.Module) -> float:
        """Seconds that a first drawing would take: one evaluation is timed."""
        assert self.validation is not None
        started = time.monotonic()
        device = next(network.parameters()).device
        batch = self.validation[torch.arange(min(8, len(self.validation)))].to(device)
        with torch.no_grad():
            network(batch.target, torch.zeros(len(batch), device=device), batch.conditions)
        self.took = (time.monotonic() - started) * self.config.sample_steps * max(1.0, self.config.samples / 8)
        return self.took
