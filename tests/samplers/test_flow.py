"""Flow matching against closed forms, and what every sampler promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.models.state import Conditions, State
from core.samplers.flow import FlowMatching
from core.samplers.geometry import PAPER, PERIODIC
from core.samplers.noise import Noise
from core.samplers.registry import ABOUT, METHODS, STEPS, drawn_by, draws_of, sampler_for, sampler_values
from tests.models.test_learning import generator, network_inputs, some_crystals

ALL = [(task, method, geometry) for task in METHODS for method in METHODS[task] for geometry in (PERIODIC, PAPER)]


def asked(count: int, sites: int = 1) -> Conditions:
    zero = torch.zeros(count)
    numbers = torch.ones(count, sites, dtype=torch.int64)
    return Conditions(numbers, zero.long(), zero, torch.zeros(count, 2, dtype=torch.bool))


class Gaussian:
    """The marginal velocity of independent straight paths from N(0, 1) to N(mean, deviation²), axis by axis.

    x_t = (1 − t) x0 + t x1 is normal, and E[x1 − x0 | x_t] = mean + (t σ² − (1 − t)) / Var(x_t) (x_t − t mean) with
    Var(x_t) = (1 − t)² + t² σ².
    """

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        self.mean, self.deviation = mean, deviation

    def velocity(self, x: Tensor, t: float) -> Tensor:
        variance = (1 - t) ** 2 + t**2 * self.deviation**2
        return self.mean + (t * self.deviation**2 - (1 - t)) / variance * (x - t * self.mean)

    def __call__(self, state: State, t: Tensor, conditions: Conditions) -> State:
        return State(self.velocity(state.frac, float(t[0])), torch.zeros_like(state.lattice), state.mask)


@pytest.mark.parametrize(("solver", "steps", "error"), [("euler", 200, 0.02), ("heun", 40, 0.005), ("euler", 20, 0.15)])
def test_a_gaussian_in_two_dimensions_is_carried_into_another(solver: str, steps: int, error: float) -> None:
    mean, deviation = torch.tensor([1.5, -0.7, 0.0]), torch.tensor([0.4, 2.0, 1.0])
    flow = FlowMatching("normal", geometry=PAPER, solver=solver)
    conditions = asked(40_000)
    start = flow.start(conditions, Noise(conditions.mask, generator(3)))
    end = flow.sample(Gaussian(mean, deviation), start, conditions, steps).frac[:, 0]
    # each trajectory has a closed form too: it keeps its number of deviations from the mean
    exact = mean + deviation * start.frac[:, 0]
    assert float((end - exact).abs().max() / deviation.max()) < 5 * error
    assert float((end.mean(0) - mean).abs().max()) < 0.03 + error
    assert float((end.std(0) - deviation).abs().max()) < 0.03 + error


def test_what_is_learned_is_the_closed_form() -> None:
    """The regression's optimum is the conditional mean: fitted to the targets near a point, it is Gaussian.velocity."""
    mean, deviation = torch.tensor([0.5, -0.5, 0.0]), torch.tensor([0.5, 1.5, 1.0])
    flow, conditions, t = FlowMatching("normal", geometry=PAPER), asked(400_000), 0.6
    x0 = flow.start(conditions, Noise(conditions.mask, generator(5)))
    frac = mean + deviation * torch.randn(400_000, 1, 3, generator=generator(6))
    x1 = State(frac, torch.zeros_like(x0.lattice), x0.mask)
    xt, target = flow.training_target(x0, x1, torch.full((400_000,), t))
    for axis in (0, 1):
        x, y = xt.frac[:, 0, axis].double(), target.frac[:, 0, axis].double()
        slope = float(((x - x.mean()) * (y - y.mean())).mean() / x.var())
        fitted = float(y.mean() + slope * (0.3 - x.mean()))
        exact = Gaussian(mean, deviation).velocity(torch.full((3,), 0.3), t)[axis]
        assert fitted == pytest.approx(float(exact), abs=0.02)


def test_a_point_target_is_met_exactly() -> None:
    """To a point the velocity is (x1 − x) / (1 − t), along straight lines: Euler has no error at all."""
    conditions, point = asked(50, 4), torch.rand(50, 4, 3, generator=generator(1))

    def network(state: State, t: Tensor, _: Conditions) -> State:
        left = (1 - t)[:, None, None].clamp_min(1e-3)
        return State((point - state.frac) / left, torch.zeros_like(state.lattice), state.mask)

    flow = FlowMatching("normal", geometry=PAPER)
    start = flow.start(conditions, Noise(conditions.mask, generator(2)))
    for steps in (1, 16, 50):
        end = flow.sample(network, start, conditions, steps)
        torch.testing.assert_close(end.frac, point, atol=2e-5, rtol=0)


