"""Diffusion against diffusers' schedulers, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from core.models.state import Conditions, State
from core.samplers.diffusion import Diffusion, alphas_cumprod
from core.samplers.geometry import PAPER
from core.samplers.noise import Noise

NAMES = {"cosine": "squaredcos_cap_v2", "linear": "linear"}


def setting(schedule: str, **more: object) -> dict[str, object]:
    return {"num_train_timesteps": 1000, "beta_schedule": NAMES[schedule], "clip_sample": False, **more}


def state_of(frac: Tensor, lattice: Tensor) -> State:
    return State(frac, lattice, torch.ones(frac.shape[:2], dtype=torch.bool))


def flat(state: State) -> Tensor:
    """(B, N + 3, 3): the rows of the paper's matrix that say something."""
    return torch.cat([state.frac, state.lattice], 1)


def split(rows: Tensor) -> State:
    return state_of(rows[:, :-3], rows[:, -3:])


def conditions_of(state: State) -> Conditions:
    b, n = state.mask.shape
    zero = torch.zeros(b)
    return Conditions(torch.ones(b, n, dtype=torch.int64), zero.long(), zero, torch.zeros(b, 2, dtype=torch.bool))


def answer(state: State, t: Tensor, conditions: Conditions) -> State:
    """Some smooth function of x_t and t in the place of a network."""
    wave = torch.sin(3 * t)[:, None, None]
    return State(torch.tanh(state.frac) * wave + 0.1, torch.cos(state.lattice) * wave, state.mask)


class Replayed(Noise):
    """Noise in the order in which a scheduler's generator gave it."""

    def __init__(self, mask: Tensor, generator: torch.Generator) -> None:
        super().__init__(mask, generator)
        self._rows: Tensor | None = None

    def sites(self, kind: str) -> Tensor:
        b, n = self.mask.shape
        self._rows = torch.randn(b, n + 3, 3, generator=self.generators[0], dtype=torch.float64)
        return self._rows[:, :-3]

    def cells(self, kind: str) -> Tensor:
        assert self._rows is not None
        return self._rows[:, -3:]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_schedules_are_those_of_diffusers(schedule: str) -> None:
    reference = DDPMScheduler(**setting(schedule)).alphas_cumprod  # type: ignore[arg-type]
    torch.testing.assert_close(alphas_cumprod(schedule).float(), reference, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_noising_is_that_of_diffusers(schedule: str) -> None:
    clean, noise = (split(torch.randn(20, 7, 3, dtype=torch.float64)) for _ in range(2))
    sampler = Diffusion(schedule=schedule, geometry=PAPER)
    t = sampler.times(20, torch.Generator().manual_seed(0)).double()
    noised, target = sampler.training_target(noise, clean, t)
    steps = (t * 1000).round().long()
    reference = DDPMScheduler(**setting(schedule)).add_noise(flat(clean), flat(noise), steps)  # type: ignore[arg-type]
    torch.testing.assert_close(flat(noised), reference.double(), atol=1e-5, rtol=1e-5)
    assert target is noise


@pytest.mark.parametrize("steps", [10, 100, 1000])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("draws", "eta"), [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.7)])
def test_every_step_is_that_of_diffusers(draws: str, eta: float, schedule: str, steps: int) -> None:
    """The same network, the same noise: every state on the way within 1e-5 of diffusers' own."""
    torch.manual_seed(1)
    start = split(torch.randn(3, 8, 3, dtype=torch.float64))
    ours: list[Tensor] = []
    sampler = Diffusion(draws, schedule, PAPER, eta=eta)
    noise = Replayed(start.mask, torch.Generator().manual_seed(7))
    conditions = conditions_of(start)

    def network(state: State, t: Tensor, asked: Conditions) -> State:
        ours.append(flat(state))
        return answer(state, t, asked)

    end = sampler.sample(network, start, conditions, steps, noise=noise)

    cls = DDPMScheduler if draws == "ddpm" else DDIMScheduler
    more = {"variance_type": "fixed_small"} if draws == "ddpm" else {}
    reference = cls(**setting(schedule, **more))  # type: ignore[arg-type]
    reference.alphas_cumprod = alphas_cumprod(schedule)  # theirs are float32: the steps are compared, not the rounding
    reference.one = torch.tensor(1.0, dtype=torch.float64)
    reference.set_timesteps(steps)
    generator, rows = torch.Generator().manual_seed(7), flat(start)
    for i, k in enumerate(reference.timesteps.tolist()):
        torch.testing.assert_close(ours[i], rows, atol=1e-5, rtol=1e-5)
        t = torch.full((3,), k / 1000, dtype=torch.float64)
        more = {"eta": eta} if draws == "ddim" else {}
        predicted = flat(answer(split(rows), t, conditions))
        rows = reference.step(predicted, k, rows, generator=generator, **more).prev_sample
    torch.testing.assert_close(flat(end), rows, atol=1e-5, rtol=1e-5)
    assert np.isfinite(rows.numpy()).all()


def test_ddim_repeats_and_ddpm_follows_its_seeds() -> None:
    start = split(torch.randn(2, 8, 3))
    conditions = conditions_of(start)
    plain = [Diffusion("ddim").sample(answer, start, conditions, 20).frac for _ in range(2)]
    assert torch.equal(*plain)
    drawn = [
        Diffusion("ddpm").sample(answer, start, conditions, 20, noise=Noise.seeded(start.mask, seeds)).frac
        for seeds in ([1, 2], [1, 2], [1, 3])
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0][0], drawn[2][0]), "each crystal has a seed of its own"
    assert not torch.equal(drawn[0][1], drawn[2][1])


def test_what_cannot_be_drawn_is_refused() -> None:
    start = split(torch.randn(1, 5, 3))
    with pytest.raises(ValueError, match="1 to 1000 steps"):
        Diffusion("ddim").sample(answer, start, conditions_of(start), 1001)
    with pytest.raises(ValueError, match="random numbers"):
        Diffusion("ddpm").sample(answer, start, conditions_of(start), 10)
    with pytest.raises(ValueError, match="no schedule"):
        alphas_cumprod("sine")
    with pytest.raises(ValueError, match="needs a structure"):
        Diffusion(sees_start=True).start(conditions_of(start), Noise(start.mask, torch.Generator()))
