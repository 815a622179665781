"""Start and target of a modification in cells of one content, alike in shape, atom beside atom; in numpy alone.

Polymorphs often differ in cell size: of n and m atoms the cells hold lcm(n, m). The start is never fitted to its
target, which nobody has who wants one modified: it is reduced, and where it has to grow it takes its most compact
supercell. The target is fitted to the start: its supercell, basis, origin and order of atoms are those that make the
path short. An energy per atom is the same in every cell of a crystal.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.data.assignment import assign
from core.data.supercells import changed, filled, metric_of, supercells

_SUPERCELLS = 8  # of the target's, the nearest in their edges
_BASES = 32  # of the target, the nearest in shape
_WORK = 60_000  # distances between atoms that are looked at before atoms are paired
_PAIRED = 2  # bases and origins whose atoms are paired
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Cell:
    """lattice: (3, 3) rows in Å; frac: (N, 3); numbers: (N,) atomic numbers."""

    lattice: np.ndarray
    frac: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True, eq=False)
class Fit:
    """How a target comes to a start.

    matrix: (3, 3) int64, the target's cell M L; shift: (3,) in that cell, added; order: (N,) which of the sites of the
    shifted supercell stands beside each of the start's
    strain: of the cell, ‖½ ln G‖ between both metrics (of which volume alone is unavoidable)
    moved: root mean square displacement in units of (V/N)^⅓, V between both cells
    """

    matrix: np.ndarray
    shift: np.ndarray
    order: np.ndarray
    strain: float = math.nan
    moved: float = math.nan


def common_size(start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Sites of the smallest cells of one content, of cells of one formula with so many sites: int64, any shape."""
    return np.lcm(start, target)


def start_matrix(cell: Cell, times: int = 1) -> np.ndarray:
    """(3, 3) int64 to the most compact cell of `times` as much content, reduced: what a modifier starts from."""
    found: np.ndarray = supercells(metric_of(cell.lattice), times)[0]
    return found


def in_basis(cell: Cell, matrix: np.ndarray) -> Cell:
    """The same crystal with the edges M L."""
    times = round(abs(float(np.linalg.det(matrix))))
    return Cell(matrix @ cell.lattice, filled(cell.frac, matrix), np.repeat(cell.numbers, times))


def fitted(target: Cell, fit: Fit) -> Cell:
    """The target beside the start that it was fitted to."""
    moved = in_basis(target, fit.matrix)
    frac = (moved.frac + fit.shift)[fit.order]
    frac -= np.floor(frac)
    frac[frac >= 1] = 0
    return Cell(moved.lattice, frac, moved.numbers[fit.order])


def fit_to(start: Cell, target: Cell, matrices: np.ndarray | None = None) -> Fit:
    """The target's supercell, basis, origin and order that lie closest to the start, which stays as it is.

    Compared by strain² + displacement² (see `Fit`); the start is taken as reduced. The least over the bases nearest in
    shape and over the origins that lay an atom of the rarest element on one of the start's, paired by the minimum-cost
    matching of the few that promise most. matrices: (C, 3, 3) int64 to bases to choose from, None: those nearest in
    shape. Raises ValueError where the contents are no multiple of one another.
    """
    times, rest = divmod(len(start.numbers), len(target.numbers))
    if rest or (np.sort(start.numbers) != np.sort(np.repeat(target.numbers, times))).any():
        raise ValueError("the start does not hold a whole number of the target's cells")
    if matrices is None:
        matrices = _bases(metric_of(start.lattice), metric_of(target.lattice), times)
    choice = _Choice.of(start, target, matrices)
    best: Fit | None = None
    for basis, origin, promised in choice.promising():
        if best is not None and promised >= _cost(best):
            break
        found = choice.settle(basis, origin)
        best = found if best is None or _cost(found) < _cost(best) else best
    assert best is not None
    return best


def _cost(fit: Fit) -> float:
    return fit.strain**2 + fit.moved**2


@lru_cache(maxsize=1)
def _unimodular() -> tuple[np.ndarray, np.ndarray]:
    """(K, 3, 3) int64 of determinant 1 with entries −1, 0, 1, and (K, 81) the products of their entries."""
    entries = np.array(list(itertools.product((-1, 0, 1), repeat=9)), dtype=np.int64).reshape(-1, 3, 3)
    a, b, c = entries[:, 0], entries[:, 1], entries[:, 2]
    found = entries[(np.cross(a, b) * c).sum(1) == 1]
    products = np.einsum("kab,kcd->kabcd", found, found).reshape(len(found), 81)
    return found, products.astype(np.float32)


def _bases(start: np.ndarray, target: np.ndarray, times: int) -> np.ndarray:
    """(C, 3, 3) matrices to the target's cells of `times` as much content that are nearest in shape, nearest first.

    With G, G' the metrics of start and target, the latter scaled to one volume, tr(G⁻¹ G') ≥ 3 is least, and 3, where
    both are alike; to second order it is 3 + 2 ‖ε‖² of the strain between both.
    """
    cells = supercells(target, times)
    metrics = changed(target[None], cells)
    edges = np.log(np.diagonal(metrics, axis1=1, axis2=2)) - np.log(np.diagonal(start))
    near = np.argsort(((edges - edges.mean(1, keepdims=True)) ** 2).sum(1), kind="stable")[:_SUPERCELLS]
    cells, metrics = cells[near], metrics[near]
    unimodular, products = _unimodular()
    scale = np.cbrt(np.linalg.det(start) / np.linalg.det(metrics[0]))
    inverse = np.linalg.inv(start) * scale
    weights = np.einsum("ac,hbd->habcd", inverse, metrics).reshape(len(cells), 81).astype(np.float32)
    apart = weights @ products.T  # (H, K)
    nearest = np.argpartition(apart, min(_BASES, apart.size - 1), axis=None)[:_BASES]
    nearest = nearest[np.argsort(apart.flat[nearest], kind="stable")]
    which, turn = np.unravel_index(nearest, apart.shape)
    found: np.ndarray = unimodular[turn] @ cells[which]
    return found * np.sign(np.rint(np.linalg.det(found))).astype(np.int64)[:, None, None]


