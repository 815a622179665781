"""A dataset as training sees it: rows of memory-mapped structures, and the file that says which.

The store's file holds membership, energies and split, and its structures stay in the imports' arrays; the exported file
(`dataset export --tensors`) holds everything, and is all that a training on another machine needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.crystals import Crystals
from core.data.arrays import StructureArrays
from core.data.fitted_pairs import Fits

TRAIN, VALIDATION, NEITHER = 0, 1, 2


@dataclass(frozen=True, eq=False)
class CrystalView:
    """M structures out of several imports; indexing gives `Crystals` with energies.

    parts: the imports' arrays; part: (M,) uint8 which of them; row: (M,) int64 where in it
    natoms: (M,) int64; group: (M,) int64; energy: (M,) float32 eV/atom, NaN where unknown
    """

    parts: Sequence[StructureArrays]
    part: Tensor
    row: Tensor
    natoms: Tensor
    group: Tensor
    energy: Tensor

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Tensor | Sequence[int] | np.ndarray) -> Crystals:
        """A padded float32 batch of these rows, in their order (boolean masks too)."""
        index = torch.as_tensor(index)
        if index.dtype == torch.bool:
            index = torch.nonzero(index).flatten()
        width = int(self.natoms[index].max()) if len(index) else 0
        count = len(index)
        frac, numbers = torch.zeros(count, width, 3), torch.zeros(count, width, dtype=torch.int64)
        lattice = torch.zeros(count, 3, 3)
        part, row = self.part[index], self.row[index].numpy()
        for k in torch.unique(part).tolist():
            chosen = torch.nonzero(part == k).flatten()
            found = self.parts[k].crystals(row[chosen.numpy()])
            n = found.numbers.shape[1]
            frac[chosen, :n], numbers[chosen, :n], lattice[chosen] = found.frac, found.numbers, found.lattice
        return Crystals(frac, lattice, numbers, self.group[index], self.energy[index])


@dataclass(frozen=True, eq=False)
class TensorData:
    """A dataset as training sees it.

    crystals: M structures; energy in eV/atom of `method`
    ids: (M,) int64 of the store; formula: (M,) int64 index into `formulas`
    split: (M,) int8, TRAIN, VALIDATION or NEITHER
    recipe: how it was made, as the store keeps it
    source: (M,) int64, whose energy each has where the recipe mixes methods; None where all are of one
    fits: pairs for modification that were fitted ahead
    """

    crystals: CrystalView
    ids: Tensor
    formula: Tensor
    split: Tensor
    formulas: list[str]
    name: str
    method: str
    hash: str
    recipe: dict[str, Any] = field(default_factory=dict)
    source: Tensor | None = None
    fits: Fits | None = None

    def __len__(self) -> int:
        return len(self.crystals)

    def part(self, split: int) -> Tensor:
        """Row numbers of a part, in order."""
        return torch.nonzero(self.split == split).flatten()

    def up_to(self, sites: int | None) -> TensorData:
        """The same, with structures of more sites in neither part; None keeps all."""
        if sites is None:
            return self
        return replace(self, split=torch.where(self.crystals.natoms <= sites, self.split, NEITHER))


def write_membership(path: Path, data: TensorData) -> None:
    """Which structures of which arrays, with their energies and split. The file, or nothing at all."""
    _write(path, _columns(data), data)


def write_tensors(path: Path, data: TensorData, extra: dict[str, Tensor] | None = None) -> None:
    """Everything in one file: the columns, the structures, fitted pairs and `extra` tensors (features, operations)."""
    frac, numbers, lattice = [], [], []
    for part in torch.arange(len(data)).split(50_000):
        crystals = data.crystals[part]
        frac.append(crystals.frac[crystals.mask])
        numbers.append(crystals.numbers[crystals.mask].to(torch.uint8))
        lattice.append(crystals.lattice)
    tensors = _columns(data) | {"frac": torch.cat(frac), "numbers": torch.cat(numbers), "lattice": torch.cat(lattice)}
    tensors["row"] = torch.arange(len(data))
    tensors["part"] = torch.zeros(len(data), dtype=torch.uint8)
    fits = {} if data.fits is None else {f"pairs_{f.name}": getattr(data.fits, f.name) for f in fields(Fits)}
    _write(path, tensors | fits | (extra or {}), data)


def read_tensors(path: Path, parts: Sequence[StructureArrays] = ()) -> TensorData:
    """Open a file memory-mapped; a membership file needs the arrays it names.

    Raises ValueError where it is missing, damaged or does not fit its arrays.
    """
    try:
        with safe_open(str(path), "pt") as file:
            named = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        if "frac" in named:
            parts = [_arrays(named)]
        sizes = torch.tensor([len(p) for p in parts])
        if len(named["row"]) and bool((named["row"] >= sizes[named["part"].long()]).any()):
            raise ValueError("it names structures that its imports do not hold")
        crystals = CrystalView(
            list(parts),
            named["part"],
            named["row"],
            named["natoms"].long(),
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
            json.loads(metadata["recipe"]),
            named["source"].long() if "source" in named else _sources(parts, crystals, json.loads(metadata["recipe"])),
            Fits(*(named[f"pairs_{f.name}"] for f in fields(Fits))) if "pairs_rows" in named else None,
        )
    except FileNotFoundError as error:
        raise ValueError(f"The tensor file {path.name} of this dataset is gone: build the dataset again.") from error
    except Exception as error:  # safetensors, JSON and shapes each have their own
        raise ValueError(f"The tensor file {path.name} of this dataset is damaged: build the dataset again.") from error


def _sources(parts: Sequence[StructureArrays], crystals: CrystalView, recipe: dict[str, Any]) -> Tensor | None:
    """(M,) the first of the recipe's methods that each structure has an energy by."""
    methods = recipe.get("methods", ())
    if len(methods) < 2:
        return None
    found = torch.zeros(len(crystals), dtype=torch.int64)
    row = crystals.row.numpy()
    for k, arrays in enumerate(parts):
        here = np.flatnonzero(crystals.part.numpy() == k)
        for i in reversed(range(len(methods))):
            if methods[i] in arrays.energies:
                found[here[np.isfinite(arrays.energies[methods[i]][row[here]])]] = i
    return found


