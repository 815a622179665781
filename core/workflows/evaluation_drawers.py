"""Who answers: a trained model, or a baseline that it must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from pymatgen.core import Element

from core.crystals import Crystals, concatenate
from core.data.tensors import TRAIN
from core.models.state import Conditions
from core.templates.library import Library, build_library
from core.templates.propose import propose
from core.training.data import generation_examples, modification_examples
from core.workflows.context import Context, UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.design import MAX_SITES, draw
from core.workflows.models import LoadedModel, load_model

START, SUBSTITUTION = "start", "substitution:"


@dataclass(frozen=True)
class Asked:
    """A batch of B targets, each asked for once.

    target: the answers, of which only what is in `given` may be looked at; start: to be modified, None for generation
    sample: (B,) the number of each sample of its target; seeds: (B,) one for each
    """

    target: Crystals
    start: Crystals | None
    sample: tuple[int, ...]
    seeds: tuple[int, ...]


class Drawer(Protocol):
    """name, hash: what the report names; task: "generation", "modification" or "" for both; method: its energies."""

    name: str
    hash: str
    task: str
    method: str

    def refuses(self, target: Crystals) -> list[str]:
        """For each target why it cannot be drawn, "" where it can."""

    def draw(self, asked: Asked, steps: int, context: Context) -> tuple[Crystals, list[int]]:
        """Crystals, and which of the batch each answers. Raises Cancelled."""


def find_drawer(name: str, conditions: Sequence[str], hold_group: bool = False) -> Drawer:
    """By the name that a user gives: a model's, "start", or "substitution:DATASET". Raises UserError."""
    if name == START:
        return StartDrawer()
    if name.startswith(SUBSTITUTION):
        return SubstitutionDrawer(name, conditions)
    return ModelDrawer(load_model(name).holding(hold_group), conditions)


class ModelDrawer:
    """A trained model, given no more than the conditions that are asked for."""

    def __init__(self, model: LoadedModel, conditions: Sequence[str]) -> None:
        self.model, self.conditions = model, conditions
        self.name, self.hash, self.task = model.row.name, model.row.hash, model.row.task
        self.method = model.row.energy_method

    def refuses(self, target: Crystals) -> list[str]:
        limit = getattr(self.model.network, "max_sites", None) or MAX_SITES
        seen = self.model.seen.get("elements")
        known = None if seen is None else {Element(symbol).Z for symbol in seen}
        return [_refusal(numbers, limit, known) for numbers in target.numbers.numpy()]

    def draw(self, asked: Asked, steps: int, context: Context) -> tuple[Crystals, list[int]]:
        conditions = conditions_of(asked, self.conditions, self.model)
        return draw(self.model, conditions, steps, asked.seeds, context), list(range(len(asked.seeds)))


class StartDrawer:
    """The structure to modify, as it is: what a modifier must beat."""

    name, hash, task, method = START, "", "modification", ""

    def refuses(self, target: Crystals) -> list[str]:
        return [""] * len(target)

    def draw(self, asked: Asked, steps: int, context: Context) -> tuple[Crystals, list[int]]:
        if asked.start is None:
            raise UserError("The baseline start modifies nothing: it needs pairs of structures.")
        return asked.start, list(range(len(asked.start)))


class SubstitutionDrawer:
    """The nearest structure of a dataset's training part with its elements exchanged; the k-th sample is the k-th."""

    def __init__(self, name: str, conditions: Sequence[str]) -> None:
        dataset = get_dataset(name.removeprefix(SUBSTITUTION))
        data = load_tensors(dataset)
        try:
            self.library: Library = build_library(data.crystals, data.part(TRAIN))
        except ValueError as error:
            raise UserError(f"{dataset.name} has no training part to substitute elements in.") from error
        self.name, self.hash, self.task, self.method = name, dataset.hash, "", dataset.method
        self.conditions = conditions

    def refuses(self, target: Crystals) -> list[str]:
        return [""] * len(target)

    def draw(self, asked: Asked, steps: int, context: Context) -> tuple[Crystals, list[int]]:
        parts, which = [], []
        times = max(asked.sample) + 1
        for i in range(0, len(asked.sample), times):  # samples of a target stand side by side
            numbers = asked.target.numbers[i][asked.target.mask[i]].tolist()
            group = int(asked.target.group[i]) or None if "space-group" in self.conditions else None
            energy = float(asked.target.energy[i]) if "energy" in self.conditions else None
            found = propose(self.library, numbers, group, energy, times)
            parts.append(found.crystals)
            which += list(range(i, i + len(found)))
        return (concatenate(parts) if parts else asked.target[torch.arange(0)]), which


def conditions_of(asked: Asked, names: Sequence[str], model: LoadedModel) -> Conditions:
    """What the model is told of a batch; its atoms stand in the target's order, or in the start's."""
    if asked.start is None:
        conditions = generation_examples(asked.target, model.cell).conditions
    else:
        told = replace(asked.target, frac=asked.start.frac, numbers=asked.start.numbers, lattice=asked.start.lattice)
        conditions = modification_examples(asked.start, told, model.cell).conditions
    given = torch.tensor(["space-group" in names, "energy" in names])
    present = conditions.present & given
    return replace(
        conditions,
        group=conditions.group * present[:, 0],
        energy=conditions.energy * present[:, 1],
        present=present,
    )


def _refusal(numbers: np.ndarray, limit: int, known: set[int] | None) -> str:
    if (numbers > 0).sum() > limit:
        return f"more than {limit} atoms"
    strange = set() if known is None else set(numbers.tolist()) - {0} - known
    return "an element that the model never saw" if strange else ""
