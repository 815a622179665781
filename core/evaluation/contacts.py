"""How close and how far apart the atoms of a crystal are, beside the radii of their elements."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pymatgen.core import Element, Lattice
from pymatgen.util.coord_cython import pbc_shortest_vectors

from core.evaluation.reduction import Cell, volume_of

_STEPS = np.array([v for v in itertools.product((-2, -1, 0, 1, 2), repeat=3) if v > (0, 0, 0)], dtype=float)
_PLANES = np.array([v for v in itertools.product((-1, 0, 1), repeat=3) if v > (0, 0, 0)], dtype=float)


@dataclass(frozen=True)
class Contacts:
    """What a crystal's distances say. Lengths in Å.

    closest: shortest distance between two atoms, or of an atom and its own image
    tight: (element, element, distance, share of the sum of their covalent radii), where that share is smallest
    lonely: the same for the atom whose nearest neighbour, by that share, is farthest
    gap: thickness of the largest flat layer of space without an atom's centre
    filling: share of the cell that spheres of the covalent radii would take, overlaps counted twice
    """

    closest: float
    tight: tuple[str, str, float, float]
    lonely: tuple[str, str, float, float]
    gap: float
    filling: float


def find_contacts(cell: Cell) -> Contacts:
    """Look at one crystal that is finite and has a volume."""
    lattice = Lattice(cell.matrix)
    distance = distances(cell, lattice)
    radius = covalent_radii()[cell.numbers]
    share = distance / (radius[:, None] + radius)
    tight = np.unravel_index(int(share.argmin()), share.shape)
    nearest = share.argmin(1)
    lonely = int(share.min(1).argmax())
    return Contacts(
        float(distance.min()),
        _pair(cell, distance, share, int(tight[0]), int(tight[1])),
        _pair(cell, distance, share, lonely, int(nearest[lonely])),
        largest_gap(cell, lattice),
        float((radius**3).sum() * 4 / 3 * np.pi / volume_of(cell.matrix)),
    )


def distances(cell: Cell, lattice: Lattice | None = None) -> np.ndarray:
    """(N, N) shortest distance in Å of each atom and the images of each; of one and itself the nearest other image."""
    lattice = lattice or Lattice(cell.matrix)
    _, squared = pbc_shortest_vectors(lattice, cell.frac, cell.frac, return_d2=True)
    found: np.ndarray = np.sqrt(squared)
    np.fill_diagonal(found, np.linalg.norm(_STEPS @ lattice.lll_matrix, axis=1).min())
    return found


def largest_gap(cell: Cell, lattice: Lattice | None = None) -> float:
    """Å: the widest layer without an atom's centre, along the 13 shortest normals of the LLL-reduced cell."""
    lattice = lattice or Lattice(cell.matrix)
    inverse = np.linalg.inv(lattice.lll_matrix)
    heights = np.mod(cell.frac @ cell.matrix @ inverse @ _PLANES.T, 1)  # (N, 13) shares of a period
    heights.sort(axis=0)
    steps = np.diff(heights, axis=0, append=heights[:1] + 1)
    return float((steps.max(0) / np.linalg.norm(inverse @ _PLANES.T, axis=0)).max())


@lru_cache(maxsize=1)
def covalent_radii() -> np.ndarray:
    """(119,) Å: radii of single bonds, NaN at 0 (Pyykkö and Atsumi, Chem. Eur. J. 15, 186, 2009)."""
    from mendeleev.fetch import fetch_table

    table = fetch_table("elements")
    radii = np.full(119, np.nan)
    radii[table["atomic_number"].to_numpy()] = table["covalent_radius_pyykko"].to_numpy(dtype=float) / 100
    return radii


def _pair(cell: Cell, distance: np.ndarray, share: np.ndarray, i: int, j: int) -> tuple[str, str, float, float]:
    first, second = (Element.from_Z(int(cell.numbers[k])).symbol for k in (i, j))
    return first, second, float(distance[i, j]), float(share[i, j])
