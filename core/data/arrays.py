"""The structures of an import as array files: ragged, memory-mapped, appended while the import runs.

One folder per import. Datasets are rows of such folders; nothing of it is copied for them or for a training process.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from core.crystals import Crystals

_FIXED_POINT = 2.0**32  # fractional coordinates as the store keeps them
_META = "arrays.json"
_FORMAT: dict[str, tuple[str, tuple[int, ...]]] = {
    "frac": ("<u4", (3,)),
    "numbers": ("u1", ()),
    "ends": ("<i8", ()),
    "lattice": ("<f4", (3, 3)),
    "group": ("u1", ()),
    "formula": ("<i4", ()),
    "ids": ("<i8", ()),
    "volume": ("<f4", ()),
    "closest": ("<f4", ()),
    "split": ("u1", ()),
}
SPLITS = {"": 0, "train": 1, "val": 2, "validation": 2, "test": 2}  # what a row's `split` says, as `split` keeps it


class Row(Protocol):
    """What an import writes of a structure: `core.data.readers.records.Record` is one."""

    @property
    def formula(self) -> str: ...
    @property
    def natoms(self) -> int: ...
    @property
    def space_group(self) -> int: ...
    @property
    def cell(self) -> bytes: ...
    @property
    def energies(self) -> dict[str, tuple[float | None, float | None]]: ...
    @property
    def volume(self) -> float: ...
    @property
    def closest(self) -> float: ...
    @property
    def split(self) -> str: ...


class ArrayWriter:
    """Appends structures to a folder; nothing can be read from it before `finish`."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self.structures = self._sites = 0
        self._formulas: dict[str, int] = {}
        self._methods: dict[str, int] = {}
        self._files = {name: (folder / name).open("wb") for name in _FORMAT}

    def append(self, rows: Sequence[Row], ids: Sequence[int]) -> None:
        """Structures with their ids in the store, in the store's order."""
        if not rows:
            return
        sizes = np.array([r.natoms for r in rows])
        lattice, numbers, frac = _split_cells([r.cell for r in rows], sizes)
        formula = [self._formulas.setdefault(r.formula, len(self._formulas)) for r in rows]
        columns = {
            "frac": frac,
            "numbers": numbers,
            "ends": self._sites + np.cumsum(sizes),
            "lattice": lattice,
            "group": [r.space_group for r in rows],
            "formula": formula,
            "ids": ids,
            "volume": [r.volume for r in rows],
            "closest": [r.closest for r in rows],
            "split": [SPLITS[r.split] for r in rows],
        }
        for name, values in columns.items():
            self._files[name].write(np.asarray(values).astype(_FORMAT[name][0]).tobytes())
        self._append_energies(rows)
        self.structures += len(rows)
        self._sites += int(sizes.sum())

    def finish(self) -> None:
        """Make the folder readable."""
        self.close()
        meta = {
            "structures": self.structures,
            "sites": self._sites,
            "formulas": list(self._formulas),
            "methods": list(self._methods),
        }
        partial = self.folder / f"{_META}.partial"
        partial.write_text(json.dumps(meta))
        os.replace(partial, self.folder / _META)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _append_energies(self, rows: Sequence[Row]) -> None:
        """A method met late has NaN for the rows before."""
        for method in dict.fromkeys(m for r in rows for m in r.energies if m not in self._methods):  # as they come
            name = f"energy.{len(self._methods)}"
            self._methods[method] = len(self._methods)
            self._files[name] = (self.folder / name).open("wb")
            np.full(self.structures, np.nan, dtype="<f4").tofile(self._files[name])
        for method, k in self._methods.items():
            values = [formation_of(r.energies.get(method)) for r in rows]
            self._files[f"energy.{k}"].write(np.array(values, dtype="<f4").tobytes())


