"""Bases and supercells of lattices as integer matrices, in numpy alone: a matrix M makes the cell M L of rows L."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np

_ROUNDS = 60
_TIE = 1e-6  # of a squared length: shorter by less is not shorter


def metric_of(lattice: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rows in Å -> (..., 3, 3) dot products in Å²."""
    found: np.ndarray = lattice @ np.swapaxes(lattice, -1, -2)
    return found


def changed(metric: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The metric of the cells M L: (..., 3, 3) each."""
    found: np.ndarray = matrix @ metric @ np.swapaxes(matrix, -1, -2)
    return found


def reduced_bases(metrics: np.ndarray) -> np.ndarray:
    """(B, 3, 3) metrics -> (B, 3, 3) int64 matrices of determinant 1 to their reduced cells.

    Minkowski-reduced (Nguyen & Stehlé, ANTS 2004), edges by rising length, and angles all acute or all not, as in a
    Niggli cell; which of several equally short cells comes out is left open.
    """
    bases = np.broadcast_to(np.eye(3, dtype=np.int64), metrics.shape).copy()
    active = np.arange(len(metrics))
    for _ in range(_ROUNDS):
        if not len(active):
            break
        before = bases[active]
        after = _shortened(metrics[active], before)
        gain = _lengths(metrics[active], before).sum(1) - _lengths(metrics[active], after).sum(1)
        bases[active] = after
        active = active[gain > _TIE * _lengths(metrics[active], after).sum(1)]
    return _signed(metrics, bases)


def _lengths(metrics: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """(B, 3) squared lengths of the edges."""
    found: np.ndarray = np.einsum("bij,bjk,bik->bi", bases, metrics, bases)
    return found


def _sorted(metrics: np.ndarray, bases: np.ndarray) -> np.ndarray:
    order = np.argsort(_lengths(metrics, bases), axis=1, kind="stable")
    return np.take_along_axis(bases, order[:, :, None], 1)


_NEAR = np.array(list(itertools.product((0, -1, 1), repeat=2)))


def _shortened(metrics: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """The second edge less the first, the third less what is nearest to it in the plane of both."""
    b = _sorted(metrics, bases)
    g = changed(metrics, b)
    b[:, 1] -= np.rint(g[:, 0, 1] / g[:, 0, 0]).astype(np.int64)[:, None] * b[:, 0]
    b = _sorted(metrics, b)
    g = changed(metrics, b)
    det = g[:, 0, 0] * g[:, 1, 1] - g[:, 0, 1] ** 2
    x = (g[:, 0, 2] * g[:, 1, 1] - g[:, 1, 2] * g[:, 0, 1]) / det
    y = (g[:, 1, 2] * g[:, 0, 0] - g[:, 0, 2] * g[:, 0, 1]) / det
    xy = np.rint(np.stack([x, y], 1)).astype(np.int64)[:, None] + _NEAR  # (B, 9, 2)
    third = b[:, None, 2] - xy[..., :1] * b[:, None, 0] - xy[..., 1:] * b[:, None, 1]
    squared = np.einsum("bki,bij,bkj->bk", third, metrics, third)
    b[:, 2] = np.take_along_axis(third, squared.argmin(1)[:, None, None], 1)[:, 0]
    return _sorted(metrics, b)


def _signed(metrics: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """Right-handed, with all angles acute if the product of their cosines is positive, else none of them."""
    b = bases * np.where(np.linalg.det(bases) < 0, -1, 1)[:, None, None]
    g = changed(metrics, b)
    dots = np.stack([g[:, 1, 2], g[:, 0, 2], g[:, 0, 1]], 1)
    dots[np.abs(dots) < _TIE * np.trace(g, axis1=1, axis2=2)[:, None]] = 0
    acute = (dots.prod(1) > 0)[:, None]
    wrong = np.where(acute, dots < 0, dots > 0)  # of the angles α, β, γ; turning edges i and j changes those at k
    for signs in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        turned = np.array([signs[1] * signs[2], signs[0] * signs[2], signs[0] * signs[1]])
        mended = np.where(acute, dots * turned < 0, dots * turned > 0)
        better = mended.sum(1) < wrong.sum(1)
        b[better] *= np.array(signs)[None, :, None]
        dots[better] *= turned
        wrong[better] = mended[better]
    return b


@lru_cache(maxsize=64)
def sublattices(index: int) -> np.ndarray:
    """(K, 3, 3) int64 Hermite normal forms: every sublattice of this index once (Santoro & Mighell 1972)."""
    found = [
        [[a, b, c], [0, e, f], [0, 0, index // (a * e)]]
        for a in _divisors(index)
        for e in _divisors(index // a)
        for b in range(e)
        for c in range(index // (a * e))
        for f in range(index // (a * e))
    ]
    return np.array(found, dtype=np.int64)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def supercells(metric: np.ndarray, index: int) -> np.ndarray:
    """(K, 3, 3) int64 matrices to every reduced supercell of `index` cells, the most compact first.

    The most compact is the one with the smallest sum of squared edges: of one volume, the nearest to a cube.
    """
    forms = sublattices(index)
    matrices = reduced_bases(changed(metric[None], forms)) @ forms
    sizes = np.trace(changed(metric[None], matrices), axis1=1, axis2=2)
    return matrices[np.argsort(np.round(sizes / sizes.min(), 6), kind="stable")]


def filled(frac: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """(N, 3) fractional coordinates in the cells M L: (N K, 3) in [0, 1), each site's K = |det M| copies side by side.

    matrices: (3, 3), or (C, 3, 3) of one determinant, which gives (C, N K, 3)
    """
    whole = np.atleast_3d(matrices).reshape(-1, 3, 3).astype(np.int64)
    cells = np.stack([_cells_in(matrix.tobytes()) for matrix in whole])
    found = (frac[None, :, None] + cells[:, None]).reshape(len(whole), -1, 3) @ np.linalg.inv(whole)
    found -= np.floor(found)
    found[found >= 1] = 0
    return found.reshape(*matrices.shape[:-2], -1, 3)


@lru_cache(maxsize=20_000)
def _cells_in(matrix_: bytes) -> np.ndarray:
    """(K, 3) the cells that fill a supercell."""
    matrix = np.frombuffer(matrix_, dtype=np.int64).reshape(3, 3)
    count = round(abs(np.linalg.det(matrix)))
    if count == 1:
        return np.zeros((1, 3))
    corners = np.array(list(itertools.product((0, 1), repeat=3))) @ matrix
    spans = [np.arange(low, high + 1) for low, high in zip(corners.min(0), corners.max(0), strict=True)]
    points = np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, 3)
    places = points @ np.linalg.inv(matrix)
    inside = ((places > -1e-6) & (places < 1 - 1e-6)).all(1)
    found: np.ndarray = points[inside].astype(float)
    return found