def _columns(data: TensorData) -> dict[str, Tensor]:
    mixed = {} if data.source is None else {"source": data.source.to(torch.uint8)}
    return mixed | {
        "part": data.crystals.part.to(torch.uint8),
        "row": data.crystals.row.long(),
        "natoms": data.crystals.natoms.to(torch.int16),
        "group": data.crystals.group.to(torch.int16),
        "energy": data.crystals.energy.float(),
        "ids": data.ids.long(),
        "formula": data.formula.to(torch.int32),
        "split": data.split.to(torch.int8),
    }


def _write(path: Path, tensors: dict[str, Tensor], data: TensorData) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "formulas": json.dumps(data.formulas),
        "name": data.name,
        "method": data.method,
        "hash": data.hash,
        "recipe": json.dumps(data.recipe),
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file({k: t.contiguous() for k, t in tensors.items()}, str(partial), metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _arrays(named: dict[str, Tensor]) -> StructureArrays:
    """The structures of an exported file in the form of an import's."""
    empty = np.zeros(0)
    return StructureArrays(
        frac=named["frac"].numpy(),
        numbers=named["numbers"].numpy(),
        ends=np.cumsum(named["natoms"].numpy().astype(np.int64)),
        lattice=named["lattice"].numpy(),
        group=named["group"].numpy(),
        formula=named["formula"].numpy(),
        ids=named["ids"].numpy(),
        volume=empty,
        closest=empty,
        split=empty,
        energies={},
        formulas=[],
    )
