"""Which space groups can hold what a cell contains: sizes of their sites, found from the groups' operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np
import spglib

_GRID = 24  # special points have coordinates of 1/8, 1/6 and 1/12 at the finest: all lie on it, general ones too


@dataclass(frozen=True)
class Sites:
    """Sizes of a group's orbits in the primitive cell.

    fixed: size -> how many orbits of it have no free coordinate, so that each holds atoms once; free: sizes of the
    rest, each as often as one likes
    """

    fixed: tuple[tuple[int, int], ...]
    free: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Position:
    """One Wyckoff position of a group in its standard setting.

    size: sites of an orbit in the primitive cell; a first site is point + directionsᵀ u with any u (k,) in [0, 1), and
    the others rotations · first + shifts, modulo the primitive lattice
    point: (3,); directions: (k, 3) integers, k the free coordinates; rotations: (size, 3, 3); shifts: (size, 3)
    """

    size: int
    point: np.ndarray
    directions: np.ndarray
    rotations: np.ndarray
    shifts: np.ndarray

    @property
    def free(self) -> int:
        return len(self.directions)

    def orbit(self, parameters: np.ndarray) -> np.ndarray:
        """(size, 3) coordinates in the conventional cell for the free parameters (k,), one of each lattice point."""
        first = self.point + parameters @ self.directions
        return self.rotations @ first + self.shifts


def sites_of(group: int) -> Sites:
    """Of a space group in its standard setting. Raises ValueError outside 1 to 230."""
    positions = positions_of(group)
    fixed = Counter(p.size for p in positions if not p.free)
    return Sites(tuple(sorted(fixed.items())), tuple(sorted({p.size for p in positions if p.free})))


@cache
def positions_of(group: int) -> tuple[Position, ...]:
    """Every Wyckoff position, the smallest first. Raises ValueError outside 1 to 230.

    Points of a grid stand for them all: those are one position whose fixed points, moved by the operations, coincide.
    """
    rotations, shifts = _operations(group)
    images = _images(rotations, shifts)
    own = np.arange(_GRID**3)
    stays = images == own  # (operations, points)
    order, first = stays.sum(0), images.min(0)
    centring = [i for i, rotation in enumerate(rotations) if (rotation == np.eye(3, dtype=int)).all()]
    found, taken = [], np.zeros(own.shape, bool)
    for point in np.flatnonzero(first == own)[np.argsort(-order[first == own], kind="stable")]:
        if taken[point]:
            continue
        directions = _directions(rotations[stays[:, point]])
        along = _along(point, directions)
        alike = np.zeros(own.shape, bool)
        alike[images[:, along]] = True
        taken |= alike & (order == order[point])
        which = _one_each(images[:, point], images[centring])
        found.append(
            Position(len(which), _points()[:, point] / _GRID, directions, rotations[which], shifts[which] / _GRID)
        )
    return tuple(sorted(found, key=lambda p: (p.size, p.free)))


def centring_of(group: int) -> np.ndarray:
    """(m, 3) the lattice points of the conventional cell in the standard setting, the origin first."""
    rotations, shifts = _operations(group)
    same = (rotations == np.eye(3, dtype=int)).all((1, 2))
    return np.unique(shifts[same] % _GRID, axis=0) / _GRID


def rotations_of(group: int) -> np.ndarray:
    """(K, 3, 3) the different rotations of the conventional cell in the standard setting."""
    return np.unique(_operations(group)[0], axis=0)


@cache
def _points() -> np.ndarray:
    """(3, points) of the grid, in its steps."""
    axis = np.arange(_GRID)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)


def _images(rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(operations, points) which point each is brought to."""
    return np.stack([_index(r @ _points() + s[:, None]) for r, s in zip(rotations, shifts, strict=True)])


def _index(points: np.ndarray) -> np.ndarray:
    """(3, …) steps of the grid -> the number of the point."""
    x, y, z = points % _GRID
    return np.asarray((x * _GRID + y) * _GRID + z, np.int32)


