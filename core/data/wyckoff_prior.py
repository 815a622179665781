"""Which Wyckoff positions known structures take: weights for random starts of the same content and group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice, permutations, product
from typing import Any

import numpy as np
import spglib

from core.crystals import Crystals
from core.data.wyckoff import Position, centring_of, hall_of, positions_of
from core.data.wyckoff_starts import Assignment, points_filled

_CLOSE = 2e-3  # of an edge: a site nearer than this to a position lies on it
_ORDERS = 24  # of elements of which there are as many atoms, tried at most


def site_prior(known: Crystals, group: int, counts: Sequence[int], symprec: float = 0.01) -> dict[Assignment, float]:
    """How often structures of that group, with such numbers of atoms of any elements, take which positions.

    known: structures to learn from, others among them are passed over; counts: atoms of each element, by rising atomic
    number. Elements of which a structure has as many atoms stand for each other. For `random_start`.
    """
    found: Counter[Assignment] = Counter()
    points = points_filled(group, tuple(counts))
    if not points:
        return {}
    wanted = tuple(n // points for n in counts)
    for index in range(len(known)):
        taken = positions_taken(known, index, group, symprec)
        ways = set(_orders(taken, wanted)) if taken is not None else set()
        for way in ways:
            found[way] += 1 / len(ways)  # type: ignore[assignment]
    return dict(found)


def _orders(taken: Sequence[tuple[int, tuple[int, ...]]], wanted: tuple[int, ...]) -> Iterator[Assignment]:
    """(atoms, positions) of each element, in every order that has the wanted numbers of atoms."""
    if sorted(n for n, _ in taken) == sorted(wanted):
        every = (order for order in permutations(taken) if tuple(n for n, _ in order) == wanted)
        yield from (tuple(places for _, places in order) for order in islice(every, _ORDERS))


def positions_taken(
    known: Crystals, index: int, group: int, symprec: float = 0.01
) -> list[tuple[int, tuple[int, ...]]] | None:
    """(atoms in the primitive cell, places in `positions_of(group)`) of each element; None where it has another group.

    Positions are told up to the choice of the origin among equal ones, which is spglib's.
    """
    mask = known.mask[index]
    cell: Any = (
        known.lattice[index].double().numpy(),
        known.frac[index][mask].double().numpy(),
        known.numbers[index][mask].numpy(),
    )
    try:
        found = spglib.get_symmetry_dataset(cell, symprec)
        if found is None or found.number != group:
            return None
        if found.hall_number != hall_of(group):
            found = spglib.get_symmetry_dataset(cell, symprec, hall_number=hall_of(group))
    except Exception:  # spglib 2.8 raises where earlier releases returned None
        return None
    if found is None:
        return None
    places: dict[int, list[int]] = {}
    species, positions = np.asarray(found.std_types), np.asarray(found.std_positions)
    for sites in _orbits(group, positions, species):
        place = place_of(group, positions[sites[0]], len(sites) // len(centring_of(group)))
        if place is None:
            return None
        places.setdefault(int(species[sites[0]]), []).append(place)
    sizes = [position.size for position in positions_of(group)]
    return [(sum(sizes[p] for p in ps), tuple(sorted(ps))) for ps in places.values()]


def _orbits(group: int, positions: np.ndarray, species: np.ndarray) -> list[list[int]]:
    """Sites of the conventional cell that the group's operations bring onto each other."""
    general = next(p for p in positions_of(group) if p.free == 3)
    left, orbits = list(range(len(positions))), []
    while left:
        images = general.rotations @ positions[left[0]] + general.shifts
        images = (images[None] + centring_of(group)[:, None]).reshape(-1, 3)
        delta = positions[left][:, None] - images
        near = (np.abs(delta - np.rint(delta)).max(-1) < _CLOSE).any(1)
        orbits.append([i for i, hit in zip(left, near, strict=True) if hit and species[i] == species[left[0]]])
        left = [i for i in left if i not in orbits[-1]]
    return orbits


def place_of(group: int, site: np.ndarray, size: int) -> int | None:
    """Which position of that size a site (3,) of the standard conventional cell lies on, None where on none.

    Of several the one with the fewest free coordinates.
    """
    fitting = [place for place, position in enumerate(positions_of(group)) if position.size == size]
    for place in sorted(fitting, key=lambda p: positions_of(group)[p].free):
        across, offset, lattice = _flats(group, place)
        delta = np.einsum("kij,kj->ki", across, site - offset)  # (size, 3)
        nearest = np.abs(delta[:, None] - lattice).max(-1).min()
        if nearest < _CLOSE:
            return place
    return None


@cache
def _flats(group: int, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points, lines or planes of a position: (what is across each (k, 3, 3), a point of each, lattice across)."""
    position: Position = positions_of(group)[place]
    directions = position.rotations @ position.directions.T  # (k, 3, free)
    across = np.eye(3) - directions @ np.linalg.pinv(directions) if position.free else np.eye(3)[None]
    across = np.broadcast_to(across, (position.size, 3, 3))
    offset = position.rotations @ position.point + position.shifts
    corners = np.array(list(product(range(-3, 4), repeat=3)))
    vectors = (centring_of(group)[:, None] + corners).reshape(-1, 3)
    lattice = np.einsum("kij,vj->kvi", across, vectors)
    return across, offset - np.floor(offset), lattice
