"""Conditional flow matching (Lipman et al. 2023; Tong et al. 2024): what to learn and how to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.models.state import Conditions, Network, State

OnStep = Callable[[int], bool | None]


@dataclass(frozen=True)
class FlowMatching:
    """Straight paths from a source to the data; coordinates move on the torus.

    Coordinates take the shortest way round the cell, and the mean motion is removed: a crystal moved as a whole is the
    same crystal. (The paper moves unwrapped coordinates in ℝ; Miller et al., FlowMM, ICML 2024, have the torus.)

    source: "uniform" coordinates and a normal lattice, or "start", the structure to modify
    noise: standard deviation added to a start, in cell edges, so that many crystals can be drawn from one
    """

    source: str = "uniform"
    noise: float = 0.02

    def start(self, conditions: Conditions, generator: torch.Generator) -> State:
        """x0 for every crystal asked for, drawn on the generator's device."""
        mask = conditions.mask
        shape = (*mask.shape, 3)
        if self.source == "uniform":
            frac = torch.rand(shape, generator=generator)
            return State(frac * mask[:, :, None], _symmetric_normal(len(mask), generator), mask)
        if conditions.start is None:
            raise ValueError("modification needs a structure to start from")
        given = conditions.start
        frac = given.frac + self.noise * torch.randn(shape, generator=generator) * mask[:, :, None]
        return State(frac, given.lattice + self.noise * _symmetric_normal(len(mask), generator), mask)

    def training_target(self, x0: State, x1: State, t: Tensor) -> tuple[State, State]:
        """x_t on the path at t (B,) in [0, 1], and the velocity there (the same all along)."""
        velocity = difference(x0, x1)
        return _move(x0, velocity, t), velocity

    def sample(
        self,
        network: Network,
        start: State,
        conditions: Conditions,
        steps: int = 50,
        on_step: OnStep | None = None,
    ) -> State:
        """Euler from t = 0 to 1 in `steps` steps. on_step(steps done) may return True to stop early."""
        state = start
        for step in range(steps):
            t = torch.full((len(state),), step / steps, device=state.frac.device)
            velocity = network(state, t, conditions)
            velocity = replace(velocity, frac=_without_mean(velocity.frac, state.mask))
            state = _move(state, velocity, torch.full_like(t, 1 / steps))
            if on_step and on_step(step + 1):
                break
        return state


def difference(x0: State, x1: State) -> State:
    """The straight way from x0 to x1: coordinates the shortest way round, without their mean; lattice plainly."""
    delta = x1.frac - x0.frac
    delta = (delta - delta.round()) * x1.mask[:, :, None]
    return State(_without_mean(delta, x1.mask), x1.lattice - x0.lattice, x1.mask)


def _move(state: State, velocity: State, t: Tensor) -> State:
    return State(
        state.frac + t[:, None, None] * velocity.frac, state.lattice + t[:, None, None] * velocity.lattice, state.mask
    )


def _without_mean(frac: Tensor, mask: Tensor) -> Tensor:
    keep = mask[:, :, None].to(frac.dtype)
    mean = (frac * keep).sum(1, keepdim=True) / keep.sum(1, keepdim=True).clamp_min(1)
    return (frac - mean) * keep


def _symmetric_normal(count: int, generator: torch.Generator) -> Tensor:
    """(count, 3, 3) symmetric, every entry of unit variance."""
    draw = torch.randn(count, 3, 3, generator=generator)
    return draw.triu() + draw.triu(1).mT
