"""Which known structures may become a crystal of a composition, and which of their elements takes whose sites."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.templates.library import Library, count_elements, describe, formula_key, pettifor

MOST = 64  # looked at closely: a few ms; past fifty, templates have nothing more to give
OTHERS = 16  # of them of another group than the one asked for
ENERGY_SCALE = 0.1  # eV/atom that weigh as much as one place in Pettifor's order for every element
_ORDERS = 120  # assignments of elements of equal count at most
_EACH = 6  # of one template


@dataclass(frozen=True, eq=False)
class Asked:
    """A composition, and what else is known of the crystal that is wanted.

    elements, pattern: as `library.describe` gives them; natoms: in the cell; group, energy (eV/atom): None where not
    given; key: of its formula (`formula_key`)
    """

    elements: tuple[int, ...]
    pattern: tuple[int, ...]
    natoms: int
    group: int | None
    energy: float | None
    key: bytes

    @classmethod
    def of(cls, numbers: Sequence[int], group: int | None, energy: float | None) -> Asked:
        """numbers: atomic number of every site; a group of 0 and an energy that is no number are not given."""
        content = count_elements(np.array([list(numbers)]))[0]
        known = energy is not None and math.isfinite(energy)
        return cls(*describe(content), len(numbers), group or None, energy if known else None, formula_key(content))


@dataclass(frozen=True, eq=False)
class Candidates:
    """places: (K,) in the library; order: (K, E) which of the template's elements takes the place of each asked one;
    total, same: structures of the pattern and size, and those of them with the group asked for
    """

    places: np.ndarray
    order: np.ndarray
    total: int
    same: int

    def __len__(self) -> int:
        return len(self.places)


def find_candidates(library: Library, asked: Asked, without: int | None = None, most: int = MOST) -> Candidates:
    """The likeliest by the elements' places in Pettifor's order and by energy, those of the group asked for first.

    without: a formula of the library (`Library.formula`) that is left out
    """
    places = _of_size(library, asked)
    if without is not None:
        places = places[library.formula[places] != without]
    orders = _orders(asked.pattern)
    if not len(places):
        return Candidates(places, orders[:0], 0, 0)
    same = library.group[places] == asked.group if asked.group else np.zeros(len(places), dtype=bool)
    cost = distances(library, asked, places, orders)
    each = np.argsort(cost, axis=1, kind="stable")[:, :_EACH]
    which, chosen = np.repeat(np.arange(len(places)), each.shape[1]), each.ravel()
    costs = cost[which, chosen] + _gaps(library, asked, places)[which]
    ranked = np.argsort(costs, kind="stable")
    if asked.group:
        first = ranked[same[which[ranked]]]
        rest = ranked[~same[which[ranked]]][: max(OTHERS, most - len(first))]
        ranked = np.concatenate([first[: most - len(rest)], rest])
    ranked = ranked[:most]
    return Candidates(places[which[ranked]], orders[chosen[ranked]], len(places), int(same.sum()))


def distances(library: Library, asked: Asked, places: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """(K, P) mean places in Pettifor's order between elements that take each other's sites, for each assignment."""
    scale = pettifor()
    theirs = scale[library.elements[places]][:, : len(asked.elements)]
    found: np.ndarray = np.abs(theirs[:, orders] - scale[list(asked.elements)]).mean(2)
    return found


def _of_size(library: Library, asked: Asked) -> np.ndarray:
    """Places of the structures with this many atoms, else of the largest divisor with some."""
    unit = sum(asked.pattern)
    for n in range(asked.natoms, 0, -unit):
        if asked.natoms % n == 0 and (asked.pattern, n) in library.members:
            return library.members[asked.pattern, n]
    return np.zeros(0, dtype=np.int64)


def _gaps(library: Library, asked: Asked, places: np.ndarray) -> np.ndarray:
    """(K,) the gap in energy in units of `ENERGY_SCALE`; one that is unknown is as wide as the widest."""
    if asked.energy is None:
        return np.zeros(len(places))
    gap = np.abs(library.energy[places] - asked.energy) / ENERGY_SCALE
    worst = np.nanmax(gap) if np.isfinite(gap).any() else 0.0
    return np.where(np.isfinite(gap), gap, worst)


@lru_cache(maxsize=1000)
def _orders(pattern: tuple[int, ...]) -> np.ndarray:
    """(P, E) every way to assign elements of equal count; the first is the order of Pettifor on both sides."""
    alike = [[i for i, n in enumerate(pattern) if n == count] for count in dict.fromkeys(pattern)]
    ways = itertools.product(*(itertools.permutations(slots) for slots in alike))
    return np.array([sum(way, ()) for way in itertools.islice(ways, _ORDERS)])


def plain_cost(library: Library, asked: Asked, candidates: Candidates) -> np.ndarray:
    """(K,) of Pettifor's order and energy; those of another group than the one asked for come last."""
    theirs = np.take_along_axis(library.elements[candidates.places], candidates.order, 1)
    cost = np.abs(pettifor()[theirs] - pettifor()[list(asked.elements)]).mean(1)
    cost = cost + _gaps(library, asked, candidates.places)
    if asked.group and candidates.same:
        cost = cost + 1000 * (library.group[candidates.places] != asked.group)
    found: np.ndarray = cost
    return found
