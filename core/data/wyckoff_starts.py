"""Random crystals that have a space group: atoms on Wyckoff positions that fit a composition, in a random cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

import numpy as np
import spglib
import torch

from core.crystals import Crystals, wrap
from core.data.encoding import SPREAD, VOLUME_PER_ATOM
from core.data.symmetry import detect_group
from core.data.wyckoff import Position, centring_of, fits, positions_of, rotations_of, sites_of

Assignment = tuple[tuple[int, ...], ...]  # for each element, from the lightest, places in `positions_of(group)`

SYMPREC = 1e-3  # Å, within which a start has its group
_TRIES = 30  # ways of placing the atoms that are drawn until one has no more symmetry than the group
_DRAWS = 12  # of a way's cell and free coordinates until no two atoms are too close
_CLOSE = 0.45  # times the cube root of the volume per atom: atoms nearer than this are too close
_GENERAL = 1e6  # the weight of the most general position, where other ways have too much symmetry


@dataclass(frozen=True)
class _Setting:
    """cell: (3, 3) rows a, b, c in edges of the conventional cell; points: (k, 3) lattice points of that cell in it."""

    cell: np.ndarray
    points: np.ndarray


def random_start(
    numbers: Sequence[int], group: int, generator: np.random.Generator, prior: Mapping[Assignment, float] | None = None
) -> Crystals | None:
    """One random crystal with these atomic numbers, in this order, that has the group; None where none was found.

    The cell is the primitive one, or the conventional one where only that has room; Niggli-reduced, its shape as
    random as the flow's source within what the group leaves, its volume around that of average atoms. Which positions
    are taken is drawn by the weights of `prior` where there is one, then from all ways that fit. The group is spglib's
    within 0.001 Å: ways with more symmetry than that are drawn again. Raises ValueError outside 1 to 230.
    """
    content = Counter(int(z) for z in numbers)
    elements = sorted(content)
    points = points_filled(group, tuple(content[z] for z in elements))
    if not points:
        return None
    counts = tuple(content[z] // points for z in elements)
    best: tuple[float, Crystals] | None = None
    for way in _tried(group, counts, prior, generator):
        for _ in range(_DRAWS):
            lattice, frac, species = _drawn(group, dict(zip(elements, way, strict=True)), points > 1, generator)
            distance = _shortest(lattice, frac) / (abs(np.linalg.det(lattice)) / len(frac)) ** (1 / 3)
            if best is not None and distance <= best[0]:
                continue
            crystal = _in_order(lattice, frac, species, numbers, group)
            if detect_group(crystal, 0, SYMPREC) != group:
                break  # what this way leaves free cannot break what is too much
            best = distance, crystal
            if distance >= _CLOSE:
                return crystal
        if best is not None:
            break
    return best[1] if best else None


def points_filled(group: int, counts: tuple[int, ...]) -> int:
    """How many lattice points a cell with so many atoms of each element has: 1, or all of the conventional cell.

    0 where neither can have the group. Raises ValueError outside 1 to 230.
    """
    sites, points = sites_of(group), len(centring_of(group))
    for several in (1, points):
        if not any(n % several for n in counts):
            left = tuple(sorted(n // several for n in counts))
            if fits(left, sites.fixed, sites.free):
                return several
    return 0


def _tried(
    group: int, counts: tuple[int, ...], prior: Mapping[Assignment, float] | None, generator: np.random.Generator
) -> Iterator[Assignment]:
    """Ways by the prior, then any, then such as have atoms on the most general positions; none twice."""
    seen: set[Assignment] = set()
    if prior:
        ways = [way for way in prior if _filled(group, way) == counts and prior[way] > 0]
        weights = np.array([prior[way] for way in ways])
        order: Sequence[int] = (
            generator.choice(len(ways), len(ways), replace=False, p=weights / weights.sum()).tolist() if ways else ()
        )
        for i in order[:_TRIES]:
            seen.add(ways[i])
            yield ways[i]
    for general in (1.0, _GENERAL):
        for _ in range(_TRIES):
            way = _any_way(group, counts, general, generator)
            if way is not None and way not in seen:
                seen.add(way)
                yield way


def _filled(group: int, way: Assignment) -> tuple[int, ...]:
    positions = positions_of(group)
    return tuple(sum(positions[place].size for place in places) for places in way)


def _any_way(group: int, counts: tuple[int, ...], general: float, generator: np.random.Generator) -> Assignment | None:
    """Element by element one of the ways that are left; None where that came to nothing."""
    positions, used = positions_of(group), frozenset[int]()
    way: list[tuple[int, ...]] = []
    for count in counts:
        table = _table(group, used, count, general)
        if not table[0][count]:
            return None
        places: list[int] = []
        for place, position in enumerate(positions):
            left = count - sum(positions[p].size for p in places)
            while generator.random() * table[place][left] >= table[place + 1][left]:
                places.append(place)
                left -= position.size
                if not position.free:
                    break
        used |= {place for place in places if not positions[place].free}
        way.append(tuple(places))
    return tuple(way)


@lru_cache(maxsize=4096)
def _table(group: int, used: frozenset[int], count: int, general: float) -> tuple[tuple[float, ...], ...]:
    """(positions + 1, count + 1) how many ways there are to fill so many sites from a position on.

    used: positions without a free coordinate that are taken; general: the weight of the most general position
    """
    rows = [[1.0] + [0.0] * count]
    for place, position in reversed(list(enumerate(positions_of(group)))):
        after, row = rows[-1], list(rows[-1])
        weight = general if position.free == 3 else 1.0
        for n in range(position.size, count + 1):
            row[n] += weight * (row if position.free else after)[n - position.size] * (place not in used)
        rows.append(row)
    return tuple(tuple(row) for row in reversed(rows))


def _drawn(
    group: int, way: Mapping[int, tuple[int, ...]], conventional: bool, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lattice (3, 3) Å, frac (n, 3), atomic numbers (n,)) with random free coordinates in a random cell."""
    positions = positions_of(group)
    placed = [(z, positions[place]) for z, places in way.items() for place in places]
    species = np.concatenate([np.full(p.size, z) for z, p in placed])
    orbits = np.concatenate([_orbit(p, generator) for _, p in placed])
    setting = _conventional(group) if conventional else _primitive(group)
    sites = (orbits[None] + setting.points[:, None]).reshape(-1, 3) @ np.linalg.inv(setting.cell)
    species = np.tile(species, len(setting.points))
    lattice = setting.cell @ _random_cell(group, len(sites) / abs(np.linalg.det(setting.cell)), generator)
    if not conventional:
        reduced = spglib.niggli_reduce(lattice)
        if reduced is not None:
            sites, lattice = sites @ np.rint(lattice @ np.linalg.inv(reduced)), np.asarray(reduced)
    return lattice, sites - np.floor(sites), species


