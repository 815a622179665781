"""Crystals that start on a space group and keep it: from random Wyckoff positions that fit what the cell contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from core.crystals import Crystals, concatenate
from core.data.encoding import encode
from core.data.symmetry import detect_group
from core.data.symmetry_operations import operations_of
from core.data.tensors import TRAIN, TensorData
from core.data.wyckoff_starts import SYMPREC, random_start
from core.models.state import Conditions
from core.samplers.drawing import draw_crystals, keeps_symmetry
from core.samplers.geometry import CELLS
from core.samplers.protocol import OnStep, Sampler
from core.templates.library import build_library
from core.templates.sites import SiteWeights
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors

ATTEMPTS = 3  # starts of a crystal that ends with another group: with more symmetry, or with atoms in one place
REACHED = (0.1, 0.01)  # Å: at either of them spglib has to find the group


def draw_held(
    network: nn.Module,
    sampler: Sampler,
    conditions: Conditions,
    seeds: Sequence[int],
    steps: int,
    on_step: OnStep | None = None,
    weights: SiteWeights | None = None,
) -> Crystals:
    """As `draw_crystals`, and on the way each crystal keeps the space group that is asked of it.

    Freely drawn are those without a group or in P1, those whose content the group cannot hold, structures to modify,
    and all where the method cannot keep a group (`keeps_symmetry`).
    weights: of known structures, for the positions that starts take
    """
    groups = (conditions.group * conditions.present[:, 0]).tolist()
    able = keeps_symmetry(sampler) and conditions.start is None
    wanted = [i for i, group in enumerate(groups) if able and group > 1]
    drawn: dict[int, Crystals] = {}

    def draw(rows: list[int], starts: list[Crystals]) -> None:
        some = conditions[torch.tensor(rows)]
        width = int(some.mask.sum(1).max())
        some = replace(some, numbers=some.numbers[:, :width])
        start = concatenate(starts) if starts else None
        found = draw_crystals(
            network, sampler, some, [seeds[i] for i in rows], steps, on_step,
            None if start is None else encode(start, CELLS[sampler.geometry]),
            None if start is None else operations_of(start, SYMPREC),
        )  # fmt: skip
        drawn.update({i: found[[k]] for k, i in enumerate(rows)})

    for attempt in range(ATTEMPTS):
        starts = {i: _start(conditions, i, groups[i], (seeds[i], attempt), weights) for i in wanted}
        placed = {i: start for i, start in starts.items() if start is not None}
        if placed:
            draw(list(placed), list(placed.values()))
        wanted = [i for i in placed if not _reached(drawn[i], groups[i])]
    if free := [i for i in range(len(groups)) if i not in drawn]:
        draw(free, [])
    return concatenate([drawn[i] for i in range(len(groups))]).pad(conditions.numbers.shape[1])


def site_weights(dataset: str) -> SiteWeights:
    """Of the training part of a dataset, kept in this process. Raises UserError where there is none."""
    found = get_dataset(dataset)
    try:
        return _weights(found.hash, load_tensors(found))
    except ValueError as error:
        raise UserError(f"{found.name} has no training part to learn sites from.") from error


@lru_cache(maxsize=2)
def _weights(digest: str, data: TensorData) -> SiteWeights:
    return SiteWeights(build_library(data.crystals, data.part(TRAIN)))


def _start(
    conditions: Conditions, index: int, group: int, seed: tuple[int, int], weights: SiteWeights | None
) -> Crystals | None:
    numbers = conditions.numbers[index][conditions.mask[index]].tolist()
    prior = None
    if weights is not None:
        content = Counter(numbers)
        prior = weights(group, [content[z] for z in sorted(content)])
    return random_start(numbers, group, np.random.default_rng(seed), prior)


def _reached(crystal: Crystals, group: int) -> bool:
    return any(detect_group(crystal, 0, symprec) == group for symprec in REACHED)
