"""Templates of another stoichiometry: structures of the group asked for whose orbits are shared out to other elements.

A spinel is found in Fe3O4, an ordered double perovskite in a simple one: sites that symmetry makes equal stay of one
element, so that the group stays at least what it was. The cheapest way is taken, by places in Pettifor's order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from core.crystals import Crystals
from core.data.symmetry import orbits
from core.templates.candidates import Asked
from core.templates.library import Library, pettifor

LOOKED = 24  # structures whose orbits are looked at
KEPT = 2  # ways to share out the orbits of one
_STATES = 400  # ways kept while they are searched
_ORBITS = 24  # of a structure at most


@dataclass(frozen=True, eq=False)
class Regrouped:
    """places: (K,) in the library; numbers: K of (N,) atomic numbers of its sites; cost: (K,) mean places in Pettifor's
    order between the elements of a site, rising
    """

    places: np.ndarray
    numbers: list[np.ndarray]
    cost: np.ndarray

    def __len__(self) -> int:
        return len(self.places)


def regroup(library: Library, asked: Asked, most: int, without: int | None = None) -> Regrouped:
    """The cheapest `most`, of structures that have the group and the number of atoms asked for; none without a group.

    without: a formula of the library that is left out
    """
    places = _of_group(library, asked, without)
    found: list[tuple[float, int, np.ndarray]] = []
    if len(places):
        crystals = library.structures[library.rows[torch.from_numpy(places)]]
        for i, place in enumerate(places.tolist()):
            numbers = crystals.numbers[i].numpy()
            orbit = orbits(crystals, i, int(library.group[place]))
            if orbit is not None and orbit.max() < _ORBITS:
                found += [(cost, place, new) for cost, new in share_out(numbers, orbit, asked)]
    found.sort(key=lambda one: one[0])
    return Regrouped(
        np.array([f[1] for f in found[:most]], dtype=np.int64),
        [f[2] for f in found[:most]],
        np.array([f[0] for f in found[:most]]),
    )


def share_out(numbers: np.ndarray, orbit: np.ndarray, asked: Asked) -> list[tuple[float, np.ndarray]]:
    """The cheapest ways to give whole orbits to the elements asked for, with the right number of atoms of each.

    numbers, orbit: (N,) element and orbit (0, 1, …) of each site

    Returns up to `KEPT` of (mean cost, (N,) new elements).
    """
    scale = pettifor()
    units = asked.natoms // sum(asked.pattern)
    sizes = np.bincount(orbit)
    old = numbers[np.unique(orbit, return_index=True)[1]]
    costs = np.abs(scale[old][:, None] - scale[list(asked.elements)]) * sizes[:, None]
    ways: list[tuple[float, tuple[int, ...], tuple[int, ...]]] = [(0.0, tuple(n * units for n in asked.pattern), ())]
    order = np.argsort(-sizes, kind="stable")
    for k in order.tolist():
        size = int(sizes[k])
        longer = [
            (cost + float(costs[k, e]), (*left[:e], left[e] - size, *left[e + 1 :]), (*given, e))
            for cost, left, given in ways
            for e in range(len(left))
            if left[e] >= size
        ]
        ways = sorted(longer)[:_STATES]
    found = []
    for cost, _, given in ways[:KEPT]:
        new = np.zeros(len(sizes), dtype=np.int64)
        new[order] = np.array(asked.elements)[list(given)]
        found.append((cost / len(numbers), new[orbit]))
    return found


def _of_group(library: Library, asked: Asked, without: int | None) -> np.ndarray:
    """Structures of the group and number of atoms asked for, those whose composition is nearest first."""
    if not asked.group or asked.group == 1:
        return np.zeros(0, dtype=np.int64)
    places = np.flatnonzero((library.group == asked.group) & (library.natoms == asked.natoms))
    if without is not None:
        places = places[library.formula[places] != without]
    wanted = np.sort(np.repeat(pettifor()[list(asked.elements)], np.array(asked.pattern)))
    wanted = np.repeat(wanted, asked.natoms // len(wanted))
    have = np.array([_sites(library, place, asked.natoms) for place in places.tolist()]).reshape(-1, asked.natoms)
    least = np.abs(have - wanted).mean(1)  # no way to share out orbits costs less
    nearest: np.ndarray = places[np.argsort(least, kind="stable")[:LOOKED]]
    return nearest


def _sites(library: Library, place: int, natoms: int) -> np.ndarray:
    """(N,) places of the atoms in Pettifor's order, rising."""
    counts = library.counts[place]
    found: np.ndarray = np.sort(np.repeat(pettifor()[library.elements[place]], counts))
    return found


def regrouped_crystals(library: Library, found: Regrouped) -> list[Crystals]:
    """Each as a crystal, float64, scaled in volume by fitted atomic volumes."""
    crystals = []
    for place, new in zip(found.places.tolist(), found.numbers, strict=True):
        crystal = library.structures[library.rows[[place]]].to(dtype=torch.float64).trim()
        before, after = library.volumes[crystal.numbers[0].numpy()].sum(), library.volumes[new].sum()
        lattice = crystal.lattice * float(after / before) ** (1 / 3)
        crystals.append(Crystals(crystal.frac, lattice, torch.from_numpy(new)[None], crystal.group, crystal.energy))
    return crystals
