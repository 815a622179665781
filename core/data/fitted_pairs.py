"""Pairs of a dataset in common cells (`core.data.common_cells`), each fitted once, as batches for training."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.crystals import Crystals
from core.data.common_cells import Cell, Fit, common_size, fit_to, fitted, in_basis, start_matrix
from core.processes import end_with_parent

_KEPT = 200_000  # pairs that a process remembers: some kilobytes each
_PIECE = 500  # pairs fitted at once


class Structures(Protocol):
    """M structures of which batches are taken."""

    @property
    def natoms(self) -> Tensor: ...
    def __getitem__(self, index: Tensor) -> Crystals: ...


@dataclass(frozen=True, eq=False)
class Fits:
    """P pairs as fitted, small enough for a file.

    rows: (P, 2) int64, start and target; starts, targets: (P, 3, 3) int16 matrices to their cells; shifts: (P, 3)
    float32 of the target; orders: int16, for each pair one after another which of the target's sites stands at each of
    the start's
    """

    rows: Tensor
    starts: Tensor
    targets: Tensor
    shifts: Tensor
    orders: Tensor

    def __len__(self) -> int:
        return len(self.rows)


class PairCells:
    """start and target of pairs beside one another; what was fitted is remembered."""

    def __init__(self, structures: Structures, fits: Fits | None = None) -> None:
        self.structures = structures
        self._cells: dict[tuple[int, int], tuple[Cell, Cell]] = {}
        self._fits = fits
        self._place: dict[tuple[int, int], int] = {}
        self._ends = np.zeros(1, dtype=np.int64)
        if fits is not None and len(fits):
            self._place = {(a, b): i for i, (a, b) in enumerate(fits.rows.tolist())}
            self._ends = np.concatenate([[0], np.cumsum(self.sizes(fits.rows).numpy())])

    def sizes(self, pairs: Tensor) -> Tensor:
        """(P,) sites of each pair's cells."""
        start, target = (self.structures.natoms[pairs[:, side]].numpy() for side in (0, 1))
        return torch.from_numpy(common_size(start, target))

    def __call__(self, pairs: Tensor) -> tuple[Crystals, Crystals]:
        """(P, 2) rows -> starts and targets, float32, padded alike, with groups and energies as they are."""
        named = [(a, b) for a, b in pairs.tolist()]
        missing = [i for i, pair in enumerate(named) if pair not in self._cells]
        found = dict(self._made(pairs[missing])) if missing else {}
        if len(self._cells) + len(found) <= _KEPT:
            self._cells |= found
        cells = [self._cells.get(pair) or found[pair] for pair in named]
        first, second = (_batch([pair[side] for pair in cells]) for side in (0, 1))
        known = [self.structures[pairs[:, side]] for side in (0, 1)]
        return (
            Crystals(*first, known[0].group, known[0].energy),
            Crystals(*second, known[1].group, known[1].energy),
        )

    def _made(self, pairs: Tensor) -> list[tuple[tuple[int, int], tuple[Cell, Cell]]]:
        starts, targets = (cells_of(self.structures[pairs[:, side]]) for side in (0, 1))
        made = []
        for (a, b), start, target in zip(pairs.tolist(), starts, targets, strict=True):
            matrix, fit = self._known(a, b) or fit_pair(start, target)
            made.append(((a, b), (_small(in_basis(start, matrix)), _small(fitted(target, fit)))))
        return made

    def _known(self, start: int, target: int) -> tuple[np.ndarray, Fit] | None:
        """What the dataset's file says of a pair."""
        at = self._place.get((start, target))
        if at is None or self._fits is None:
            return None
        f, order = self._fits, self._fits.orders[int(self._ends[at]) : int(self._ends[at + 1])]
        fit = Fit(f.targets[at].numpy().astype(np.int64), f.shifts[at].double().numpy(), order.long().numpy())
        return f.starts[at].numpy().astype(np.int64), fit


