"""What a network sees, moves and is told: the state, the conditions and the network's signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class State:
    """B crystals on their way between noise and data; values are unconstrained.

    frac: (B, N, 3) fractional coordinates, any real number
    lattice: (B, 3, 3) the cell in the coordinates of the model's encoding (`core.data.encoding`)
    mask: (B, N) bool, True at sites
    """

    frac: Tensor
    lattice: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> State:
        return State(self.frac.to(device, dtype), self.lattice.to(device, dtype), self.mask.to(device))

    def __getitem__(self, index: slice | Tensor) -> State:
        return State(self.frac[index], self.lattice[index], self.mask[index])


@dataclass(frozen=True)
class Conditions:
    """What is asked of each of B crystals.

    numbers: (B, N) int64 atomic number per site, 0 at padding: the composition, always given
    group: (B,) int64 space group 1-230, 0 where not asked
    energy: (B,) formation energy (generation) or energy change (modification), eV/atom
    present: (B, 2) bool: is the space group, is the energy given? Values not given are ignored.
    start: the structure to modify, None for generation
    """

    numbers: Tensor
    group: Tensor
    energy: Tensor
    present: Tensor
    start: State | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def mask(self) -> Tensor:
        """(B, N) bool, True at sites."""
        return self.numbers > 0

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditions:
        return Conditions(
            self.numbers.to(device),
            self.group.to(device),
            self.energy.to(device, dtype),
            self.present.to(device),
            None if self.start is None else self.start.to(device, dtype),
        )

    def __getitem__(self, index: slice | Tensor) -> Conditions:
        moved = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "start"}
        return replace(self, **moved, start=None if self.start is None else self.start[index])


class Network(Protocol):
    """Any network of this project: `network(state, t, conditions)`, t (B,) -> a State of the same shapes."""

    def __call__(self, state: State, t: Tensor, conditions: Conditions) -> State: ...


def conditions_for(
    numbers: Sequence[Sequence[int]], groups: Sequence[int | None], energies: Sequence[float | None]
) -> Conditions:
    """Conditions from lists: atomic numbers per crystal, space group or None, eV/atom or None."""
    width = max(len(n) for n in numbers)
    padded = torch.tensor([list(n) + [0] * (width - len(n)) for n in numbers])
    return Conditions(
        padded,
        torch.tensor([g or 0 for g in groups]),
        torch.tensor([0.0 if e is None else e for e in energies]),
        torch.tensor([[g is not None, e is not None] for g, e in zip(groups, energies, strict=True)]),
    )
