"""The tensor file of a dataset: everything that training reads, in one memory-mapped safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.crystals import Crystals

TRAIN, VALIDATION = 0, 1


@dataclass(frozen=True)
class TensorData:
    """A dataset as training sees it.

    crystals: M structures, float32; energy in eV/atom of `method`
    ids: (M,) int64 of the store; formula: (M,) int32 index into `formulas`; split: (M,) int8, TRAIN or VALIDATION
    """

    crystals: Crystals
    ids: Tensor
    formula: Tensor
    split: Tensor
    formulas: list[str]
    name: str
    method: str
    hash: str

    def __len__(self) -> int:
        return len(self.crystals)

    def part(self, split: int) -> Tensor:
        """Row numbers of a part, in order."""
        return torch.nonzero(self.split == split).flatten()


def write_tensors(path: Path, data: TensorData) -> None:
    """Write the file, or nothing at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "frac": data.crystals.frac.float(),
        "lattice": data.crystals.lattice.float(),
        "numbers": data.crystals.numbers.to(torch.uint8),
        "group": data.crystals.group.to(torch.int16),
        "energy": data.crystals.energy.float(),
        "ids": data.ids.long(),
        "formula": data.formula.to(torch.int32),
        "split": data.split.to(torch.int8),
    }
    metadata = {
        "formulas": json.dumps(data.formulas),
        "name": data.name,
        "method": data.method,
        "hash": data.hash,
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file({k: t.contiguous() for k, t in tensors.items()}, str(partial), metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_tensors(path: Path) -> TensorData:
    """Open the file memory-mapped. Raises ValueError where it is missing or damaged."""
    try:
        with safe_open(str(path), "pt") as file:
            named = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        crystals = Crystals(
            named["frac"],
            named["lattice"],
            named["numbers"].long(),
            named["group"].long(),
            named["energy"],
        )
        return TensorData(
            crystals,
            named["ids"],
            named["formula"].long(),
            named["split"],
            json.loads(metadata["formulas"]),
            metadata["name"],
            metadata["method"],
            metadata["hash"],
        )
    except FileNotFoundError as error:
        raise ValueError(f"The tensor file {path.name} of this dataset is gone: build the dataset again.") from error
    except Exception as error:  # safetensors, JSON and shapes each have their own
        raise ValueError(f"The tensor file {path.name} of this dataset is damaged: build the dataset again.") from error


def split_by_formula(formula: Tensor, share: float, seed: int) -> Tensor:
    """(M,) int8 split: a `share` of the formulas (at least one, if there are two), drawn at random, is validation."""
    count = int(formula.max()) + 1 if len(formula) else 0
    held_out = min(max(1, round(share * count)), count - 1) if share > 0 and count > 1 else 0
    drawn = np.random.default_rng(seed).permutation(count)[:held_out]
    chosen = torch.zeros(max(count, 1), dtype=torch.int8)
    chosen[torch.from_numpy(drawn)] = VALIDATION
    return chosen[formula]
