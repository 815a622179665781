"""Crystals for conditions: the same one for a seed in whatever batch, on whatever device the network is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from core.crystals import Crystals
from core.data.encoding import decode
from core.models.state import Conditions
from core.samplers.geometry import CELLS
from core.samplers.noise import Noise
from core.samplers.protocol import OnStep, Sampler


@torch.no_grad()
def draw_crystals(
    network: nn.Module,
    sampler: Sampler,
    conditions: Conditions,
    seeds: Sequence[int],
    steps: int,
    on_step: OnStep | None = None,
) -> Crystals:
    """One crystal on the processor for each of B conditions, from one seed each.

    on_step(steps done) may return True to stop early. Random numbers are drawn on the processor, so that a GPU starts
    from the same ones.
    """
    device = next(network.parameters()).device
    noise = Noise.seeded(conditions.mask, seeds)
    start = sampler.start(conditions, noise).to(device)
    state = sampler.sample(network, start, conditions.to(device), steps, on_step, noise.to(device))
    return decode(state.to("cpu"), conditions, CELLS[sampler.geometry])
