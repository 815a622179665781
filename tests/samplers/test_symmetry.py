"""Sampling that keeps a space group: random velocities in every crystal system, against spglib and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.crystals import Crystals, concatenate
from core.data.encoding import encode
from core.data.symmetry import detect_group, detect_groups
from core.data.symmetry_operations import operations_of
from core.data.wyckoff import centring_of
from core.data.wyckoff_starts import random_start
from core.models.state import Conditions, State, conditions_for
from core.samplers.diffusion import Diffusion
from core.samplers.drawing import draw_crystals, keeps_symmetry
from core.samplers.flow import FlowMatching
from core.samplers.protocol import Sampler
from core.samplers.regression import Regression
from core.samplers.symmetry import Kept, kept

GROUPS = (2, 8, 12, 15, 43, 62, 70, 82, 99, 141, 148, 155, 166, 176, 191, 194, 199, 206, 216, 225, 227, 230)


class Restless(nn.Module):
    """A network that answers at random, far more than a trained one would, and says what it was shown."""

    def __init__(self, seed: int = 0, size: float = 1.0) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        self.generator = torch.Generator().manual_seed(seed)
        self.size = size
        self.seen: list[State] = []

    def forward(self, state: State, t: Tensor, conditions: Conditions) -> State:
        self.seen.append(state)
        frac = torch.randn(state.frac.shape, generator=self.generator).to(state.frac.device)
        cell = torch.randn(state.lattice.shape, generator=self.generator).to(state.frac.device)
        return State(self.size * frac * state.mask[:, :, None], self.size * (cell + cell.mT), state.mask)


def starts(groups: tuple[int, ...] = GROUPS) -> Crystals:
    """A random crystal of each group on its general position, in the primitive cell, of whatever order."""
    found = []
    for group in groups:
        content = [22] * (len(operations(group)) // len(centring_of(group))) + [8] * 8
        crystal = random_start(content, group, np.random.default_rng(group))
        assert crystal is not None, group
        found.append(crystal)
    return concatenate(found)


def operations(group: int) -> np.ndarray:
    from core.data.wyckoff import _operations

    return _operations(group)[0]


def asked(crystals: Crystals) -> Conditions:
    numbers = [n[n > 0].tolist() for n in crystals.numbers]
    return conditions_for(numbers, [int(g) for g in crystals.group], [None] * len(crystals))


@pytest.fixture(scope="module")
def crystals() -> Crystals:
    return starts()


@pytest.mark.parametrize("sampler", [FlowMatching(), FlowMatching(solver="heun"), Regression()])
def test_random_velocities_leave_the_group(crystals: Crystals, sampler: Sampler) -> None:
    """Fifty steps of nonsense in one batch of every crystal system: cells and sites go far, the group stays."""
    found = operations_of(crystals, 1e-3)
    network = Restless()
    drawn = draw_crystals(network, sampler, asked(crystals), range(len(crystals)), 50, None, encode(crystals), found)
    assert detect_groups(drawn, 0.01).tolist() == list(GROUPS)
    assert float((drawn.volume / crystals.volume - 1).abs().median()) > 0.05
    away = (drawn.frac - crystals.frac + 0.5) % 1 - 0.5
    assert float(away.abs().max()) > 0.1
    assert all(bool(torch.isfinite(state.lattice).all()) for state in network.seen)


def test_without_it_no_group_is_left(crystals: Crystals) -> None:
    drawn = draw_crystals(Restless(), FlowMatching(), asked(crystals), range(len(crystals)), 50, start=encode(crystals))
    assert set(detect_groups(drawn, 0.01).tolist()) == {1}


def one(group: int) -> tuple[Crystals, Kept, State]:
    crystal = starts((group,))
    held = kept(Restless(), operations_of(crystal, 1e-3))
    state = encode(crystal)
    return crystal, held, State(state.frac.double(), state.lattice.double(), state.mask)


@pytest.mark.parametrize("group", [12, 43, 148, 166, 225])
def test_a_velocity_of_the_cell_is_the_same_in_both_charts(group: int) -> None:
    """A small step in T along the pulled-back velocity is the step in S averaged over the metric's operations."""
    _, held, state = one(group)
    inside = held.enter(state)
    torch.testing.assert_close(held.leave(inside).lattice, state.lattice, atol=1e-6, rtol=0)
    velocity, width = torch.randn(1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), 1e-5
    velocity = velocity + velocity.mT
    pulled = held._pulled(inside.lattice, velocity)

    def metric(lattice: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(0.7 * lattice)  # 2 SPREAD S

    rotations = held._operations.rotations[0]
    moved = held._log_metric(inside.lattice + width * pulled) - held._log_metric(inside.lattice - width * pulled)
    free = metric(state.lattice + width * velocity) - metric(state.lattice - width * velocity)
    even = (rotations.mT @ free[0] @ rotations).mean(0)
    by_chart = metric(state.lattice + moved / 2) - metric(state.lattice - moved / 2)
    torch.testing.assert_close(by_chart[0], even, atol=1e-8, rtol=1e-4)


def test_averages_leave_alone_what_is_symmetric_and_crystals_without_operations() -> None:
    _, held, _ = one(166)
    lone = starts((225, 2))
    free = operations_of(lone, 1e-3)
    free.present[0, 1:] = False  # the identity alone
    network = Restless()
    drawn = draw_crystals(network, FlowMatching(), asked(lone), (1, 2), 5, None, encode(lone), free)
    plain = draw_crystals(Restless(), FlowMatching(), asked(lone), (1, 2), 5, None, encode(lone))
    torch.testing.assert_close(drawn.frac[0], plain.frac[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn.lattice[0], plain.lattice[0], atol=1e-3, rtol=0)
    assert detect_group(drawn, 1, 0.01) == 2
    velocity = torch.randn(held._sites.shape[1] // 3, 3, generator=torch.Generator().manual_seed(2))[None].double()
    even = held._even(velocity)
    torch.testing.assert_close(held._even(even), even)
    cell = held._even_cell(torch.eye(3, dtype=torch.float64)[None])
    torch.testing.assert_close(cell[0], torch.eye(3, dtype=torch.float64))


def test_a_start_is_moved_onto_its_operations_and_a_broken_one_stays_alone() -> None:
    crystals = starts((62, 194))
    found = operations_of(crystals, 1e-3)
    state = encode(crystals)
    noise = torch.randn(state.frac.shape, generator=torch.Generator().manual_seed(3)) * state.mask[:, :, None]
    shaken = State(state.frac + 0.003 * noise, state.lattice + 0.01 * torch.ones(3, 3).triu(), state.mask)
    drawn = draw_crystals(Restless(size=0.0), FlowMatching(), asked(crystals), (0, 0), 2, None, shaken, found)
    assert detect_groups(drawn, 1e-3).tolist() == [62, 194]
    shaken.lattice[0] = torch.nan
    drawn = draw_crystals(Restless(), FlowMatching(), asked(crystals), (0, 0), 2, None, shaken, found)
    assert not bool(torch.isfinite(drawn.lattice[0]).any())
    assert detect_group(drawn, 1, 1e-3) == 194


def test_noise_about_a_template_is_made_even_however_much_it_is() -> None:
    """A structure to begin at is not the start itself: the sampler's noise about it keeps the group too."""
    crystals = starts((62, 148, 194, 225))
    told = replace(asked(crystals), start=encode(crystals))
    for sampler in (FlowMatching(noise=0.3), FlowMatching(begin=0.5)):
        drawn = draw_crystals(Restless(), sampler, told, range(4), 3, operations=operations_of(crystals, 1e-3))
        assert detect_groups(drawn, 1e-3).tolist() == [62, 148, 194, 225]


def test_methods_that_do_not_move_by_velocities_refuse() -> None:
    crystals = starts((2,))
    assert keeps_symmetry(FlowMatching())
    assert keeps_symmetry(Regression())
    for sampler in (Diffusion(), FlowMatching(geometry="paper")):
        assert not keeps_symmetry(sampler)
        with pytest.raises(ValueError, match="cannot keep a space group"):
            draw_crystals(
                Restless(), sampler, asked(crystals), (0,), 2, None, encode(crystals), operations_of(crystals, 0.01)
            )