def fit_pair(start: Cell, target: Cell) -> tuple[np.ndarray, Fit]:
    """The matrix to the start's cell and how the target comes to it, in the smallest cells of one content."""
    size = int(common_size(np.array(len(start.numbers)), np.array(len(target.numbers))))
    matrix = start_matrix(start, size // len(start.numbers))
    return matrix, fit_to(in_basis(start, matrix), target)


def fit_pairs(structures: Structures, pairs: Tensor, processes: int = 1) -> Fits:
    """Fit pairs (P, 2) ahead, for a file: some milliseconds each.

    With more than one process a script that uses it needs `if __name__ == "__main__"`.
    """
    parts = [tuple(structures[part[:, side]] for side in (0, 1)) for part in pairs.split(_PIECE)]
    if processes > 1 and len(parts) > 1:
        with ProcessPoolExecutor(
            processes, get_context("spawn"), _begin
        ) as pool:  # a fork would copy locks and threads
            fitted_parts = list(pool.map(_fit_part, *zip(*parts, strict=True)))
    else:
        fitted_parts = [_fit_part(*part) for part in parts]
    found = [pair for part in fitted_parts for pair in part]
    orders = np.concatenate([fit.order for _, fit in found]) if found else np.zeros(0)
    return Fits(
        pairs.long(),
        torch.from_numpy(np.array([m for m, _ in found], dtype=np.int16).reshape(-1, 3, 3)),
        torch.from_numpy(np.array([fit.matrix for _, fit in found], dtype=np.int16).reshape(-1, 3, 3)),
        torch.from_numpy(np.array([fit.shift for _, fit in found], dtype=np.float32).reshape(-1, 3)),
        torch.from_numpy(orders.astype(np.int16)),
    )


def _begin() -> None:
    end_with_parent()
    torch.set_num_threads(1)


def _fit_part(starts: Crystals, targets: Crystals) -> list[tuple[np.ndarray, Fit]]:
    return [fit_pair(start, target) for start, target in zip(cells_of(starts), cells_of(targets), strict=True)]


def cells_of(crystals: Crystals) -> list[Cell]:
    """Each crystal as float64 arrays."""
    lattice, frac = crystals.lattice.double().numpy(), crystals.frac.double().numpy()
    numbers = crystals.numbers.numpy()
    return [Cell(lattice[i], frac[i, :n].copy(), numbers[i, :n].copy()) for i, n in enumerate(crystals.natoms.tolist())]


def starts_of(crystals: Crystals, times: Sequence[int]) -> Crystals:
    """Crystals as a modifier starts from them: reduced, each `times` as large (`common_cells.start_matrix`)."""
    cells = [in_basis(c, start_matrix(c, n)) for c, n in zip(cells_of(crystals), times, strict=True)]
    frac, lattice, numbers = _batch(cells)
    kind = crystals.frac.dtype
    return Crystals(frac.to(kind), lattice.to(kind), numbers, crystals.group, crystals.energy)


def _small(cell: Cell) -> Cell:
    """In single precision, with coordinates still below 1."""
    frac = cell.frac.astype(np.float32)
    frac[frac >= 1] = 0
    return Cell(cell.lattice.astype(np.float32), frac, cell.numbers)


def _batch(cells: Sequence[Cell]) -> tuple[Tensor, Tensor, Tensor]:
    """frac, lattice, numbers of a padded batch."""
    width = max((len(c.numbers) for c in cells), default=0)
    kind = cells[0].frac.dtype if cells else np.float32
    frac, numbers = np.zeros((len(cells), width, 3), dtype=kind), np.zeros((len(cells), width), dtype=np.int64)
    lattice = np.zeros((len(cells), 3, 3), dtype=kind)
    for i, cell in enumerate(cells):
        n = len(cell.numbers)
        frac[i, :n], numbers[i, :n], lattice[i] = cell.frac, cell.numbers, cell.lattice
    return torch.from_numpy(frac), torch.from_numpy(lattice), torch.from_numpy(numbers)
