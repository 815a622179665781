"""Crystals for conditions: the same one for a seed in whatever batch, on whatever device the network is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from core.crystals import Crystals
from core.data.encoding import decode
from core.models.state import Conditions, State
from core.samplers.diffusion import Diffusion
from core.samplers.geometry import CELLS, PERIODIC
from core.samplers.noise import Noise
from core.samplers.protocol import OnStep, Sampler
from core.samplers.symmetry import Operations, kept


def keeps_symmetry(sampler: Sampler) -> bool:
    """Can this method be held on a space group? Where its steps are sums of velocities on the torus."""
    return sampler.geometry == PERIODIC and not isinstance(sampler, Diffusion)


@torch.no_grad()
def draw_crystals(
    network: nn.Module,
    sampler: Sampler,
    conditions: Conditions,
    seeds: Sequence[int],
    steps: int,
    on_step: OnStep | None = None,
    start: State | None = None,
    operations: Operations | None = None,
) -> Crystals:
    """One crystal on the processor for each of B conditions, from one seed each.

    on_step(steps done) may return True to stop early. Random numbers are drawn on the processor, so that a GPU starts
    from the same ones.
    start: where the way begins, instead of the sampler's own x0
    operations: of the start, or where there is none of `conditions.start`: what each crystal is brought onto, noise
    about it too, and kept on all the way. Raises ValueError where the sampler cannot (`keeps_symmetry`).
    """
    device = next(network.parameters()).device
    noise = Noise.seeded(conditions.mask, seeds)
    state = (sampler.start(conditions, noise) if start is None else start).to(device)
    asked, noise = conditions.to(device), noise.to(device)
    if operations is None:
        state = sampler.sample(network, state, asked, steps, on_step, noise)
    else:
        if not keeps_symmetry(sampler):
            raise ValueError("this method cannot keep a space group: it does not move by velocities around the cell")
        held = kept(network, operations.to(device))
        around = asked.start if start is None else None
        state = held.leave(sampler.sample(held, held.enter(state, around), asked, steps, on_step, noise))
    return decode(state.to("cpu"), conditions, CELLS[sampler.geometry])
