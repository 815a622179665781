"""Atoms of a kind are alike: which of them goes where is free, and short ways are easier to learn."""

from __future__ import annotations

import torch
from torch import Tensor

from core.models.state import State

_SWAPS = 4  # rounds of exchanges after the first choice


def nearest_order(x0: State, x1: State, numbers: Tensor) -> State:
    """x1 with atoms of one kind changed about to lie close to x0's, in fractional coordinates round the cell.

    numbers: (B, N) atomic numbers, 0 at padding. The nearest pairs come first, and then pairs of atoms change places
    where that shortens both ways together: within some percent of the least cost, in a few operations for a whole batch
    on any device (minibatch couplings: Tong et al., TMLR 2024; within a crystal: Klein et al., NeurIPS 2023).
    """
    delta = x1.frac[:, None] - x0.frac[:, :, None]  # (B, N, N, 3): from i of x0 to j of x1
    cost = (delta - delta.round()).square().sum(-1)
    order = least_cost_order(cost, numbers[:, :, None] == numbers[:, None])
    frac = x1.frac.gather(1, order[:, :, None].expand_as(x1.frac))
    return State(frac, x1.lattice, x1.mask)


def least_cost_order(cost: Tensor, allowed: Tensor) -> Tensor:
    """(B, N, N) costs of giving column j to row i, and whether it may -> (B, N) the column of each row, near the best.

    `allowed` is an equivalence: each class holds as many rows as columns.
    """
    b, n, _ = cost.shape
    left = cost.masked_fill(~allowed, torch.inf)
    order = torch.arange(n, device=cost.device).repeat(b, 1)
    batch = torch.arange(b, device=cost.device)
    for _ in range(n):
        place = left.flatten(1).argmin(1)
        row, column = place // n, place % n
        order[batch, row] = column
        left[batch, row] = torch.inf
        left[batch, :, column] = torch.inf
    return _exchanged(cost, allowed, order)


def _exchanged(cost: Tensor, allowed: Tensor, order: Tensor) -> Tensor:
    """Pairs of rows change columns, in every round those that gain most for both."""
    n = order.shape[1]
    for _ in range(_SWAPS):
        taken = cost.gather(2, order[:, None].expand_as(cost))  # (B, i, k): row i with the column of row k
        own = taken.diagonal(dim1=1, dim2=2)
        gain = own[:, :, None] + own[:, None] - taken - taken.mT  # of i and k changing
        gain = gain.masked_fill(~allowed, 0.0)
        best, partner = gain.max(2)
        mutual = (partner.gather(1, partner) == torch.arange(n, device=order.device)) & (best > 1e-9)
        if not bool(mutual.any()):
            break
        swapped = order.gather(1, partner)
        order = torch.where(mutual, swapped, order)
    return order