def _directions(rotations: np.ndarray) -> np.ndarray:
    """(k, 3) a basis of the integer vectors that all of the rotations leave alone."""
    axis = np.arange(-2, 3)
    vectors = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
    fixed = vectors[:, (rotations @ vectors == vectors).all((0, 1))].T
    fixed = fixed[np.gcd.reduce(fixed, 1) == 1]
    fixed = fixed[np.argsort((fixed**2).sum(1), kind="stable")]
    basis: list[np.ndarray] = []
    for vector in fixed:
        if np.linalg.matrix_rank(np.array([*basis, vector])) == len(basis) + 1 and _whole([*basis, vector]):
            basis.append(vector)
    return np.array(basis, int).reshape(-1, 3)


def _whole(basis: list[np.ndarray]) -> bool:
    """Are all integer vectors of their span sums of them?"""
    if len(basis) == 1:
        return True
    minors = np.cross(basis[0], basis[1]) if len(basis) == 2 else [round(np.linalg.det(basis))]
    return bool(np.gcd.reduce(np.asarray(minors, int)) == 1)


def _along(point: int, directions: np.ndarray) -> np.ndarray:
    """The points of the grid that are reached from one along the directions."""
    if len(directions) == 3:
        return np.arange(_GRID**3)
    points = _points()[:, [point]]
    for direction in directions:
        points = (points[:, :, None] + direction[:, None, None] * np.arange(_GRID)).reshape(3, -1)
    return _index(points)


def _one_each(images: np.ndarray, centred: np.ndarray) -> np.ndarray:
    """Of the operations one for each site of an orbit, sites that a lattice point parts counted once.

    images: (operations,) of the first site; centred: (lattice points, points) where each brings a point
    """
    return np.unique(centred[:, images].min(0), return_index=True)[1]


def hall_of(group: int) -> int:
    """The number in Hall's list of a group's standard setting. Raises ValueError outside 1 to 230."""
    if group not in _halls():
        raise ValueError(f"there is no space group {group}")
    return _halls()[group]


@cache
def _halls() -> dict[int, int]:
    found: dict[int, int] = {}
    for hall in range(1, 531):
        if (kind := spglib.get_spacegroup_type(hall)) is not None:
            found.setdefault(int(kind.number), hall)
    return found


def _operations(group: int) -> tuple[np.ndarray, np.ndarray]:
    """(rotations (N, 3, 3), translations (N, 3) in steps of the grid), those of the lattice among them."""
    found = spglib.get_symmetry_from_database(hall_of(group))
    if found is None:
        raise ValueError(f"the operations of space group {group} are not known")
    return np.asarray(found["rotations"], int), np.rint(found["translations"] * _GRID).astype(int)


def can_hold(group: int, counts: Mapping[str, int]) -> bool:
    """Can a crystal with these atoms in its cell have the group? The cell may be several primitive ones."""
    numbers = tuple(sorted(counts.values()))
    return _holds(group, numbers)


@cache
def _holds(group: int, numbers: tuple[int, ...]) -> bool:
    sites, common = sites_of(group), gcd(*numbers)
    return any(
        common % cells == 0 and fits(tuple(n // cells for n in numbers), sites.fixed, sites.free)
        for cells in range(1, common + 1)
    )


@cache
def fits(numbers: tuple[int, ...], fixed: tuple[tuple[int, int], ...], free: tuple[int, ...]) -> bool:
    """Does each number come out as a sum of sizes, with fixed ones used once between all?"""
    if not numbers:
        return True
    return any(fits(numbers[1:], left, free) for left in _left(numbers[0], fixed, free))


@cache
def _left(number: int, fixed: tuple[tuple[int, int], ...], free: tuple[int, ...]) -> list[tuple[tuple[int, int], ...]]:
    """The fixed orbits that are left, for every way to place so many atoms."""
    if not fixed:
        return [()] if _sums(number, free) else []
    (size, there), rest = fixed[0], fixed[1:]
    return [
        (((size, there - used), *left) if there > used else left)
        for used in range(min(there, number // size) + 1)
        for left in _left(number - used * size, rest, free)
    ]


@cache
def _sums(number: int, sizes: tuple[int, ...]) -> bool:
    return number == 0 or any(number >= size and _sums(number - size, sizes) for size in sizes)


def cannot_hold(groups: Iterable[int], counts: Mapping[str, int]) -> tuple[int, ...]:
    """Those of the groups that no crystal with these atoms in its cell can have."""
    return tuple(group for group in groups if not can_hold(group, counts))
