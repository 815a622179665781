"""How far a modified crystal has moved from the one it started from."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from pymatgen.core import Lattice
from pymatgen.util.coord import pbc_shortest_vectors
from scipy.optimize import linear_sum_assignment

from core.crystals import Crystals, to_structures
from core.data.common_cells import fit_to, fitted
from core.data.fitted_pairs import cells_of
from core.evaluation.matching import rms_distance

_ROUNDS = 20
_OTHER = 1e6  # Å²: atoms of two elements are never paired


@dataclass(frozen=True)
class Change:
    """From the start to a candidate, None where the candidate has no finite cell.

    displacement: Å, `displacement`; volume: of the start's, as a share (−0.1: a tenth smaller)
    same: does the paper's matcher find the start again?
    """

    displacement: float | None
    volume: float | None
    same: bool | None


def change(start: Crystals, moved: Crystals, index: int = 0) -> Change:
    """What became of the start (a batch of one) in a crystal of another batch; never raises.

    The crystal may hold the start's content several times, in any cell: the start is laid beside it first.
    """
    one = moved[[index]].trim()
    volume = float(one.volume[0])
    if not (bool(torch.isfinite(one.lattice).all() & torch.isfinite(one.frac).all()) and volume > 1e-6):
        return Change(None, None, None)
    first, second = to_structures(start)[0], to_structures(one)[0]
    same = rms_distance(first, second) is not None
    per_atom = (volume / int(one.natoms[0])) / (float(start.volume[0]) / int(start.natoms[0]))
    return Change(_least(start, one), per_atom - 1, same)


def _least(start: Crystals, moved: Crystals) -> float | None:
    """The displacement from the start as given, or as `beside` has it: the smaller one."""
    found = []
    for seen in (start, beside(start, moved)):
        with suppress(ValueError):
            found.append(displacement(seen, moved))
    return min(found, default=None)


def beside(start: Crystals, moved: Crystals) -> Crystals:
    """The start in the supercell, basis and origin that lie closest to the other, both batches of one.

    Sites stand in the other's order. Where the other does not hold the start's content a whole number of times, the
    start stays as it is.
    """
    (first,), (second,) = cells_of(start), cells_of(moved)
    try:
        cell = fitted(first, fit_to(second, first))
    except (ValueError, np.linalg.LinAlgError):
        return start
    frac, lattice, numbers = (torch.from_numpy(a)[None] for a in (cell.frac, cell.lattice, cell.numbers))
    return Crystals(frac, lattice, numbers, start.group, start.energy.double())


def displacement(start: Crystals, moved: Crystals) -> float:
    """Root mean square displacement of the sites in Å; two batches of one crystal with the same content.

    Sites are compared at their fractional coordinates along a, b, c, in the cell between the two: the one whose metric
    tensor is the mean of both, so that neither how a cell is turned nor a strain of it is a displacement (`volume` says
    the latter). Each site is paired with one of its element, at the nearest image; of the pairings the cheapest is
    taken (Hungarian algorithm), after the common shift that makes it cheapest: first guesses are no shift, and those
    that lay an atom of the rarest element on another. So a renumbered, shifted or turned copy has moved by 0.
    Raises ValueError where the contents differ or a number is not finite.
    """
    a, b = _sites(start), _sites(moved)
    numbers = [batch.numbers[0][batch.mask[0]].numpy() for batch in (start, moved)]
    if len(a) != len(b) or (np.sort(numbers[0]) != np.sort(numbers[1])).any():
        raise ValueError("the two crystals do not hold the same atoms")
    cells = [batch.lattice[0].double().numpy() for batch in (start, moved)]
    if not all(np.isfinite(array).all() for array in (*cells, a, b)):
        raise ValueError("a coordinate or a cell is not finite")
    cell = _between(*cells)
    others = numbers[0][:, None] != numbers[1][None, :]
    anchor = int(others.sum(1).argmax())  # an atom of the rarest element
    shifts = [np.zeros(3), *(a[anchor] - b[j] for j in np.flatnonzero(~others[anchor]))]
    return min(_settle(cell, a, b + shift, others) for shift in shifts)


def _settle(cell: Lattice, a: np.ndarray, b: np.ndarray, others: np.ndarray) -> float:
    """Pair, take away what all pairs have in common, pair again, until nothing changes; Å."""
    best = math.inf
    for _ in range(_ROUNDS):
        vectors, squared = pbc_shortest_vectors(cell, a, b, return_d2=True)
        rows, partners = linear_sum_assignment(np.where(others, _OTHER, squared))
        chosen = vectors[rows, partners]
        shift = chosen.mean(0)
        rms = math.sqrt(float(((chosen - shift) ** 2).sum(1).mean()))
        if rms >= best - 1e-9:
            break
        best = rms
        b = b - cell.get_fractional_coords(shift)
    return best


def _between(first: np.ndarray, second: np.ndarray) -> Lattice:
    """The cell whose metric tensor is the mean of two cells' (3, 3 rows in Å): sides and angles count, turns do not."""
    try:
        return Lattice(np.linalg.cholesky((first @ first.T + second @ second.T) / 2))
    except np.linalg.LinAlgError as error:
        raise ValueError("a cell has no volume") from error


def _sites(crystals: Crystals) -> np.ndarray:
    array: np.ndarray = crystals.frac[0][crystals.mask[0]].double().numpy()
    return array
