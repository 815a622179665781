"""Losses by part: coordinates, cell and their weighted sum. Padding never counts, and every crystal counts the same.

Each function takes (predicted, target) states and returns scalars `loss`, `loss_frac` and `loss_lattice`, all averaged
over the batch. The authors' code sums one of its losses over the batch and counts padding: neither is done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from core.models.state import State

LATTICE_WEIGHT = 0.2  # lattice velocities are of order one, those of coordinates of a quarter
_CORNERS = torch.cartesian_prod(*3 * [torch.tensor([False, True])])  # (8, 3): which axes take the other end
Loss = Callable[[State, State], dict[str, Tensor]]


def squared(predicted: State, target: State) -> dict[str, Tensor]:
    """Mean squared errors: frac per atom and axis, lattice per entry, weighted 1 and 0.2."""
    mask = target.mask[:, :, None].to(target.frac.dtype)
    errors = ((predicted.frac - target.frac) ** 2 * mask).sum((1, 2))
    frac = (errors / (3 * mask.sum((1, 2)))).mean()
    return _parts(frac, ((predicted.lattice - target.lattice) ** 2).mean(), 1.0, LATTICE_WEIGHT)


def l1(predicted: State, target: State) -> dict[str, Tensor]:
    """The paper's preset: L1 of the coordinate rows over the number of sites, of the cell's rows over 3, half each."""
    return _halves((predicted.frac - target.frac).abs().sum(-1), predicted, target)


def periodic(predicted: State, target: State, order: float = -math.inf, p: float = 2.0) -> dict[str, Tensor]:
    """The paper's periodic loss (its section 3) for coordinates, L1 for the cell; for networks that answer a crystal.

    An atom whose target lies on a corner, an edge or a face of the cell is compared with the 8, 4 or 2 equivalent
    points; see `periodic_distance`. The authors' code takes p = 1 by default.
    """
    return _halves(periodic_distance(predicted.frac, target.frac, order, p), predicted, target)


def minimum_image(predicted: State, target: State) -> dict[str, Tensor]:
    """As `periodic`, but every coordinate may take any of its images: the shortest distance on the torus."""
    return _halves(minimum_image_distance(predicted.frac, target.frac), predicted, target)


LOSSES: dict[str, Loss] = {"squared": squared, "l1": l1, "periodic": periodic, "minimum-image": minimum_image}
ABOUT = {
    "squared": "mean squares",
    "l1": "absolute values, half for coordinates and half for the cell (the paper)",
    "periodic": "the paper's periodic distance, for regression",
    "minimum-image": "the distance to the nearest image, for regression",
}


def periodic_distance(
    frac: Tensor, target: Tensor, order: float = -math.inf, p: float = 2.0, edge: float = 1e-6
) -> Tensor:
    """(…, 3) and (…, 3) -> (…) distance in the p-norm to the nearest point equivalent to the target.

    Coordinates of the target within `edge` of 0 or 1, on the cell's boundary, have both ends as equivalents. The
    minimum is the norm of order k → −∞ over the distances (the paper, section 3): a finite negative `order` makes it
    smooth, and never larger.
    """
    low, high = target.abs() <= edge, (target - 1).abs() <= edge
    corners = _CORNERS.to(target.device)
    both = (low | high)[..., None, :]  # (…, 1, 3)
    points = torch.where(corners & both, 1 - target[..., None, :].round(), target[..., None, :])  # (…, 8, 3)
    distances = _norm(frac[..., None, :] - points, p)
    if order == -math.inf:
        return distances.amin(-1)
    doubled = (corners & ~both).any(-1)  # the same point again
    powers = torch.where(doubled, -math.inf, order * distances.clamp_min(1e-12).log())
    return (torch.logsumexp(powers, -1) / order).exp()


def minimum_image_distance(frac: Tensor, target: Tensor, p: float = 2.0) -> Tensor:
    """(…, 3) and (…, 3) -> (…) shortest distance over all periodic images, in the p-norm of fractional coordinates."""
    delta = frac - target
    return _norm(delta - delta.detach().round(), p)


def _norm(delta: Tensor, p: float) -> Tensor:
    """The p-norm along the last axis, with a gradient of 0 (not NaN) at 0."""
    if p == 1.0:
        return delta.abs().sum(-1)
    total = delta.abs().pow(p).sum(-1)
    away = total > 0
    return torch.where(away, torch.where(away, total, 1.0).pow(1 / p), 0.0)


def _halves(distances: Tensor, predicted: State, target: State) -> dict[str, Tensor]:
    """(B, N) distances averaged over the sites of each crystal, and L1 of the cell, half each."""
    mask = target.mask.to(distances.dtype)
    frac = ((distances * mask).sum(1) / mask.sum(1).clamp_min(1)).mean()
    lattice = ((predicted.lattice - target.lattice).abs().sum((1, 2)) / 3).mean()
    return _parts(frac, lattice, 0.5, 0.5)


def _parts(frac: Tensor, lattice: Tensor, frac_weight: float, lattice_weight: float) -> dict[str, Tensor]:
    return {"loss": frac_weight * frac + lattice_weight * lattice, "loss_frac": frac, "loss_lattice": lattice}