@dataclass(frozen=True, eq=False)
class StructureArrays:
    """M structures with S sites together, memory-mapped and read-only.

    frac: (S, 3) uint32, 2³² times the fractional coordinate, or float32 as it is; numbers: (S,) uint8
    ends: (M,) int64, where the sites of each structure end; lattice: (M, 3, 3) float32 Å; group: (M,) uint8
    formula: (M,) int32 index into `formulas`;
    ids: (M,) int64 of the store; volume: (M,) float32 Å³ per atom; closest: (M,) float32 shortest distance in Å;
    split: (M,) uint8 as in `SPLITS`
    energies: {method: (M,) float32 formation energy in eV/atom, NaN where unknown}
    """

    frac: np.ndarray
    numbers: np.ndarray
    ends: np.ndarray
    lattice: np.ndarray
    group: np.ndarray
    formula: np.ndarray
    ids: np.ndarray
    volume: np.ndarray
    closest: np.ndarray
    split: np.ndarray
    energies: dict[str, np.ndarray]
    formulas: list[str]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def natoms(self) -> np.ndarray:
        """(M,) int64 sites of each structure."""
        return np.diff(self.ends, prepend=0)

    def crystals(self, rows: np.ndarray) -> Crystals:
        """A padded float32 batch of these rows, without energies."""
        if not len(rows):
            raise ValueError("no rows to make crystals of")
        ends = np.asarray(self.ends[rows])
        starts = np.where(rows > 0, self.ends[rows - 1], 0)
        sizes = ends - starts
        mask = np.arange(int(sizes.max())) < sizes[:, None]
        sites = np.where(mask, starts[:, None] + np.arange(mask.shape[1]), 0)
        frac = self.frac[sites]
        if frac.dtype != np.float32:
            frac = (frac / _FIXED_POINT).astype(np.float32)
        frac[frac >= 1] = 0  # 1 − 2⁻³² rounds up to 1 in float32
        frac[~mask] = 0
        numbers = np.where(mask, self.numbers[sites], 0).astype(np.int64)
        return Crystals(
            torch.from_numpy(frac),
            torch.from_numpy(np.array(self.lattice[rows])),
            torch.from_numpy(numbers),
            torch.from_numpy(self.group[rows].astype(np.int64)),
            torch.full((len(rows),), torch.nan),
        )


def open_arrays(folder: Path) -> StructureArrays:
    """Map the files of a folder. Raises ValueError where they are missing or do not fit together."""
    try:
        meta: dict[str, Any] = json.loads((folder / _META).read_text())
        count, sites = int(meta["structures"]), int(meta["sites"])
        columns = {
            name: _map(folder / name, dtype, sites if name in ("frac", "numbers") else count, shape)
            for name, (dtype, shape) in _FORMAT.items()
        }
        energies = {m: _map(folder / f"energy.{k}", "<f4", count, ()) for k, m in enumerate(meta["methods"])}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the arrays in {folder.name} are missing or damaged") from error
    return StructureArrays(**columns, energies=energies, formulas=meta["formulas"])


def write_arrays(folder: Path, parts: Iterable[tuple[Sequence[Row], Sequence[int]]]) -> None:
    """All at once, where the rows are at hand: a folder beside, then a rename."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    writer = ArrayWriter(partial)
    try:
        for rows, ids in parts:
            writer.append(rows, ids)
        writer.finish()
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        writer.close()
        shutil.rmtree(partial, ignore_errors=True)


def formation_of(energy: tuple[float | None, float | None] | None) -> float:
    """The formation energy (eV/atom) of a (total, formation), NaN where there is none."""
    return np.nan if energy is None or energy[1] is None else energy[1]


def _map(path: Path, dtype: str, count: int, shape: tuple[int, ...]) -> np.ndarray:
    if count == 0:
        return np.zeros((0, *shape), dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", shape=(count, *shape))


def _split_cells(cells: Sequence[bytes], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `core.crystals.pack_cells` wrote, side by side: (M, 3, 3) float64, (S,) uint8, (S, 3) uint32."""
    data = np.frombuffer(b"".join(cells), np.uint8)
    starts = np.concatenate([[0], np.cumsum(72 + 13 * sizes)])
    if starts[-1] != len(data):
        raise ValueError("a stored cell is damaged: its length does not fit its number of sites")
    lattice = data[starts[:-1, None] + np.arange(72)].copy().view("<f8").reshape(-1, 3, 3)
    first = np.concatenate([[0], np.cumsum(sizes)])
    site = np.arange(first[-1]) - np.repeat(first[:-1], sizes)  # number of each site within its structure
    base = np.repeat(starts[:-1] + 72, sizes)
    numbers = data[base + site]
    frac = data[(base + np.repeat(sizes, sizes) + 12 * site)[:, None] + np.arange(12)].copy().view("<u4")
    return lattice, numbers, frac.reshape(-1, 3)
