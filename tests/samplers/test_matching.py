"""Which atom goes where: against scipy's exact assignment."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from core.models.state import State
from core.samplers.flow import FlowMatching
from core.samplers.matching import least_cost_order, nearest_order
from tests.models.test_learning import generator


def two_states(natoms: list[int], kinds: int) -> tuple[State, State, torch.Tensor]:
    """Random sites of crystals of so many atoms, padded to the largest, of 1 … kinds."""
    width = max(natoms)
    mask = torch.arange(width) < torch.tensor(natoms)[:, None]
    numbers = torch.randint(1, kinds + 1, mask.shape, generator=generator(0)) * mask
    a, b = (torch.rand(*mask.shape, 3, generator=generator(seed)) * mask[:, :, None] for seed in (1, 2))
    cell = torch.zeros(len(natoms), 3, 3)
    return State(a, cell, mask), State(b, cell, mask), numbers


def cost(x0: State, x1: State) -> torch.Tensor:
    delta = x1.frac[:, None] - x0.frac[:, :, None]
    return (delta - delta.round()).square().sum(-1)


@pytest.mark.parametrize(
    ("natoms", "kinds", "excess"), [([2, 5, 5, 3], 2, 1.0), ([12] * 64, 3, 1.02), ([30] * 8, 1, 1.1)]
)
def test_orders_are_near_the_exact_ones(natoms: list[int], kinds: int, excess: float) -> None:
    x0, x1, numbers = two_states(natoms, kinds)
    costs, alike = cost(x0, x1), numbers[:, :, None] == numbers[:, None]
    order = least_cost_order(costs, alike)
    assert torch.equal(numbers.gather(1, order), numbers), "only atoms of a kind change places"
    assert torch.equal(order.sort(1).values, torch.arange(max(natoms)).expand_as(order)), "each goes somewhere else"
    barred = costs.masked_fill(~alike, 1e3).numpy()
    exact = sum(matrix[linear_sum_assignment(matrix)].sum() for matrix in barred)
    assert float(costs.gather(2, order[:, :, None]).sum()) <= excess * exact + 1e-6


def test_a_crystal_with_its_atoms_changed_about_lies_on_itself() -> None:
    x0, _, _ = two_states([6, 9], 2)
    numbers = x0.mask.long()
    frac = x0.frac.clone()
    for i, n in enumerate((6, 9)):
        frac[i, :n] = x0.frac[i, torch.randperm(n, generator=generator(n))] + 3
    assert torch.allclose(
        nearest_order(x0, State(frac, x0.lattice, x0.mask), numbers).frac, x0.frac + 3 * x0.mask[:, :, None]
    )


def test_paths_with_and_without_changes_of_place() -> None:
    x0, x1, numbers = two_states([8, 8, 8], 1)
    t = torch.rand(3, generator=generator(5))
    lengths = {}
    for path in ("centred", "matched", "stored"):
        flow = FlowMatching(path=path)
        _, velocity = flow.training_target(x0, flow.pair(x0, x1, numbers), t)
        lengths[path] = float(velocity.frac.square().sum())
        mean = velocity.frac.mean(1).abs().max()
        assert (float(mean) < 1e-6) == (path != "stored"), "only the stored origin moves a crystal as a whole"
    assert lengths["matched"] < lengths["stored"] < lengths["centred"]