def _orbit(position: Position, generator: np.random.Generator) -> np.ndarray:
    return position.orbit(generator.random(position.free))


def _random_cell(group: int, natoms: float, generator: np.random.Generator) -> np.ndarray:
    """(3, 3) a conventional cell of so many atoms: the flow's source, as far as the group leaves it (Å).

    As in `core.samplers.symmetry`: in G = B exp(2T) Bᵀ the averages over the group are linear in T.
    """
    rotations = rotations_of(group).astype(float)
    values, vectors = np.linalg.eigh((rotations.transpose(0, 2, 1) @ rotations).mean(0))
    values = np.sqrt(values / np.prod(values) ** (1 / 3))
    basis, inverse = (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
    noise = generator.standard_normal((3, 3))
    noise = np.triu(noise) + np.triu(noise, 1).T
    turns = basis @ rotations @ inverse
    even = (turns.transpose(0, 2, 1) @ noise @ turns).mean(0)
    values, vectors = np.linalg.eigh(SPREAD * even)
    length = (natoms * VOLUME_PER_ATOM) ** (1 / 3)
    return np.asarray(length * basis @ (vectors * np.exp(values)) @ vectors.T)


@cache
def _primitive(group: int) -> _Setting:
    """The three shortest vectors of the centred lattice that span it."""
    corners = np.array(list(product((-1, 0, 1), repeat=3)))
    vectors = (centring_of(group)[:, None] + corners).reshape(-1, 3)
    vectors = vectors[np.argsort((vectors**2).sum(1), kind="stable")][1:]
    volume = 1 / len(centring_of(group))
    basis: list[np.ndarray] = []
    for size in (1, 2, 3):
        for vector in vectors:
            trial = np.array([*basis, vector])
            if np.linalg.matrix_rank(trial, tol=1e-6) == size and (
                size < 3 or abs(abs(np.linalg.det(trial)) - volume) < 1e-6
            ):
                basis.append(vector)
                break
    cell = np.array(basis)
    return _Setting(cell if np.linalg.det(cell) > 0 else -cell, np.zeros((1, 3)))


@cache
def _conventional(group: int) -> _Setting:
    return _Setting(np.eye(3), centring_of(group))


def _in_order(
    lattice: np.ndarray, frac: np.ndarray, species: np.ndarray, numbers: Sequence[int], group: int
) -> Crystals:
    """The crystal with its atoms in the order of `numbers`."""
    wanted = np.array([int(z) for z in numbers])
    order = np.empty(len(wanted), int)
    order[np.argsort(wanted, kind="stable")] = np.argsort(species, kind="stable")
    return Crystals(
        wrap(torch.from_numpy(frac[order]))[None],
        torch.from_numpy(np.ascontiguousarray(lattice))[None],
        torch.from_numpy(wanted)[None],
        torch.tensor([group]),
        torch.full((1,), torch.nan, dtype=torch.float64),
    )


def _shortest(lattice: np.ndarray, frac: np.ndarray) -> float:
    """Å between two atoms, images in the next cells looked at."""
    images = np.array(list(product((-1, 0, 1), repeat=3)))
    delta = frac[:, None] - frac
    delta = (delta - np.rint(delta))[:, :, None] + images
    distance = np.linalg.norm(delta @ lattice, axis=-1)
    distance[distance < 1e-9] = np.inf  # itself
    return float(distance.min())
