"""What makes crystals: a trained network, templates of a dataset, or what is told from them by the same questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from core.crystals import Crystals
from core.models.state import Conditions, State
from core.workflows.context import Context


@dataclass(frozen=True)
class About:
    """What is known of a method.

    name: as a user gives it; hash: of what it is made of; task: "generation", "modification", "" for both
    energy_method: the scale of the energies it is asked for; dataset, dataset_hash: what it learned from
    seen: of that (`core.workflows.seen`); max_sites: atoms that a cell may hold, None for any number
    steps: of its sampler as usual; samplers: ways of drawing, its own first; fixed: it answers always the same
    """

    name: str
    hash: str = ""
    task: str = ""
    energy_method: str = ""
    dataset: str = ""
    dataset_hash: str = ""
    seen: Mapping[str, Any] = field(default_factory=dict)
    max_sites: int | None = None
    steps: int = 1
    samplers: tuple[str, ...] = ()
    fixed: bool = False


@dataclass(frozen=True)
class Asked:
    """A batch of B crystals that are asked for; what is not told is not here.

    numbers: (B, N) int64 atomic number of every site, 0 at padding; group: (B,) int64, 0 where none in particular
    energy: (B,) float64 formation energy, from a start the change of it, eV/atom; NaN where none in particular
    start: the structures to modify, their energies by the method's energies where known; None for generation
    sample: (B,) the number of each sample of its conditions, from 0; seeds: (B,) one for each
    """

    numbers: torch.Tensor
    group: torch.Tensor
    energy: torch.Tensor
    start: Crystals | None
    sample: tuple[int, ...]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.sample)

    def __getitem__(self, index: torch.Tensor) -> Asked:
        chosen = index.tolist()
        return Asked(
            self.numbers[index],
            self.group[index],
            self.energy[index],
            None if self.start is None else self.start[index],
            tuple(self.sample[i] for i in chosen),
            tuple(self.seeds[i] for i in chosen),
        )

    def seeded(self, sample: Sequence[int], seeds: Sequence[int]) -> Asked:
        """The same with other numbers of samples, and seeds."""
        return replace(self, sample=tuple(sample), seeds=tuple(seeds))

    def conditions(self, start: State | None = None) -> Conditions:
        """For a network; its atoms stand in the order of `numbers`."""
        present = torch.stack([self.group > 0, torch.isfinite(self.energy)], 1)
        return Conditions(self.numbers, self.group, self.energy.nan_to_num().float(), present, start)


@dataclass(frozen=True)
class Origin:
    """The known structure that a crystal was made of.

    formula: cell content; structure: its number in the store, None for the structure that is modified
    confidence: in [0, 1], of what was made of it; how: that was
    """

    formula: str
    structure: int | None
    confidence: float
    how: str = "with its elements exchanged"

    def __str__(self) -> str:
        what = "the start itself" if self.structure is None else f"structure {self.structure}"
        confidence = f"{self.confidence:.2f}" if self.confidence >= 0.005 else "under 0.01"
        return f"{what} ({self.formula}) {self.how}, confidence {confidence}"


@dataclass(frozen=True)
class Drawn:
    """K crystals. which: the place in the batch of what each answers; origins: of each, None where there is none."""

    crystals: Crystals
    which: list[int]
    origins: list[Origin | None]

    def __len__(self) -> int:
        return len(self.which)


class Method(Protocol):
    """Anything that answers: beside trained networks in every list."""

    @property
    def about(self) -> About: ...

    def refuses(self, asked: Asked) -> list[str]:
        """For each of a batch why it cannot be drawn, "" where it can."""

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        """One crystal for each of a batch, or none where it has no more. Raises Cancelled and UserError."""

    def check(self, formulas: Iterable[str], groups: Sequence[int] = (), starts: Sequence[Crystals] = ()) -> None:
        """Raises UserError where it cannot draw these cell contents, in these space groups where some are asked for.

        starts: the structures to modify (batches of one) in each of these contents, none for generation
        """

    def start_energy(self, start: Crystals) -> float | None:
        """Formation energy of a structure to modify (a batch of one) by `about.energy_method`, eV/atom.

        None where it is not known, and where the method does without.
        """

    def unfamiliar(self, wanted: Wanted) -> list[str]:
        """Sentences on what is outside of what it knows; empty where nothing is."""

    def seconds(self, sizes: Sequence[int], steps: int, device: str = "cpu") -> float:
        """About how long it takes here to draw crystals of these numbers of atoms."""


@dataclass(frozen=True)
class Wanted:
    """A run as a user thinks of it.

    formulas: cell contents; groups: space groups; energies: eV/atom, of so many `compositions` together, as many for
    each; count: candidates of each combination; starts: the structures to modify, in each of the contents
    """

    formulas: tuple[str, ...]
    groups: tuple[int, ...] = ()
    energies: tuple[float, ...] = ()
    compositions: int = 1
    count: int = 1
    starts: tuple[Crystals, ...] = ()


def asked_of(
    numbers: Sequence[Sequence[int]],
    groups: Sequence[int | None],
    energies: Sequence[float | None],
    sample: Sequence[int],
    seeds: Sequence[int],
    start: Crystals | None = None,
) -> Asked:
    """From lists: atomic numbers of each crystal, space group or None, eV/atom or None; start: one for each."""
    width = max(len(n) for n in numbers)
    padded = torch.tensor([list(n) + [0] * (width - len(n)) for n in numbers])
    energy = torch.tensor([torch.nan if e is None else e for e in energies], dtype=torch.float64)
    return Asked(padded, torch.tensor([g or 0 for g in groups]), energy, start, tuple(sample), tuple(seeds))
