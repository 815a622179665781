"""Lattices found in other lattices, on arrays: what pymatgen's `Lattice.find_all_mappings` does one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymatgen.core import Lattice
from pymatgen.optimization.neighbors import find_points_in_spheres

_PERIODIC = np.ones(3, dtype=np.int64)
_ORIGIN = np.zeros((1, 3))


class QuickLattice(Lattice):
    """pymatgen's lattice with a quicker search in its Niggli reduction."""

    def find_mapping(self, other_lattice: Lattice, ltol: float = 1e-5, atol: float = 1, *_: Any, **__: Any) -> Any:
        """(vectors of this lattice like the other's, None, None): the first right-handed ones, else the first."""
        cells, spanned = find_mappings(np.array(self.matrix), other_lattice, ltol, atol)
        if not (np.abs(spanned) > 1e-8).any():
            return None
        proper = spanned > 1e-8
        return Lattice(cells[proper][0] if proper.any() else cells[np.abs(spanned) > 1e-8][0]), None, None


def find_mappings(matrix: np.ndarray, target: Lattice, ltol: float, angle_tol: float) -> tuple[np.ndarray, np.ndarray]:
    """(M, 3, 3) vectors of the lattice `matrix` with lengths and angles near the target's, (M,) cells that each spans.

    In the order of `Lattice.find_all_mappings`; left-handed ones span a negative number. angle_tol: degrees
    """
    lengths, (alpha, beta, gamma) = target.lengths, target.angles
    _, index, images, distance = find_points_in_spheres(
        all_coords=_ORIGIN.copy(),
        center_coords=_ORIGIN.copy(),
        r=float(max(lengths) * (1 + ltol)),
        pbc=_PERIODIC.copy(),
        lattice=np.array(matrix, dtype=float),
        tol=1e-8,
    )
    if len(index) < 1:
        return np.zeros((0, 3, 3)), np.zeros(0)
    cart = np.dot(images, matrix)
    near = [np.logical_and(distance / ln < 1 + ltol, distance / ln > 1 / (1 + ltol)) for ln in lengths]
    a, b, c = (cart[i] for i in near)
    la, lb, lc = (np.sum(v**2, axis=-1) ** 0.5 for v in (a, b, c))
    i, j = np.nonzero(np.abs(_angles(a, b, la, lb) - gamma) <= angle_tol)
    fits_c = np.abs(_angles(a, c, la, lc) - beta)[i] <= angle_tol
    fits_c &= (np.abs(_angles(b, c, lb, lc) - alpha) <= angle_tol)[j]
    pair, k = np.nonzero(fits_c)
    i, j = i[pair], j[pair]
    counts = np.stack([images[near[0]][i], images[near[1]][j], images[near[2]][k]], 1)
    return np.stack([a[i], b[j], c[k]], 1), determinants(counts)


def _angles(first: np.ndarray, second: np.ndarray, long1: np.ndarray, long2: np.ndarray) -> np.ndarray:
    cosine = np.inner(first, second) / long1[:, None] / long2
    angles: np.ndarray = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    return angles


def determinants(matrices: np.ndarray) -> np.ndarray:
    """(M, 3, 3) -> (M,)."""
    a, b, c = matrices.transpose(1, 2, 0)
    first = a[1] * b[2] - a[2] * b[1]
    second = a[2] * b[0] - a[0] * b[2]
    found: np.ndarray = first * c[0] + second * c[1] + (a[0] * b[1] - a[1] * b[0]) * c[2]
    return found
