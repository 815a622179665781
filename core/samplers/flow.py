"""Conditional flow matching (Lipman et al. 2023; Tong et al. 2024): what to learn and how to draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.models.state import Conditions, Network, State
from core.samplers.geometry import PERIODIC, displacement, move, without_mean
from core.samplers.noise import Noise
from core.samplers.protocol import OnStep


@dataclass(frozen=True)
class FlowMatching:
    """Straight paths from a source to the data.

    The paper moves plain coordinates in ℝ (`geometry="paper"`) from U(0,1), N(0,1) or the given structure itself
    (`noise=0`); by default they move on the torus, and a start is blurred a little.

    source: "uniform" or "normal" coordinates and cells, or "start", the structure to modify
    noise: standard deviation added to a start, in cell edges, so that many crystals can be drawn from one
    solver: "euler", or "heun" with two network evaluations a step
    """

    source: str = "uniform"
    noise: float = 0.02
    geometry: str = PERIODIC
    solver: str = "euler"

    sees_start = False
    time_scale = 1.0

    @property
    def plain(self) -> bool:
        """Does the network have to know coordinates beyond the cell? Not on the torus."""
        return self.geometry != PERIODIC

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) uniform in [0, 1)."""
        return torch.rand(count, generator=generator, device=generator.device)

    def start(self, conditions: Conditions, noise: Noise) -> State:
        """x0 for every crystal asked for."""
        if self.source == "start":
            return self._blurred(conditions, noise)
        cell = self.source if self.geometry != PERIODIC else "symmetric"
        return State(noise.sites(self.source), noise.cells(cell), conditions.mask)

    def _blurred(self, conditions: Conditions, noise: Noise) -> State:
        given = conditions.start
        if given is None:
            raise ValueError("modification needs a structure to start from")
        if not self.noise:
            return given
        cell = "symmetric" if self.geometry == PERIODIC else "normal"
        blur = State(noise.sites("normal"), noise.cells(cell), given.mask)
        return move(given, blur, self.noise)

    def training_target(self, x0: State, x1: State, t: Tensor) -> tuple[State, State]:
        """x_t on the path at t (B,) in [0, 1], and the velocity there (the same all along)."""
        velocity = displacement(x0, x1, self.geometry)
        return move(x0, velocity, t), velocity

    def sample(
        self,
        network: Network,
        start: State,
        conditions: Conditions,
        steps: int = 50,
        on_step: OnStep | None = None,
        noise: Noise | None = None,
    ) -> State:
        """From t = 0 to 1 in `steps` steps. on_step(steps done) may return True to stop early."""
        state, width = start, 1 / steps
        for step in range(steps):
            velocity = self._velocity(network, state, step / steps, conditions)
            if self.solver == "heun":
                ahead = self._velocity(network, move(state, velocity, width), (step + 1) / steps, conditions)
                state = move(move(state, velocity, width / 2), ahead, width / 2)
            else:
                state = move(state, velocity, width)
            if on_step and on_step(step + 1):
                break
        return state

    def _velocity(self, network: Network, state: State, t: float, conditions: Conditions) -> State:
        velocity = network(state, state.frac.new_full((len(state),), t), conditions)
        if self.geometry != PERIODIC:
            return velocity
        return replace(velocity, frac=without_mean(velocity.frac, state.mask))
