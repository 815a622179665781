"""One crystal against many of its formula at once: which of them may be the same, before any pair is matched.

The tests are those of `pairing.least_rms`, a hair wider: is there a cell of the one lattice like the other's, has every
site of the one a site of its element near it in that cell, and are they near on the mean? What fails them cannot match;
what passes is left to `least_rms`. On arrays for all others together this takes a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.optimization.neighbors import find_points_in_spheres

from core.evaluation.lattices import determinants
from core.evaluation.pairing import Average, Tolerances, displacement, lll_reduced, mean_cells, spacings
from core.evaluation.reduction import Reduced

_SLACK = 1 + 1e-6
_HAIR = 1e-4  # degrees
_ROOM = 3_000_000  # numbers in one array
_PERIODIC = np.ones(3, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Member:
    """A reduced crystal made ready. Its cell has a volume of 1, its sites are sorted by element.

    matrix: (3, 3); lengths: (3,); angles: (3,) degrees; frac: (N, 3); numbers: (N,)
    anchor: the site that `pairing.least_rms` lays on one of its element, of the rarest
    """

    reduced: Reduced
    matrix: np.ndarray
    lengths: np.ndarray
    angles: np.ndarray
    frac: np.ndarray
    numbers: np.ndarray
    anchor: int

    @classmethod
    def of(cls, reduced: Reduced) -> Member:
        matrix = reduced.matrix / reduced.volume ** (1 / 3)
        lengths = np.linalg.norm(matrix, axis=1)
        a, b, c = matrix / lengths[:, None]
        angles = np.rad2deg(np.arccos(np.clip([b @ c, c @ a, a @ b], -1, 1)))
        order = np.argsort(reduced.numbers, kind="stable")
        numbers = reduced.numbers[order]
        alike = (reduced.numbers[:, None] == reduced.numbers).sum(1)
        anchor = int(np.flatnonzero(order == alike.argmin())[0])
        return cls(reduced, matrix, lengths, angles, reduced.frac[order], numbers, anchor)


def plausible(query: Member, others: Sequence[Member], tolerances: Tolerances) -> list[int]:
    """Indices of those that may match; all of them have the query's sites (`pairing.cannot_match` says no)."""
    if not others:
        return []
    images, vectors, lengths = _vectors(query.matrix, max(float(o.lengths.max()) for o in others), tolerances)
    unit = vectors / lengths[:, None]
    between = np.rad2deg(np.arccos(np.clip(unit @ unit.T, -1, 1)))
    found: set[int] = set()
    cells, owners, held = [], [], 0
    size = len(query.numbers) ** 2 * 3
    for i, other in enumerate(others):
        picked = _aligned(images, lengths, between, other, tolerances)
        if len(picked):
            cells.append(vectors[picked])
            owners.append(np.full(len(picked), i))
            held += len(picked) * size
        if cells and (held > _ROOM or i == len(others) - 1):
            found |= _fitting(query, others, np.concatenate(cells), np.concatenate(owners), tolerances)
            cells, owners, held = [], [], 0
    if cells:
        found |= _fitting(query, others, np.concatenate(cells), np.concatenate(owners), tolerances)
    return sorted(found)


def _vectors(matrix: np.ndarray, longest: float, tolerances: Tolerances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lattice vectors up to a length: (K, 3) in edges, (K, 3), (K,) lengths."""
    origin = np.zeros((1, 3))
    radius = longest * (1 + tolerances.ltol) * _SLACK
    _, _, images, distance = find_points_in_spheres(
        origin, origin.copy(), r=radius, pbc=_PERIODIC.copy(), lattice=np.array(matrix, dtype=float), tol=1e-8
    )
    some = distance > 1e-8
    return images[some], images[some] @ matrix, distance[some]


def _aligned(
    images: np.ndarray, lengths: np.ndarray, between: np.ndarray, other: Member, tolerances: Tolerances
) -> np.ndarray:
    """(M, 3) which vectors span cells with the other's lengths and angles, and its volume."""
    wide = (1 + tolerances.ltol) * _SLACK
    a, b, c = (np.flatnonzero((lengths < ln * wide) & (lengths * wide > ln)) for ln in other.lengths)
    if not (len(a) and len(b) and len(c)):
        return np.zeros((0, 3), dtype=np.int64)
    alpha, beta, gamma = other.angles
    off = tolerances.angle_tol + _HAIR
    i, j = np.nonzero(np.abs(between[a[:, None], b] - gamma) <= off)
    if not len(i):
        return np.zeros((0, 3), dtype=np.int64)
    fits = (np.abs(between[a[:, None], c] - beta) <= off)[i] & (np.abs(between[b[:, None], c] - alpha) <= off)[j]
    pair, k = np.nonzero(fits)
    picked = np.stack([a[i[pair]], b[j[pair]], c[k]], 1)
    spanned = np.abs(determinants(images[picked].astype(float))) if len(picked) else np.zeros(0)
    return picked[np.abs(spanned - 1) < 0.5]


def _fitting(
    query: Member, others: Sequence[Member], cells: np.ndarray, owners: np.ndarray, tolerances: Tolerances
) -> set[int]:
    """Which owners have a cell in which every site has a partner of its element near enough, on the mean too."""
    which, place = np.unique(owners, return_inverse=True)
    lengths = np.array([others[i].lengths for i in which])[place]
    angles = np.array([others[i].angles for i in which])[place]
    target = np.array([others[i].frac for i in which])[place]  # (T, N, 3)
    means = mean_cells(cells, lengths, angles)
    norms = (len(query.numbers) / np.abs(determinants(means))) ** (1 / 3)
    reach = 2 * tolerances.stol / norms[:, None] / spacings(means) * _SLACK + 1e-9
    reduced = lll_reduced(means)
    sites = (query.frac @ query.matrix) @ np.linalg.inv(cells)
    sites -= np.floor(sites)
    foreign = query.numbers[:, None] != query.numbers  # sorted alike
    mask = foreign.astype(np.int64)
    anchors = np.array([others[i].anchor for i in which])
    origins = [np.flatnonzero(query.numbers == query.numbers[a]) for a in anchors]  # each element as rare as another
    matched: set[int] = set()
    for k in range(len(origins[0])):
        left = np.flatnonzero(~np.isin(owners, list(matched)))
        origin = np.array([o[k] for o in origins])[place[left]]
        shift = sites[left, origin] - target[left, anchors[place[left]]]
        moved = target[left] + shift[:, None]
        off = moved[:, :, None] - sites[left][:, None]
        off -= np.rint(off)
        near = (np.abs(off) < reach[left][:, None, None]).all(-1) & ~foreign
        for row in np.flatnonzero(near.any(2).all(1)).tolist():
            t = int(left[row])
            if int(owners[t]) in matched:
                continue
            mean = Average(means[t], reach[t], float(norms[t]), tolerances.stol * _SLACK, bool(reduced[t]))
            value = displacement(sites[t], moved[row], mask, mean)
            if value is not None and value < tolerances.stol * _SLACK:
                matched.add(int(owners[t]))
    return matched