def test_heun_is_of_second_order() -> None:
    gaussian, conditions = Gaussian(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, 2.0, 1.0])), asked(500)
    errors = []
    for steps in (20, 40):
        flow = FlowMatching("normal", geometry=PAPER, solver="heun")
        start = flow.start(conditions, Noise(conditions.mask, generator(3)))
        exact = gaussian.mean + gaussian.deviation * start.frac
        errors.append(float((flow.sample(gaussian, start, conditions, steps).frac - exact).abs().mean()))
    assert errors[0] / errors[1] > 3.3


def with_start(conditions: Conditions, geometry: str) -> Conditions:
    lattice = torch.eye(3).expand(len(conditions), 3, 3).contiguous()
    frac = torch.rand(*conditions.mask.shape, 3, generator=generator(8)) * conditions.mask[:, :, None]
    return replace(conditions, start=State(frac, lattice, conditions.mask))


def wobble(state: State, t: Tensor, conditions: Conditions) -> State:
    return State(
        torch.sin(state.frac) * state.mask[:, :, None], torch.cos(state.lattice + t[:, None, None]), state.mask
    )


@pytest.mark.parametrize(("task", "method", "geometry"), ALL)
def test_every_sampler_repeats_under_its_seeds_whatever_the_batch_and_the_padding(
    task: str, method: str, geometry: str
) -> None:
    sampler = sampler_for(task, method, geometry=geometry)
    conditions = with_start(network_inputs()[2], geometry)
    seeds = list(range(len(conditions)))

    def draw(part: Conditions, chosen: list[int]) -> State:
        noise = Noise.seeded(part.mask, chosen)
        return sampler.sample(wobble, sampler.start(part, noise), part, 4, noise=noise)

    whole, again = draw(conditions, seeds), draw(conditions, seeds)
    assert torch.equal(whole.frac, again.frac)
    assert torch.equal(whole.lattice, again.lattice)
    n = int(conditions.mask[3].sum())
    alone = conditions[torch.tensor([3])]
    assert alone.start is not None
    start = State(alone.start.frac[:, :n], alone.start.lattice, alone.start.mask[:, :n])
    alone = replace(alone, numbers=alone.numbers[:, :n], start=start)
    single = draw(alone, [3])
    torch.testing.assert_close(single.frac[0], whole.frac[3, :n])
    torch.testing.assert_close(single.lattice[0], whole.lattice[3])
    assert float((whole.frac * ~conditions.mask[:, :, None]).abs().max()) == 0, "nothing at padding"


@pytest.mark.parametrize(("task", "method", "geometry"), ALL)
def test_every_sampler_reports_its_steps_and_stops_when_asked(task: str, method: str, geometry: str) -> None:
    sampler, conditions = sampler_for(task, method, geometry=geometry), with_start(network_inputs()[2], geometry)
    noise, seen = Noise(conditions.mask, generator(0)), list[int]()
    sampler.sample(wobble, sampler.start(conditions, noise), conditions, 9, lambda s: seen.append(s) or s == 4, noise)
    assert seen == ([1] if method == "regression" else [1, 2, 3, 4])


@pytest.mark.parametrize(("task", "method", "geometry"), ALL)
def test_a_perfect_answer_gives_the_target(task: str, method: str, geometry: str) -> None:
    """Both halves fit: what `training_target` asks for, answered exactly, leads `sample` to the data."""
    from core.data.encoding import encode
    from core.samplers.geometry import CELLS

    sampler = sampler_for(task, method, geometry=geometry, noise=0.0)
    crystals = some_crystals()
    target = encode(crystals, CELLS[geometry])
    conditions = with_start(network_inputs()[2], geometry)
    noise = Noise.seeded(conditions.mask, range(len(conditions)))
    start = sampler.start(conditions, noise)

    def network(state: State, t: Tensor, _: Conditions) -> State:
        if sampler.time_scale > 1:  # the noise that is in x_t
            bar = sampler._bar(t)[:, None, None]  # type: ignore[attr-defined]
            parts = [(a - bar.sqrt() * b) / (1 - bar).sqrt() for a, b in
                     ((state.frac, target.frac), (state.lattice, target.lattice))]  # fmt: skip
            return State(parts[0], parts[1], state.mask)
        return sampler.training_target(start, target, t)[1]

    end = sampler.sample(network, start, conditions, 100, noise=noise)
    torch.testing.assert_close(end.lattice, target.lattice, atol=2e-3, rtol=1e-3)
    way = (end.frac - target.frac) * target.mask[:, :, None]
    if geometry == PERIODIC and sampler.time_scale == 1:  # up to a common shift, and any image
        way = way - way[:, :1] * target.mask[:, :, None]
        way = way - way.round()
    assert float(way.abs().max()) < 2e-3


