"""Two reduced cells laid on each other: `StructureMatcher._strict_match` on arrays, least RMS of all mappings.

For cells of one size that are scaled to one volume (scale=True, attempt_supercell=False, primitive_cell=True). Whatever
decides is computed as pymatgen computes it; quick tests before that are a hair wider, so that verdicts are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pymatgen.core import Lattice
from pymatgen.util.coord_cython import is_coord_subset_pbc, pbc_shortest_vectors
from scipy.optimize import linear_sum_assignment

from core.evaluation.lattices import determinants, find_mappings
from core.evaluation.reduction import Reduced

_SLACK = 1 + 1e-9
MINIMA_SLACK = 1.01  # `Reduced.minima` are those of the lattice within 1e-3


@dataclass(frozen=True)
class Tolerances:
    """ltol: of lengths, a share; stol: of sites, in units of (V/N)^⅓; angle_tol in degrees."""

    ltol: float
    stol: float
    angle_tol: float


def cannot_match(first: Reduced, second: Reduced, ltol: float) -> bool:
    """Is it sure, at no cost, that they do not match?

    Their contents differ, or the first lattice has no three independent vectors as short as the second's edges: a basis
    with lengths within `ltol` of those would bound its successive minima.
    """
    if len(first.numbers) != len(second.numbers) or (np.sort(first.numbers) != np.sort(second.numbers)).any():
        return True
    if first.minima is None:
        return False
    edges = np.sort(np.linalg.norm(second.matrix, axis=1)) / second.volume ** (1 / 3)
    return bool((first.minima / first.volume ** (1 / 3) > edges * (1 + ltol) * MINIMA_SLACK).any())


def least_rms(first: Reduced, second: Reduced, tolerances: Tolerances) -> float | None:
    """The least RMS displacement over (V/N)^⅓ of the second laid on the first, or None where nothing fits."""
    if cannot_match(first, second, tolerances.ltol):
        return None
    ratio = (second.volume / first.volume) ** (1 / 6)
    matrix, target = first.matrix * ratio, Lattice(second.matrix / ratio)
    aligned = aligned_cells(matrix, target, tolerances)
    if not len(aligned):
        return None
    moved = np.dot(first.frac, matrix) @ np.linalg.inv(aligned)
    moved -= np.floor(moved)
    mask = np.array(second.numbers[:, None] != first.numbers[None, :], dtype=np.int64)
    anchor = int(np.argmax(mask.sum(-1)))  # a site of the rarest species
    origins = np.flatnonzero(mask[anchor] == 0)
    averages = average_cells(aligned, target, len(first.numbers), tolerances.stol)
    best: float | None = None
    for sites, average in zip(moved, averages, strict=True):
        for origin in sites[origins]:
            value = displacement(sites, second.frac + (origin - second.frac[anchor]), mask, average)
            if value is not None and (best is None or value < best):
                best = value
                if value < 1e-5:
                    return best
    return best if best is not None and best < tolerances.stol else None


def aligned_cells(matrix: np.ndarray, target: Lattice, tolerances: Tolerances) -> np.ndarray:
    """(M, 3, 3): the cells of the lattice `matrix` whose a, b, c, α, β, γ are near the target's."""
    cells, spanned = find_mappings(matrix, target, tolerances.ltol, tolerances.angle_tol)
    return cells[np.abs(np.abs(spanned) - 1) < 0.5]


class Average:
    """The mean of two cells, which distances are measured in. matrix: (3, 3) rows in Å.

    tolerance: (3,) how far sites may be off along its axes; normalization: (N/V)^⅓ in 1/Å. It has what
    `pymatgen.util.coord_cython.pbc_shortest_vectors` asks of a lattice.
    """

    pbc = (True, True, True)

    def __init__(self, matrix: np.ndarray, tolerance: np.ndarray, normalization: float, stol: float, lll: bool) -> None:
        self._matrix, self._lll, self._stol = matrix, lll, stol
        self.tolerance, self.normalization = tolerance, normalization

    @cached_property
    def lll_matrix(self) -> np.ndarray:
        return self._matrix if self._lll else self._lattice.lll_matrix

    @cached_property
    def lll_tolerance(self) -> np.ndarray:
        """(3,) the tolerance along the axes of the LLL-reduced cell."""
        tolerance: np.ndarray = 2 * self._stol / self.normalization / _spacings(self.lll_matrix[None])[0]
        return tolerance

    def get_lll_frac_coords(self, frac: np.ndarray) -> np.ndarray:
        return frac if self._lll else np.dot(frac, self._lll_inverse)

    @cached_property
    def _lattice(self) -> Lattice:
        return Lattice(self._matrix)

    @cached_property
    def _lll_inverse(self) -> np.ndarray:
        inverse: np.ndarray = self._lattice.lll_inverse
        return inverse


