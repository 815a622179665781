"""The space that crystals move in: around the cell (`PERIODIC`), or in ℝ as numbers in a matrix (`PAPER`)."""

from __future__ import annotations

import torch
from torch import Tensor

from core.models.state import State

PERIODIC = "periodic"
PAPER = "paper"
GEOMETRIES = {
    PERIODIC: "coordinates take the shortest way round the cell, cells are ½ ln(L Lᵀ)",
    PAPER: "coordinates are plain numbers, cells their three vectors in Å",
}
CELLS = {PERIODIC: "log", PAPER: "vectors"}  # the encoding (`core.data.encoding`) that belongs to each


def displacement(x0: State, x1: State, geometry: str = PERIODIC, centred: bool = True) -> State:
    """What leads from x0 to x1, 0 at padding.

    Periodic: every atom the shortest way round the cell, less (`centred`) the mean of all: a crystal moved as a whole
    is the same crystal (Miller et al., FlowMM, ICML 2024). Paper: the plain difference.
    """
    delta = x1.frac - x0.frac
    if geometry == PERIODIC:
        delta = delta - delta.round()
        delta = without_mean(delta, x1.mask) if centred else delta
    return State(delta * x1.mask[:, :, None], x1.lattice - x0.lattice, x1.mask)


def move(state: State, velocity: State, t: Tensor | float) -> State:
    """state + t · velocity, t (B,) or one number."""
    step = t[:, None, None] if isinstance(t, Tensor) else t
    return State(state.frac + step * velocity.frac, state.lattice + step * velocity.lattice, state.mask)


def without_mean(frac: Tensor, mask: Tensor) -> Tensor:
    """(B, N, 3) less the mean over the sites of each crystal, 0 at padding."""
    keep = mask[:, :, None].to(frac.dtype)
    mean = (frac * keep).sum(1, keepdim=True) / keep.sum(1, keepdim=True).clamp_min(1)
    return (frac - mean) * keep


def mix(a: State, b: State, share_a: Tensor | float, share_b: Tensor | float) -> State:
    """share_a · a + share_b · b with shares (B,), or one number."""
    sa, sb = (s[:, None, None] if isinstance(s, Tensor) else s for s in (share_a, share_b))
    return State(sa * a.frac + sb * b.frac, sa * a.lattice + sb * b.lattice, a.mask)


def finite(state: State) -> Tensor:
    """(B,) bool: no coordinate and no cell is infinite or NaN."""
    return torch.isfinite(state.frac).flatten(1).all(1) & torch.isfinite(state.lattice).flatten(1).all(1)
