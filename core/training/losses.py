"""Losses by part. Padding never counts, and every crystal counts the same whatever its size."""

from __future__ import annotations

from torch import Tensor

from core.models.state import State

LATTICE_WEIGHT = 0.2  # lattice velocities are of order one, those of coordinates of a quarter


def velocity_loss(predicted: State, target: State) -> dict[str, Tensor]:
    """Mean squared errors: frac per atom and axis, lattice per entry of S, and their weighted sum as `loss`."""
    mask = target.mask[:, :, None].to(target.frac.dtype)
    squared = ((predicted.frac - target.frac) ** 2 * mask).sum((1, 2))
    frac = (squared / (3 * mask.sum((1, 2)))).mean()
    lattice = ((predicted.lattice - target.lattice) ** 2).mean()
    return {"loss": frac + LATTICE_WEIGHT * lattice, "loss_frac": frac, "loss_lattice": lattice}
