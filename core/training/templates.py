"""Training to start from templates: known structures with a target's elements in them, which bring its topology.

One network learns both: every other batch begins at noise, the rest at templates. The starts are made beforehand
(`core.templates.starts`), because that takes what a bare training machine lacks, and lie in one tensor file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.crystals import Crystals
from core.data.encoding import encode
from core.models.checkpoint import read_tensor_file
from core.training.data import Examples, GenerationSource, generation_examples


@dataclass(frozen=True, eq=False)
class TemplateStarts:
    """K templates, each with its target brought to its order of atoms and its origin.

    row: (K,) int64 of the target in the dataset, rising; natoms: (K,); start, target: their cells (K, 3, 3) in Å and
    sites, one crystal's after the other's: (S, 3) fractional coordinates; numbers: (S,) in the order of both
    """

    row: Tensor
    natoms: Tensor
    numbers: Tensor
    start_frac: Tensor
    start_lattice: Tensor
    target_frac: Tensor
    target_lattice: Tensor

    @classmethod
    def read(cls, path: Path) -> TemplateStarts:
        """Raises CheckpointError where the file is missing, damaged or another one."""
        tensors, _ = read_tensor_file(path)
        return cls(**{name: tensors[name] for name in cls.__dataclass_fields__})

    def tensors(self) -> Mapping[str, Tensor]:
        """As `core.models.checkpoint.write_tensor_file` takes them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __len__(self) -> int:
        return len(self.row)

    def crystals(self, index: Tensor) -> tuple[Crystals, Crystals]:
        """(starts, targets) of these, padded; groups and energies are unknown."""
        natoms = self.natoms[index]
        ends = self.natoms.cumsum(0)
        width = int(natoms.max()) if len(index) else 0
        place = torch.arange(width)
        mask = place < natoms[:, None]
        sites = torch.where(mask, (ends[index] - natoms)[:, None] + place, 0)
        numbers = torch.where(mask, self.numbers[sites].long(), 0)
        unknown = torch.zeros(len(index), dtype=torch.int64)
        nan = torch.full((len(index),), torch.nan)
        start, target = (f[sites] * mask[:, :, None] for f in (self.start_frac, self.target_frac))
        return (
            Crystals(start, self.start_lattice[index], numbers, unknown, nan),
            Crystals(target, self.target_lattice[index], numbers, unknown, nan),
        )


@dataclass(frozen=True, eq=False)
class TemplateSource:
    """Structures as targets; every other batch starts from a template of each, where there is one.

    source: the same structures from noise; chosen: (R,) the template of each in this epoch, -1 for none; `at` draws it
    """

    source: GenerationSource
    starts: TemplateStarts
    seed: int
    chosen: Tensor

    @classmethod
    def of(cls, source: GenerationSource, starts: TemplateStarts, seed: int) -> TemplateSource:
        """Ready for the first epoch."""
        return cls(source, starts, seed, torch.full((len(source),), -1, dtype=torch.int64)).at(0)

    @property
    def sizes(self) -> Tensor:
        return self.source.sizes

    def __len__(self) -> int:
        return len(self.source)

    def at(self, epoch: int) -> TemplateSource:
        """Another template of each target, drawn by the seed."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = self.source.rows.numpy()
        row = self.starts.row.numpy()
        first, last = np.searchsorted(row, rows, "left"), np.searchsorted(row, rows, "right")
        drawn = first + (rng.random(len(rows)) * (last - first)).astype(np.int64)
        chosen = torch.from_numpy(np.where(last > first, drawn, -1))
        return TemplateSource(self.source, self.starts, self.seed, chosen)

    def __getitem__(self, index: Tensor) -> Examples:
        """From noise or from templates: the batch's own numbers decide, so that it comes out the same again."""
        index = index.cpu()
        able = index[self.chosen[index] >= 0]
        if int(index.sum()) % 2 or not len(able):
            return self.source[index]
        start, target = self.starts.crystals(self.chosen[able])
        known = self.source.structures[self.source.rows[able]]
        asked = replace(target, group=known.group, energy=known.energy)
        examples = generation_examples(asked, self.source.cell)
        conditions = replace(examples.conditions, start=encode(start, self.source.cell))
        return Examples(examples.target, conditions, examples.natoms)
