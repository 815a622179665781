"""Losses against brute force, gradcheck and closed forms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from core.models.state import State
from core.training.losses import LOSSES, minimum_image_distance, periodic_distance


def states(count: int = 6, sites: int = 5, seed: int = 0) -> tuple[State, State]:
    g = torch.Generator().manual_seed(seed)
    natoms = torch.randint(1, sites + 1, (count,), generator=g)
    mask = torch.arange(sites) < natoms[:, None]
    pair = [
        State(
            torch.rand(count, sites, 3, generator=g, dtype=torch.float64) * mask[:, :, None],
            torch.randn(count, 3, 3, generator=g, dtype=torch.float64),
            mask,
        )
        for _ in range(2)
    ]
    return pair[0], pair[1]


@pytest.mark.parametrize("name", LOSSES)
def test_padding_never_counts_and_every_crystal_counts_alike(name: str) -> None:
    predicted, target = states()
    loss = LOSSES[name]
    found = {k: float(v) for k, v in loss(predicted, target).items()}
    wild = State(predicted.frac + 9.3 * ~target.mask[:, :, None], predicted.lattice, predicted.mask)
    assert {k: float(v) for k, v in loss(wild, target).items()} == found
    single = [
        float(loss(*(State(s.frac[[i], :n], s.lattice[[i]], s.mask[[i], :n]) for s in (predicted, target)))["loss"])
        for i, n in enumerate(target.mask.sum(1).tolist())
    ]
    assert found["loss"] == pytest.approx(sum(single) / len(single)), "averaged over the batch, not summed"
    assert float(loss(target, target)["loss"]) == 0


def test_the_paper_s_weights() -> None:
    """L1 on the coordinate rows over the number of sites, on the cell's rows over 3, half each."""
    predicted, target = states()
    frac = sum(
        float((predicted.frac[i, :n] - target.frac[i, :n]).abs().sum()) / n
        for i, n in enumerate(target.mask.sum(1).tolist())
    )
    lattice = float((predicted.lattice - target.lattice).abs().sum()) / 3
    assert float(LOSSES["l1"](predicted, target)["loss"]) == pytest.approx((0.5 * frac + 0.5 * lattice) / 6)


def equivalents(target: list[float]) -> list[tuple[float, ...]]:
    """The points of the paper's section 3: both ends for every coordinate on the boundary."""
    return list(itertools.product(*[(0.0, 1.0) if x in (0.0, 1.0) else (x,) for x in target]))


SPECIAL = [
    ([0.0, 0.0, 1.0], 8),
    ([1.0, 0.3, 0.0], 4),
    ([0.0, 0.2, 0.6], 2),
    ([0.4, 0.2, 0.6], 1),
]


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize(("target", "count"), SPECIAL)
def test_the_periodic_distance_is_the_least_over_equivalent_points(target: list[float], count: int, p: float) -> None:
    points = equivalents(target)
    assert len(points) == count
    for frac in torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 2 - 0.5:
        brute = min(float((frac - torch.tensor(q, dtype=torch.float64)).abs().pow(p).sum() ** (1 / p)) for q in points)
        exact = periodic_distance(frac, torch.tensor(target, dtype=torch.float64), p=p)
        assert float(exact) == pytest.approx(brute)
        # the smooth minimum is the norm of order k over the distances, and goes to the least as k → −∞
        distances = [sum(abs(f - c) ** p for f, c in zip(frac.tolist(), q, strict=True)) ** (1 / p) for q in points]
        for order in (-4.0, -40.0):
            smooth = periodic_distance(frac, torch.tensor(target, dtype=torch.float64), order, p)
            assert float(smooth) == pytest.approx(sum(d**order for d in distances) ** (1 / order))
        assert float(smooth) == pytest.approx(brute, rel=math.log(8) / 40 + 1e-6)


def test_the_minimum_image_is_the_least_over_27_images_and_never_more_than_the_periodic_distance() -> None:
    g = torch.Generator().manual_seed(4)
    frac, target = (torch.rand(400, 3, dtype=torch.float64, generator=g) for _ in range(2))
    images = torch.cartesian_prod(*3 * [torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)])
    brute = (frac[:, None] - target[:, None] + images).norm(dim=-1).amin(-1)
    torch.testing.assert_close(minimum_image_distance(frac, target), brute)
    corner = target.clone()
    corner[:200, 0], corner[:100, 1] = 0.0, 1.0
    assert bool((minimum_image_distance(frac, corner) <= periodic_distance(frac, corner) + 1e-12).all())


@pytest.mark.parametrize("order", [-math.inf, -8.0])
def test_gradients_of_the_distances(order: float) -> None:
    g = torch.Generator().manual_seed(5)
    frac = (torch.rand(12, 3, dtype=torch.float64, generator=g) * 0.8 + 0.1).requires_grad_()
    target = torch.tensor([t for t, _ in SPECIAL] * 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: periodic_distance(x, target, order), (frac,))
    assert torch.autograd.gradcheck(lambda x: minimum_image_distance(x, target), (frac,))


@pytest.mark.parametrize("distance", [periodic_distance, minimum_image_distance])
def test_where_all_is_right_the_gradient_is_zero_not_nan(distance) -> None:
    target = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.3, 0.4]])
    frac: Tensor = target.clone().requires_grad_()
    distance(frac, target).sum().backward()
    assert frac.grad is not None
    assert float(frac.grad.abs().max()) == 0
