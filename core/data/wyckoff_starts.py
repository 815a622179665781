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
from core.data.wyckoff import Position, centring_of, positions_of, rotations_of

Assignment = tuple[tuple[int, ...], ...]  # for each element, from the lightest, places in `positions_of(group)`

SYMPREC = 1e-3  # Å, within which a start has its group
_TRIES = 30  # ways of placing the atoms that are drawn until one has no more symmetry than the group
_DRAWS = 12  # of a way's cell and free coordinates until no two atoms are too close
_CLOSE = 0.45  # times the cube root of the volume per atom: atoms nearer than this are too close
_MOST = 3000  # ways of placing the atoms that are looked at


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
    are taken is drawn evenly from all ways that fit, or by the weights of `prior`. The group is spglib's within
    0.001 Å: ways with more symmetry than that are drawn again. Raises ValueError outside 1 to 230.
    """
    content = Counter(int(z) for z in numbers)
    elements = sorted(content)
    ways, conventional = placements(group, tuple(content[z] for z in elements))
    if not ways:
        return None
    best: tuple[float, Crystals] | None = None
    for way in _tried(group, ways, _weights(ways, prior), generator):
        for _ in range(_DRAWS):
            lattice, frac, species = _drawn(group, dict(zip(elements, way, strict=True)), conventional, generator)
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


def _tried(
    group: int, ways: Sequence[Assignment], weights: np.ndarray, generator: np.random.Generator
) -> Iterator[Assignment]:
    """Ways as they are drawn, none twice; then those with atoms on the most general positions."""
    likely = min(_TRIES, int((weights > 0).sum()))
    drawn = generator.choice(len(ways), likely, replace=False, p=weights).tolist()
    yield from (ways[i] for i in drawn)
    free = [position.free for position in positions_of(group)]
    rest = sorted(set(range(len(ways))) - set(drawn), key=lambda i: (-max(free[p] for e in ways[i] for p in e), i))
    yield from (ways[i] for i in rest[:_TRIES])


@lru_cache(maxsize=4096)
def placements(group: int, counts: tuple[int, ...]) -> tuple[tuple[Assignment, ...], bool]:
    """(the ways to place so many atoms of each element, at most 3,000; do they fill the conventional cell?).

    The primitive cell comes first. No way at all where the group cannot hold them. Raises ValueError outside 1 to 230.
    """
    points = len(centring_of(group))
    ways = _ways(group, counts)
    if ways or points == 1 or any(n % points for n in counts):
        return ways, False
    return _ways(group, tuple(n // points for n in counts)), True


def _ways(group: int, counts: tuple[int, ...]) -> tuple[Assignment, ...]:
    """Every distribution of the positions, each without a free coordinate used once; evenly thinned past a limit."""
    positions = positions_of(group)
    partial: list[tuple[Assignment, frozenset[int]]] = [((), frozenset())]
    for count in counts:
        partial = [
            ((*before, choice), used | {place for place in choice if not positions[place].free})
            for before, used in partial
            for choice in _choices(group, count)
            if used.isdisjoint(place for place in choice if not positions[place].free)
        ]
        if len(partial) > _MOST:
            partial = partial[:: -(-len(partial) // _MOST)]
    return tuple(way for way, _ in partial)


@cache
def _choices(group: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Every multiset of positions with so many sites together, the fixed ones at most once; thinned past a limit."""
    positions = positions_of(group)
    found: list[list[tuple[int, ...]]] = [[()], *([] for _ in range(count))]  # by sites filled
    for place, position in enumerate(positions):
        before = [list(ways) for ways in found] if not position.free else found
        for filled in range(position.size, count + 1):
            grown = found[filled] + [(*way, place) for way in before[filled - position.size]]
            found[filled] = grown if len(grown) <= _MOST else grown[:: -(-len(grown) // _MOST)]
    return tuple(found[count])


def _weights(ways: Sequence[Assignment], prior: Mapping[Assignment, float] | None) -> np.ndarray:
    """(ways,) probabilities; even where the prior knows none of them."""
    known = np.array([prior.get(way, 0.0) if prior else 0.0 for way in ways])
    return known / known.sum() if known.sum() > 0 else np.full(len(ways), 1 / len(ways))


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
