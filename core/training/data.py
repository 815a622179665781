"""What a network trains on: states and conditions, made batch by batch from memory-mapped structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.crystals import Crystals
from core.data.encoding import encode
from core.data.fitted_pairs import PairCells, Structures
from core.models.state import Conditions, State

_POOL = 16  # batches whose crystals are sorted by size together
_PIECE = 4096  # examples made at once for a device


@dataclass(frozen=True)
class Examples:
    """M examples: the target state, what is asked (group, energy), and for modification the start.

    natoms: (M,) sites of each, on the processor, so that cutting a batch waits for no GPU; None: counted when asked for
    """

    target: State
    conditions: Conditions
    natoms: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def sizes(self) -> Tensor:
        """(M,) sites of each example."""
        return self.target.mask.sum(1).cpu() if self.natoms is None else self.natoms

    def at(self, epoch: int) -> Examples:
        """The same in every epoch."""
        return self

    def to(self, device: torch.device | str) -> Examples:
        return Examples(self.target.to(device), self.conditions.to(device), self.sizes)

    def __getitem__(self, index: Tensor) -> Examples:
        """A batch, without the columns that are padding for all of it."""
        natoms = self.sizes[index]
        n = int(natoms.max())
        here = index.to(self.target.mask.device)
        target, conditions = self.target[here], self.conditions[here]
        start = conditions.start
        cut = Conditions(
            conditions.numbers[:, :n],
            conditions.group,
            conditions.energy,
            conditions.present,
            None if start is None else _cut(start, n),
        )
        return Examples(_cut(target, n), cut, natoms)


class Source(Protocol):
    """Where batches come from. `at(epoch)` comes first where epochs differ; indices are those of that epoch."""

    @property
    def sizes(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Tensor) -> Examples: ...
    def at(self, epoch: int) -> Source: ...


@dataclass(frozen=True, eq=False)
class GenerationSource:
    """Every structure of `rows` (R,) is a target."""

    structures: Structures
    rows: Tensor
    cell: str = "log"

    @property
    def sizes(self) -> Tensor:
        return self.structures.natoms[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Examples:
        return generation_examples(self.structures[self.rows[index.cpu()]], self.cell)

    def at(self, epoch: int) -> GenerationSource:
        return self


@dataclass(frozen=True, eq=False)
class ModificationSource:
    """Pairs (start, target), drawn anew for every epoch.

    draw: epoch -> (P, 2) rows; cells: start and target of such rows in common cells, the target fitted to the start
    """

    cells: PairCells
    draw: Callable[[int], Tensor]
    pairs: Tensor
    cell: str = "log"

    @property
    def sizes(self) -> Tensor:
        return self.cells.sizes(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: Tensor) -> Examples:
        start, target = self.cells(self.pairs[index.cpu()])
        return modification_examples(start, target, self.cell)

    def at(self, epoch: int) -> ModificationSource:
        return ModificationSource(self.cells, self.draw, self.draw(epoch), self.cell)


@dataclass(frozen=True, eq=False)
class Resident:
    """All examples of an epoch on the training's device: no batch is made or moved while it trains.

    An epoch that is like the one before is not made again.
    """

    source: Source
    device: torch.device
    examples: Examples

    @classmethod
    def of(cls, source: Source, device: torch.device) -> Resident:
        """Made in pieces on the processor, then moved."""
        parts = [source[index] for index in torch.arange(len(source)).split(_PIECE)]
        return cls(source, device, join_examples(parts).to(device))

    @property
    def sizes(self) -> Tensor:
        return self.examples.sizes

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Tensor) -> Examples:
        return self.examples[index]

    def at(self, epoch: int) -> Resident:
        following = self.source.at(epoch)
        return self if following is self.source else Resident.of(following, self.device)


def join_examples(parts: Sequence[Examples]) -> Examples:
    """Batches one after another, padded to the widest."""
    width = max(p.target.frac.shape[1] for p in parts)
    target = _join_states([p.target for p in parts], width)
    starts = [p.conditions.start for p in parts if p.conditions.start is not None]
    asked = [p.conditions for p in parts]
    conditions = Conditions(
        torch.cat([_wider(c.numbers, width) for c in asked]),
        torch.cat([c.group for c in asked]),
        torch.cat([c.energy for c in asked]),
        torch.cat([c.present for c in asked]),
        _join_states(starts, width) if starts else None,
    )
    return Examples(target, conditions)


def _join_states(states: Sequence[State], width: int) -> State:
    frac = torch.cat([_wider(s.frac, width) for s in states])
    return State(frac, torch.cat([s.lattice for s in states]), torch.cat([_wider(s.mask, width) for s in states]))


def _wider(tensor: Tensor, width: int) -> Tensor:
    """(B, N, …) with zeros up to `width` columns."""
    result = tensor.new_zeros(len(tensor), width, *tensor.shape[2:])
    result[:, : tensor.shape[1]] = tensor
    return result


def generation_examples(crystals: Crystals, cell: str = "log") -> Examples:
    """Each crystal is a target; its space group and energy are given where they are known.

    cell: how lattices are encoded (`core.data.encoding`)
    """
    given = torch.stack([crystals.group > 0, torch.isfinite(crystals.energy)], 1)
    energy = crystals.energy.nan_to_num().float()
    conditions = Conditions(crystals.numbers, crystals.group, energy, given)
    return Examples(encode(crystals, cell), conditions, crystals.natoms)


def modification_examples(start: Crystals, target: Crystals, cell: str = "log") -> Examples:
    """Pairs with their atoms in one order; asked are the target's group and the change of energy (eV/atom)."""
    change = target.energy - start.energy
    given = torch.stack([target.group > 0, torch.isfinite(change)], 1)
    conditions = Conditions(target.numbers, target.group, change.nan_to_num().float(), given, encode(start, cell))
    return Examples(encode(target, cell), conditions, target.natoms)


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