def test_methods_come_back_from_a_model_s_configuration() -> None:
    for task, method, geometry in ALL:
        sampler = sampler_for(task, method, geometry=geometry)
        assert sampler_for(task, method, **sampler_values(sampler)) == sampler
        assert method in ABOUT
        assert STEPS[method] >= 1
    assert draws_of(sampler_for("generation", "ddpm")) == ("ddpm", "ddim")
    assert drawn_by(sampler_for("generation", "ddpm"), "ddim") == sampler_for("generation", "ddim")
    assert drawn_by(sampler_for("modification", "cfm"), "heun") == FlowMatching("start", solver="heun")
    for task, method, wrong in (("generation", "ddpm", "heun"), ("modification", "regression", "euler")):
        with pytest.raises(ValueError, match=f"not drawn by '{wrong}'"):
            drawn_by(sampler_for(task, method), wrong)
    assert sampler_for("modification", "cfm", geometry=PAPER).noise == 0  # type: ignore[attr-defined]
    for wrong in ({"geometry": "flat"}, {"solver": "rk4"}):
        with pytest.raises(ValueError, match="choose"):
            sampler_for("generation", "cfm-uniform", **wrong)
    with pytest.raises(ValueError, match="schedules cosine and linear"):
        sampler_for("generation", "ddpm", schedule="sine")
    with pytest.raises(ValueError, match="no method"):
        sampler_for("generation", "palette")


def test_guidance_carries_on_what_the_conditions_change() -> None:
    """With conditions the crystal goes to 0.4, without to 0.3: guided by g it goes to 0.4 + 0.1 g."""
    conditions = replace(asked(2, 1), present=torch.ones(2, 2, dtype=torch.bool))

    def network(state: State, t: Tensor, told: Conditions) -> State:
        speed = 0.3 + 0.1 * told.present[:, :1, None].float()
        return State(speed.expand_as(state.frac), torch.zeros_like(state.lattice), state.mask)

    start = State(torch.zeros(2, 1, 3), torch.zeros(2, 3, 3), conditions.mask)
    for guidance in (0.0, 1.0, 2.5):
        end = FlowMatching(guidance=guidance, path="stored").sample(network, start, conditions, 7)
        assert torch.allclose(end.frac, torch.full_like(end.frac, 0.4 + 0.1 * guidance))


def test_annealing_moves_coordinates_faster_towards_the_end() -> None:
    """At a steady velocity 1 the way is ∫ (1 + a t) dt = 1 + a/2; cells keep their pace."""
    conditions = asked(1, 1)

    def network(state: State, t: Tensor, _: Conditions) -> State:
        return State(torch.ones_like(state.frac), torch.ones_like(state.lattice), state.mask)

    start = State(torch.zeros(1, 1, 3), torch.zeros(1, 3, 3), conditions.mask)
    end = FlowMatching(annealing=3.0, solver="heun", path="stored").sample(network, start, conditions, 10)
    assert torch.allclose(end.frac, torch.full_like(end.frac, 2.5))
    assert torch.allclose(end.lattice, start.lattice + 1)


def test_a_given_structure_begins_the_path_late_or_at_once() -> None:
    """`begin` lies on the path from noise to the structure; at 0 the path begins at the structure, blurred."""
    conditions = replace(asked(3, 4), numbers=torch.arange(1, 5).expand(3, 4))
    given = State(torch.rand(3, 4, 3, generator=generator(2)), torch.zeros(3, 3, 3), conditions.mask)
    told = replace(conditions, start=given)

    def apart(flow: FlowMatching) -> float:
        delta = flow.start(told, Noise(told.mask, generator(4))).frac - given.frac
        return float((delta - delta.round()).abs().mean())

    far = [apart(FlowMatching(begin=begin, path="stored")) for begin in (0.2, 0.6, 0.9)]
    assert far[0] > far[1] > far[2] > 0
    assert far[0] == pytest.approx(8 * far[2], rel=1e-4), "1 − begin of the way is left"
    assert apart(FlowMatching(noise=0.0)) == 0

    def network(state: State, t: Tensor, _: Conditions) -> State:
        delta = given.frac - state.frac
        return State((delta - delta.round()) / (1 - t)[:, None, None], torch.zeros_like(state.lattice), state.mask)

    flow = FlowMatching(begin=0.6, path="stored")
    end = flow.sample(network, flow.start(told, Noise(told.mask, generator(4))), told, 5)
    assert torch.allclose(end.frac - end.frac.round(), given.frac - given.frac.round(), atol=1e-5)