def average_cells(aligned: np.ndarray, target: Lattice, sites: int, stol: float) -> list[Average]:
    """The means of a, b, c, α, β, γ of each aligned cell (M, 3, 3) and the target's."""
    lengths = np.linalg.norm(aligned, axis=2)
    a, b, c = (aligned / lengths[:, :, None]).transpose(1, 0, 2)
    cosines = np.stack([(b * c).sum(-1), (c * a).sum(-1), (a * b).sum(-1)], 1)
    angles = np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))
    lengths, angles = (lengths + target.lengths) / 2, np.radians((angles + target.angles) / 2)
    matrices = _from_parameters(lengths, angles)
    volumes = np.abs(determinants(matrices))
    normalization = (sites / volumes) ** (1 / 3)
    tolerance = 2 * stol / normalization[:, None] / _spacings(matrices)
    rows = zip(matrices, tolerance, normalization.tolist(), _lll_reduced(matrices).tolist(), strict=True)
    return [Average(matrix, far, norm, stol, lll) for matrix, far, norm, lll in rows]


def displacement(sites: np.ndarray, others: np.ndarray, mask: np.ndarray, average: Average) -> float | None:
    """The RMS distance (N, 3) to (N, 3) over (V/N)^⅓ in the cheapest pairing that `mask` allows, with the best common
    shift; None where a site has no partner near enough. (`StructureMatcher._cart_dists`)
    """
    if not is_coord_subset_pbc(others, sites, average.tolerance, mask):
        return None
    vectors, squared = pbc_shortest_vectors(average, others, sites, mask, True, average.lll_tolerance)
    rows, partners = linear_sum_assignment(squared)
    chosen = vectors[rows, partners]
    chosen = chosen - chosen.sum(0) / len(chosen)
    return math.sqrt(np.vdot(chosen, chosen) / len(chosen)) * average.normalization


def _from_parameters(lengths: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(M, 3) Å and (M, 3) radians -> (M, 3, 3), as `Lattice.from_parameters` orients them: c along z."""
    a, b, c = lengths.T
    (cos_a, cos_b, cos_g), (sin_a, sin_b, _) = np.cos(angles).T, np.sin(angles).T
    star = np.arccos(np.clip((cos_a * cos_b - cos_g) / (sin_a * sin_b), -1, 1))
    zero = np.zeros_like(a)
    rows = [
        np.stack([a * sin_b, zero, a * cos_b], 1),
        np.stack([-b * sin_a * np.cos(star), b * sin_a * np.sin(star), b * cos_a], 1),
        np.stack([zero, zero, c], 1),
    ]
    return np.stack(rows, 1)


def _spacings(matrices: np.ndarray) -> np.ndarray:
    """(M, 3, 3) -> (M, 3): distance in Å of the planes across each axis."""
    spacings: np.ndarray = 1 / np.linalg.norm(np.linalg.inv(matrices), axis=1)
    return spacings


def _lll_reduced(matrices: np.ndarray) -> np.ndarray:
    """(M,) bool: is it sure that LLL reduction leaves the cell as it is? Ties are left to pymatgen."""
    a, b, c = matrices[:, 0], matrices[:, 1], matrices[:, 2]
    aa, ab, ac = (a * a).sum(-1), (a * b).sum(-1), (a * c).sum(-1)
    u_ba, u_ca = ab / aa, ac / aa
    bs = b - u_ba[:, None] * a
    bb = (bs * bs).sum(-1)
    u_cb = (c * bs).sum(-1) / bb
    cs = c - u_ca[:, None] * a - u_cb[:, None] * bs
    small = np.abs(np.stack([u_ba, u_ca, u_cb])).max(0) < 0.5 - 1e-6
    reduced: np.ndarray = (
        small & (bb > (0.75 - u_ba**2) * aa * _SLACK) & ((cs * cs).sum(-1) > (0.75 - u_cb**2) * bb * _SLACK)
    )
    return reduced
