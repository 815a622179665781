"""Who is bonded to whom in a crystal, and the coordination polyhedra: what viewers draw and tables of distances say.

Neighbours by Hoppe's effective coordination numbers (Z. Kristallogr. 150, 23 (1979)), as pymatgen's EconNN, in arrays:
60 sites take milliseconds. Periodic images are counted each; nothing is guessed from atomic radii.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from pymatgen.core import Element, Structure
from scipy.spatial import ConvexHull, QhullError

_FAR = 10.0  # Å: what is farther is no neighbour
_LEAST = 0.2  # a neighbour's weight exp(1 − (d / mean)⁶), as in EconNN
_MOST_PAIRS = 600_000
_SMALL = 8  # polyhedra of more corners are drawn only where there are no smaller ones


@dataclass(frozen=True)
class Neighbours:
    """Directed: every site's own neighbours, sorted by site and distance.

    site, other: (M,) site numbers; image: (M, 3) the cell that `other` lies in; distance: (M,) Å
    """

    site: np.ndarray
    other: np.ndarray
    image: np.ndarray
    distance: np.ndarray

    def of(self, site: int) -> np.ndarray:
        """Rows of one site."""
        return np.flatnonzero(self.site == site)


@dataclass(frozen=True)
class Polyhedron:
    """The convex hull of a site's ligands: corners (k,) site numbers with images (k, 3), triangles (f, 3) seen from
    outside and outer edges (e, 2) by corner."""

    centre: int
    corners: np.ndarray
    images: np.ndarray
    triangles: np.ndarray
    edges: np.ndarray


def find_neighbours(structure: Structure) -> Neighbours:
    """Each site's neighbours by effective coordination numbers; sites without one within 10 Å have none.

    Raises ValueError where atoms lie so densely that no bonds can be told.
    """
    reach = _FAR
    density = len(structure) / structure.volume
    if len(structure) * density * 4.19 * reach**3 > _MOST_PAIRS:
        reach = (_MOST_PAIRS / (len(structure) * density * 4.19)) ** (1 / 3)
        if reach < 4.0:
            raise ValueError("The atoms lie too densely to tell bonds.")
    site, other, image, distance = structure.get_neighbor_list(reach, exclude_self=True)
    keep = distance > 1e-3
    site, other, image, distance = site[keep], other[keep], image[keep].astype(int), distance[keep]
    if not len(site):
        return Neighbours(site, other, image, distance)
    mean = _mean_lengths(site, distance, len(structure))
    near = np.exp(1 - (distance / mean[site]) ** 6) > _LEAST
    site, other, image, distance = site[near], other[near], image[near], distance[near]
    order = np.lexsort((image[:, 2], image[:, 1], image[:, 0], other, np.round(distance, 4), site))
    return Neighbours(site[order], other[order], image[order], distance[order])


def _mean_lengths(site: np.ndarray, distance: np.ndarray, n: int) -> np.ndarray:
    """(n,) Å Hoppe's weighted mean distance of each site (his equation 4), iterated from the shortest one on."""
    mean = np.full(n, np.inf)
    np.minimum.at(mean, site, distance)
    going = np.isfinite(mean)
    for _ in range(100):
        weight = np.exp(1 - (distance / mean[site]) ** 6)
        total = np.bincount(site, weight, n)
        new = np.where(going, np.bincount(site, weight * distance, n) / np.where(total > 0, total, 1), mean)
        going, mean = going & (np.abs(new - mean) > 1e-4), new
        if not going.any():
            break
    return mean


def bonds(neighbours: Neighbours, quiet: Sequence[int] = ()) -> list[tuple[int, int, int, int, int]]:
    """(site, other, image) of every bond of a cell, once: where one of the two counts the other as its neighbour.

    quiet: sites whose counting is not enough, as the large cations of an oxide
    """
    silent, found = set(quiet), set()
    for i, j, shift in zip(neighbours.site.tolist(), neighbours.other.tolist(), neighbours.image.tolist(), strict=True):
        if i not in silent:
            found.add(min((i, j, *shift), (j, i, *(-s for s in shift))))
    return sorted(found)


def large_centres(structure: Structure, neighbours: Neighbours, polyhedra: Sequence[Polyhedron]) -> list[int]:
    """Sites of more than eight neighbours beside smaller polyhedra: Ba of BaTiO₃, not Ta of TaB₂."""
    if not polyhedra or max(len(p.corners) for p in polyhedra) > _SMALL:
        return []
    many = np.bincount(neighbours.site, minlength=len(structure)) > _SMALL
    return np.flatnonzero(many).tolist()


def find_polyhedra(structure: Structure, neighbours: Neighbours) -> list[Polyhedron]:
    """Polyhedra around the more metallic of two elements, of four non-metal or metalloid ligands or more."""
    numbers = list(structure.atomic_numbers)
    ranks = {z: _rank(z) for z in set(numbers)}
    found: list[Polyhedron] = []
    for i, z in enumerate(numbers):
        rows = [r for r in neighbours.of(i) if _is_ligand(ranks[z], ranks[numbers[neighbours.other[r]]])]
        if len(rows) >= 4 and (one := _hull(structure, i, neighbours, rows)) is not None:
            found.append(one)
    corners = {
        z: max(len(p.corners) for p in found if numbers[p.centre] == z) for z in {numbers[p.centre] for p in found}
    }
    if min(corners.values(), default=0) <= _SMALL:
        found = [p for p in found if corners[numbers[p.centre]] <= _SMALL]
    return found


@cache
def _rank(number: int) -> tuple[int, float]:
    """Metals before metalloids before non-metals, and each by electronegativity."""
    element = Element.from_Z(number)
    kind = 0 if element.is_metal else 1 if element.is_metalloid or number == 5 else 2
    return kind, float(element.X) if element.X == element.X else 0.0


def _is_ligand(centre: tuple[int, float], other: tuple[int, float]) -> bool:
    return other[0] > 0 and centre < other


def _hull(structure: Structure, centre: int, neighbours: Neighbours, rows: Sequence[int]) -> Polyhedron | None:
    """None where the ligands lie in a plane, or all on one side."""
    other, image = neighbours.other[rows], neighbours.image[rows]
    points = (structure.frac_coords[other] + image - structure.frac_coords[centre]) @ structure.lattice.matrix
    try:
        hull = ConvexHull(points)
    except QhullError:
        return None
    if hull.volume < 0.3 or float(hull.equations[:, 3].max()) > 0.3:
        return None
    triangles = _outward(points, hull)
    return Polyhedron(centre, other, image, triangles, _edges(hull))


def _outward(points: np.ndarray, hull: ConvexHull) -> np.ndarray:
    triangles = hull.simplices.copy()
    a, b, c = (points[triangles[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return triangles


def _edges(hull: ConvexHull) -> np.ndarray:
    """(e, 2) edges between faces that are not one plane."""
    kept = set()
    for face, (corners, beside) in enumerate(zip(hull.simplices, hull.neighbors, strict=True)):
        for k in range(3):
            if hull.equations[face, :3] @ hull.equations[beside[k], :3] < 0.995:
                kept.add(tuple(sorted(int(v) for v in np.delete(corners, k))))
    return np.array(sorted(kept), dtype=int).reshape(-1, 2)
