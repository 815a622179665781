"""What a network trains on: states and conditions, made batch by batch from memory-mapped structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.crystals import Crystals
from core.data.encoding import encode
from core.models.state import Conditions, State

_POOL = 16  # batches whose crystals are sorted by size together


@dataclass(frozen=True)
class Examples:
    """M examples: the target state, what is asked (group, energy), and for modification the start."""

    target: State
    conditions: Conditions

    def __len__(self) -> int:
        return len(self.target)

    @property
    def sizes(self) -> Tensor:
        """(M,) sites of each example."""
        return self.target.mask.sum(1)

    def at(self, epoch: int) -> Examples:
        """The same in every epoch."""
        return self

    def to(self, device: torch.device | str) -> Examples:
        return Examples(self.target.to(device), self.conditions.to(device))

    def __getitem__(self, index: Tensor) -> Examples:
        """A batch, without the columns that are padding for all of it."""
        target, conditions = self.target[index], self.conditions[index]
        n = int(target.mask.sum(1).max())
        start = conditions.start
        cut = Conditions(
            conditions.numbers[:, :n],
            conditions.group,
            conditions.energy,
            conditions.present,
            None if start is None else _cut(start, n),
        )
        return Examples(_cut(target, n), cut)


class Source(Protocol):
    """Where batches come from. `at(epoch)` comes first where epochs differ; indices are those of that epoch."""

    @property
    def sizes(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Tensor) -> Examples: ...
    def at(self, epoch: int) -> Source: ...


class Structures(Protocol):
    """M structures of which batches are taken: `core.data.tensors.CrystalView`, or `Crystals` themselves."""

    @property
    def natoms(self) -> Tensor: ...
    def __getitem__(self, index: Tensor) -> Crystals: ...


@dataclass(frozen=True, eq=False)
class GenerationSource:
    """Every structure of `rows` (R,) is a target."""

    structures: Structures
    rows: Tensor

    @property
    def sizes(self) -> Tensor:
        return self.structures.natoms[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Examples:
        return generation_examples(self.structures[self.rows[index.cpu()]])

    def at(self, epoch: int) -> GenerationSource:
        return self


@dataclass(frozen=True, eq=False)
class ModificationSource:
    """Pairs (start, target), drawn anew for every epoch.

    draw: epoch -> (P, 2) rows; align: (start, target) -> start with its atoms in the target's order
    """

    structures: Structures
    draw: Callable[[int], Tensor]
    align: Callable[[Crystals, Crystals], Crystals]
    pairs: Tensor

    @property
    def sizes(self) -> Tensor:
        return self.structures.natoms[self.pairs[:, 1]]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: Tensor) -> Examples:
        start, target = (self.structures[self.pairs[index.cpu(), side]] for side in (0, 1))
        return modification_examples(self.align(start, target), target)

    def at(self, epoch: int) -> ModificationSource:
        return ModificationSource(self.structures, self.draw, self.align, self.draw(epoch))


def generation_examples(crystals: Crystals) -> Examples:
    """Each crystal is a target; its space group and energy are given where they are known."""
    given = torch.stack([crystals.group > 0, torch.isfinite(crystals.energy)], 1)
    energy = crystals.energy.nan_to_num().float()
    return Examples(encode(crystals), Conditions(crystals.numbers, crystals.group, energy, given))


def modification_examples(start: Crystals, target: Crystals) -> Examples:
    """Pairs with their atoms in one order; asked are the target's group and the change of energy (eV/atom)."""
    change = target.energy - start.energy
    given = torch.stack([target.group > 0, torch.isfinite(change)], 1)
    conditions = Conditions(target.numbers, target.group, change.nan_to_num().float(), given, encode(start))
    return Examples(encode(target), conditions)


def batches(sizes: Tensor, batch: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Row numbers of each batch of an epoch: every example once, neighbours in size together, order drawn by seed."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(len(sizes), generator=generator)
    pieces = []
    for pool in order.split(_POOL * batch):
        pieces += list(pool[sizes[pool].argsort(stable=True)].split(batch))
    for i in torch.randperm(len(pieces), generator=generator).tolist():
        yield pieces[i]


def _cut(state: State, n: int) -> State:
    return State(state.frac[:, :n], state.lattice, state.mask[:, :n])
