"""Regression (the paper, section 5.1): the answer in one step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.models.state import Conditions, Network, State
from core.samplers.geometry import PERIODIC, displacement, move
from core.samplers.noise import Noise
from core.samplers.protocol import OnStep


@dataclass(frozen=True)
class Regression:
    """From the given structure to the target at once, at t = 0.

    The paper's network answers the target itself (`geometry="paper"`); by default it answers the way there, which is
    the same in every image of the cell and zero where nothing is to be done.
    """

    geometry: str = PERIODIC

    sees_start = False
    time_scale = 1.0

    @property
    def plain(self) -> bool:
        return self.geometry != PERIODIC

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) zeros."""
        return torch.zeros(count, device=generator.device)

    def start(self, conditions: Conditions, noise: Noise) -> State:
        """The structure to modify."""
        if conditions.start is None:
            raise ValueError("modification needs a structure to start from")
        return conditions.start

    def pair(self, x0: State, x1: State, numbers: Tensor) -> State:
        """x1 as it is."""
        return x1

    def training_target(self, x0: State, x1: State, t: Tensor) -> tuple[State, State]:
        """The start, and the target or the way to it."""
        return x0, displacement(x0, x1) if self.geometry == PERIODIC else x1

    def sample(
        self,
        network: Network,
        start: State,
        conditions: Conditions,
        steps: int = 1,
        on_step: OnStep | None = None,
        noise: Noise | None = None,
    ) -> State:
        """One evaluation of the network, however many steps are asked for."""
        answer = network(start, start.frac.new_zeros(len(start)), conditions)
        if on_step:
            on_step(1)
        return move(start, answer, 1.0) if self.geometry == PERIODIC else answer
