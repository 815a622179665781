"""What every sampler offers: both halves of one idea, so that they cannot drift apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from core.models.state import Conditions, Network, State
from core.samplers.geometry import CELLS
from core.samplers.noise import Noise

OnStep = Callable[[int], bool | None]


class Sampler(Protocol):
    """One method: what to regress on, and how to draw.

    geometry: where crystals move (`core.samplers.geometry`); sees_start: the network is told the structure to modify
    plain: coordinates mean more than their place in the cell; time_scale: what t = 1 is to the paper's time embedding
    """

    @property
    def geometry(self) -> str: ...
    @property
    def sees_start(self) -> bool: ...
    @property
    def plain(self) -> bool: ...
    @property
    def time_scale(self) -> float: ...

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) times in [0, 1] to train at, on the generator's device."""

    def start(self, conditions: Conditions, noise: Noise) -> State:
        """x0 for every crystal asked for."""

    def pair(self, x0: State, x1: State, numbers: Tensor) -> State:
        """x1 as it is learned from x0: atoms of one kind may change places. numbers: (B, N)."""

    def training_target(self, x0: State, x1: State, t: Tensor) -> tuple[State, State]:
        """(x_t, what the network shall answer there)."""

    def sample(
        self,
        network: Network,
        start: State,
        conditions: Conditions,
        steps: int = 50,
        on_step: OnStep | None = None,
        noise: Noise | None = None,
    ) -> State:
        """Crystals from their start. on_step(steps done) may return True to stop early; `noise` for those that draw."""


def needs(sampler: Sampler) -> dict[str, Any]:
    """What a network's configuration takes from the method that it serves."""
    return {
        "plain": sampler.plain,
        "sees_start": sampler.sees_start,
        "time_scale": sampler.time_scale,
        "cell": CELLS[sampler.geometry],
    }
