"""Conditional flow matching (Lipman et al. 2023; Tong et al. 2024): what to learn and how to draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.models.state import Conditions, Network, State
from core.samplers.geometry import PERIODIC, displacement, mix, move, without_mean
from core.samplers.matching import nearest_order
from core.samplers.noise import Noise
from core.samplers.protocol import OnStep

PATHS = {
    "centred": "every atom to its own place, the motion of the crystal as a whole taken out",
    "matched": "the same, with atoms of a kind changed about for the shortest way",
    "stored": "for the shortest way too, and to the origin that the data has: for cells with the usual origins",
}


@dataclass(frozen=True)
class FlowMatching:
    """Straight paths from a source to the data.

    The paper moves plain coordinates in ℝ (`geometry="paper"`) from U(0,1), N(0,1) or the given structure itself
    (`noise=0`); by default they move on the torus, and a start is blurred a little.

    source: "uniform" or "normal" coordinates and cells, or "start", the structure to modify
    noise: standard deviation added to a start, in cell edges, so that many crystals can be drawn from one
    solver: "euler", or "heun" with two network evaluations a step
    annealing: coordinates move faster towards the end, 1 + annealing · t times as fast as learned ("anti-annealing",
    Miller et al., FlowMM, ICML 2024); guidance: how far what the conditions change is carried on (classifier-free
    guidance, Ho & Salimans 2022), which takes a second evaluation without them; 0 for neither

    path: how x0 leads to x1 on the torus, one of `PATHS`

    begin: time at which drawing begins; a structure that is given to a source of noise is then taken for where the
    path would lead, and drawing begins between noise and it. At 0 the path begins at the structure, for networks that
    learned to start from templates (`core.training.templates`)
    """

    source: str = "uniform"
    noise: float = 0.02
    geometry: str = PERIODIC
    solver: str = "euler"
    annealing: float = 0.0
    guidance: float = 0.0
    path: str = "centred"
    begin: float = 0.0

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
        given = conditions.start
        if self.source == "start" or (given is not None and not self.begin):
            return self._blurred(conditions, noise)
        cell = self.source if self.geometry != PERIODIC else "symmetric"
        x0 = State(noise.sites(self.source), noise.cells(cell), conditions.mask)
        if given is None:
            return x0
        x1 = self.pair(x0, given, conditions.numbers)
        times = x0.frac.new_full((len(x0),), self.begin)
        return self.training_target(x0, x1, times)[0]

    def _blurred(self, conditions: Conditions, noise: Noise) -> State:
        given = conditions.start
        if given is None:
            raise ValueError("modification needs a structure to start from")
        if not self.noise:
            return given
        cell = "symmetric" if self.geometry == PERIODIC else "normal"
        blur = State(noise.sites("normal"), noise.cells(cell), given.mask)
        return move(given, blur, self.noise)

    def pair(self, x0: State, x1: State, numbers: Tensor) -> State:
        """x1 with atoms of a kind changed about so that each lies close to where it comes from (B, N numbers)."""
        return x1 if self.path == "centred" or self.geometry != PERIODIC else nearest_order(x0, x1, numbers)

    def training_target(self, x0: State, x1: State, t: Tensor) -> tuple[State, State]:
        """x_t on the path at t (B,) in [0, 1], and the velocity there (the same all along)."""
        velocity = displacement(x0, x1, self.geometry, centred=self.path != "stored")
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
        """From t = `begin` to 1 in `steps` steps. on_step(steps done) may return True to stop early."""
        begin = self.begin if conditions.start is not None else 0.0
        state, width = start, (1 - begin) / steps
        for step in range(steps):
            t = begin + step * width
            velocity = self._velocity(network, state, t, conditions)
            if self.solver == "heun":
                ahead = self._velocity(network, move(state, velocity, width), t + width, conditions)
                state = move(move(state, velocity, width / 2), ahead, width / 2)
            else:
                state = move(state, velocity, width)
            if on_step and on_step(step + 1):
                break
        return state

    def _velocity(self, network: Network, state: State, t: float, conditions: Conditions) -> State:
        times = state.frac.new_full((len(state),), t)
        velocity = network(state, times, conditions)
        if self.guidance:
            free = replace(conditions, present=torch.zeros_like(conditions.present))
            velocity = mix(velocity, network(state, times, free), 1 + self.guidance, -self.guidance)
        if self.geometry != PERIODIC:
            return velocity
        frac = velocity.frac if self.path == "stored" else without_mean(velocity.frac, state.mask)
        return replace(velocity, frac=frac * (1 + self.annealing * t))
