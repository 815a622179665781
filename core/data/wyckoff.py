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


@cache
def sites_of(group: int) -> Sites:
    """Of a space group in its standard setting. Raises ValueError outside 1 to 230."""
    rotations, shifts = _operations(group)
    axis = np.arange(_GRID)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
    place = np.array([_GRID * _GRID, _GRID, 1])
    own = place @ points
    first = own.copy()  # of the points of an orbit, the one that stands for it
    order = np.zeros(own.shape, int)
    traces = np.zeros(own.shape, int)
    for rotation, shift in zip(rotations, shifts, strict=True):
        image = place @ ((rotation @ points + shift[:, None]) % _GRID)
        np.minimum(first, image, out=first)
        same = image == own
        order += same
        traces += same * int(np.trace(rotation))
    lattice = sum(1 for rotation in rotations if (rotation == np.eye(3, dtype=int)).all())
    sizes = len(rotations) // order // lattice
    one = first == own
    fixed = Counter(sizes[one & (traces == 0)].tolist())
    return Sites(tuple(sorted(fixed.items())), tuple(sorted(set(sizes[traces > 0].tolist()))))


@cache
def _halls() -> dict[int, int]:
    found: dict[int, int] = {}
    for hall in range(1, 531):
        if (kind := spglib.get_spacegroup_type(hall)) is not None:
            found.setdefault(int(kind.number), hall)
    return found


def _operations(group: int) -> tuple[np.ndarray, np.ndarray]:
    """(rotations (N, 3, 3), translations (N, 3) in steps of the grid), those of the lattice among them."""
    if group not in _halls():
        raise ValueError(f"there is no space group {group}")
    found = spglib.get_symmetry_from_database(_halls()[group])
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
        common % cells == 0 and _fits(tuple(n // cells for n in numbers), sites.fixed, sites.free)
        for cells in range(1, common + 1)
    )


@cache
def _fits(numbers: tuple[int, ...], fixed: tuple[tuple[int, int], ...], free: tuple[int, ...]) -> bool:
    """Does each number come out as a sum of sizes, with fixed ones used once between all?"""
    if not numbers:
        return True
    return any(_fits(numbers[1:], left, free) for left in _left(numbers[0], fixed, free))


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