@dataclass(frozen=True, eq=False)
class _Choice:
    """C bases of a target beside a start.

    kinds: for each element which sites of the start and of the target's supercells have it; frac: (C, N, 3)
    between: (C, 3, 3) means of both metrics; strain: (C,); size: (C,) Å² of (V/N)^⅔; anchor: (3,); origins: (C, O, 3)
    """

    start: Cell
    matrices: np.ndarray
    kinds: list[tuple[np.ndarray, np.ndarray]]
    frac: np.ndarray
    between: np.ndarray
    strain: np.ndarray
    size: np.ndarray
    anchor: np.ndarray
    origins: np.ndarray

    @classmethod
    def of(cls, start: Cell, target: Cell, matrices: np.ndarray) -> _Choice:
        n, times = len(start.numbers), len(start.numbers) // len(target.numbers)
        species, counts = np.unique(start.numbers, return_counts=True)
        copies = np.repeat(target.numbers, times)
        kinds = [(np.flatnonzero(start.numbers == z), np.flatnonzero(copies == z)) for z in species]
        rarest = int(counts.argmin())
        origins = kinds[rarest][1][::times]  # copies of one site are one origin
        pairs = int((counts**2).sum())
        matrices = matrices[: max(8, _WORK // (pairs * len(origins)))]
        origins = origins[: max(1, _WORK // (pairs * len(matrices)))]
        frac = filled(target.frac, matrices)
        metric = metric_of(start.lattice)
        metrics = changed(metric_of(target.lattice)[None], matrices)
        between = (metric + metrics) / 2
        size = np.cbrt(np.linalg.det(between) / n**2)
        anchor = start.frac[kinds[rarest][0][0]]
        strain = _strain(metric, metrics)
        return cls(start, matrices, kinds, frac, between, strain, size, anchor, frac[:, origins])

    def promising(self) -> list[tuple[int, int, float]]:
        """(basis, origin, a bound that no pairing beats at this origin) of the best few, best first."""
        roots = np.linalg.cholesky(self.between).astype(np.float32)  # (C, 3, 3)
        bound = np.zeros(self.origins.shape[:2])
        for mine, theirs in self.kinds:
            place = self.frac[:, None, theirs] - self.origins[:, :, None] + self.anchor  # (C, O, n, 3)
            apart = (place[:, :, None] - self.start.frac[mine][:, None]).astype(np.float32)  # (C, O, n, n, 3)
            apart -= np.rint(apart)
            squared = np.square(apart @ roots[:, None, None]).sum(-1)
            bound += np.maximum(squared.min(3).sum(2), squared.min(2).sum(2))
        total = self.strain[:, None] ** 2 + bound / (len(self.start.numbers) * self.size[:, None])
        best = np.argsort(total, axis=None, kind="stable")[:_PAIRED]
        return [(int(i // total.shape[1]), int(i % total.shape[1]), float(total.flat[i])) for i in best]

    def settle(self, basis: int, origin: int) -> Fit:
        """Pair, take away what all pairs have in common, pair again, until nothing gets closer."""
        between, size = self.between[basis], float(self.size[basis])
        shift = self.anchor - self.origins[basis, origin]
        order, best = np.zeros(len(self.start.numbers), dtype=np.int64), np.inf
        for _ in range(_ROUNDS):
            pairing, chosen = self._paired(self.frac[basis] + shift, between)
            mean = chosen.mean(0)
            chosen = chosen - mean
            moved = float(np.einsum("ni,ij,nj->", chosen, between, chosen)) / len(chosen) / size
            if moved >= best - 1e-9:
                break
            best, order, shift = moved, pairing, shift - mean
        return Fit(self.matrices[basis], shift, order, float(self.strain[basis]), float(np.sqrt(max(best, 0.0))))

    def _paired(self, frac: np.ndarray, metric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the site beside each of the start's, (N, 3) displacements from the start."""
        order = np.empty(len(frac), dtype=np.int64)
        chosen = np.empty_like(frac)
        for mine, theirs in self.kinds:
            apart = frac[theirs][None] - self.start.frac[mine][:, None]
            apart -= np.rint(apart)
            columns = assign(np.einsum("ijk,kl,ijl->ij", apart, metric, apart))
            order[mine] = theirs[columns]
            chosen[mine] = apart[np.arange(len(mine)), columns]
        return order, chosen


def _strain(start: np.ndarray, metrics: np.ndarray) -> np.ndarray:
    """(C,) ‖½ ln(G⁻½ G' G⁻½)‖ between one metric and others."""
    root = np.linalg.inv(np.linalg.cholesky(start))
    values = np.linalg.eigvalsh(root @ metrics @ root.T)
    found: np.ndarray = np.sqrt((np.log(np.maximum(values, 1e-12)) ** 2).sum(1)) / 2
    return found
