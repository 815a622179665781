"""Denoising diffusion: DDPM (Ho et al. 2020) and DDIM (Song et al. 2021) draws; Palette's conditioning on a start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from core.models.state import Conditions, Network, State
from core.samplers.geometry import PERIODIC, mix
from core.samplers.noise import Noise
from core.samplers.protocol import OnStep

TRAIN_STEPS = 1000
SCHEDULES = ("cosine", "linear")


@cache
def alphas_cumprod(schedule: str) -> Tensor:
    """(1000,) float64 ᾱ_k. "cosine": Nichol & Dhariwal 2021, β at most 0.999; "linear": β from 1e-4 to 0.02.

    Raises ValueError for another name. Every call gives the same tensor: do not write into it.
    """
    if schedule == "linear":
        betas = torch.linspace(1e-4, 0.02, TRAIN_STEPS, dtype=torch.float64)
    elif schedule == "cosine":
        at = torch.arange(TRAIN_STEPS + 1, dtype=torch.float64) / TRAIN_STEPS
        bar = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - bar[1:] / bar[:-1]).clamp_max(0.999)
    else:
        raise ValueError(f"There is no schedule {schedule!r}: choose {' or '.join(SCHEDULES)}.")
    return torch.cumprod(1 - betas, 0)


@dataclass(frozen=True)
class Diffusion:
    """Noise prediction over 1000 steps, without clipping; coordinates are plain numbers in both geometries.

    draws: "ddpm", ancestral with the posterior's variance, or "ddim", deterministic at eta = 0
    sees_start: the network is told the structure to modify (Palette, Saharia et al. 2022)
    The paper's section 5.3 says linear for the modifier, its A.3 and code cosine: that is the default.
    """

    draws: str = "ddpm"
    schedule: str = "cosine"
    geometry: str = PERIODIC
    sees_start: bool = False
    eta: float = 0.0

    time_scale = float(TRAIN_STEPS)
    plain = True

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) of k / 1000, k in 0 … 999."""
        return torch.randint(TRAIN_STEPS, (count,), generator=generator, device=generator.device) / TRAIN_STEPS

    def start(self, conditions: Conditions, noise: Noise) -> State:
        """Normal noise. Raises ValueError where the structure to modify is missing."""
        if self.sees_start and conditions.start is None:
            raise ValueError("modification needs a structure to start from")
        return self._normal(noise)

    def pair(self, x0: State, x1: State, numbers: Tensor) -> State:
        """x1 as it is."""
        return x1

    def training_target(self, x0: State, x1: State, t: Tensor) -> tuple[State, State]:
        """x_t = √ᾱ x1 + √(1 − ᾱ) x0, and the noise x0."""
        bar = self._bar(t)
        return mix(x1, x0, bar.sqrt(), (1 - bar).sqrt()), x0

    def sample(
        self,
        network: Network,
        start: State,
        conditions: Conditions,
        steps: int = 100,
        on_step: OnStep | None = None,
        noise: Noise | None = None,
    ) -> State:
        """Every (1000 // steps)th of the 1000 steps, from the noisiest. Raises ValueError for more than 1000 steps."""
        if not 1 <= steps <= TRAIN_STEPS:
            raise ValueError(f"Diffusion draws in 1 to {TRAIN_STEPS} steps.")
        stride, state = TRAIN_STEPS // steps, start
        for done, k in enumerate(range((steps - 1) * stride, -1, -stride), 1):
            predicted = network(state, state.frac.new_full((len(state),), k / TRAIN_STEPS), conditions)
            state = self.step(predicted, k, k - stride, state, noise)
            if on_step and on_step(done):
                break
        return state

    def step(self, predicted: State, k: int, before: int, state: State, noise: Noise | None) -> State:
        """From step k to step `before` (negative: the data), given the predicted noise.

        Both ways are x_before = √ᾱ' x̂ + √(1 − ᾱ' − σ²) ε̂ + σ z, with σ² = η² of the posterior's variance for DDIM
        (its equations 12 and 16) and all of it for DDPM, whose last step draws nothing.
        """
        all_bars = alphas_cumprod(self.schedule)
        bar = float(all_bars[k])
        bar_before = float(all_bars[before]) if before >= 0 else 1.0
        variance = (1 - bar_before) / (1 - bar) * (1 - bar / bar_before)
        sigma = math.sqrt(variance) * (1.0 if self.draws == "ddpm" else self.eta)
        ways = {
            "clean": math.sqrt(bar_before / bar),
            "noise": math.sqrt(max(1 - bar_before - sigma**2, 0.0)) - math.sqrt(bar_before / bar * (1 - bar)),
        }
        fresh = self._normal(noise) if sigma > 0 and noise is not None else None
        if sigma > 0 and fresh is None:
            raise ValueError("these draws need random numbers: give `noise`")
        parts = []
        for name in ("frac", "lattice"):
            value = ways["clean"] * getattr(state, name) + ways["noise"] * getattr(predicted, name)
            parts.append(value if fresh is None else value + sigma * getattr(fresh, name))
        return State(parts[0], parts[1], state.mask)

    def _normal(self, noise: Noise) -> State:
        cell = "symmetric" if self.geometry == PERIODIC else "normal"
        return State(noise.sites("normal"), noise.cells(cell), noise.mask)

    def _bar(self, t: Tensor) -> Tensor:
        k = (t * TRAIN_STEPS).round().long()
        return alphas_cumprod(self.schedule).to(t.device)[k].to(t.dtype)
