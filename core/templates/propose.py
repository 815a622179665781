"""Known structures with their elements exchanged, the likeliest first (`substitution:DATASET`).

Candidates have the target's stoichiometry pattern and its number of atoms (else a divisor of it), and its space group
where it is given and there is one. The nearest is taken by the elements' places in Pettifor's order (the Mendeleev
number; Pettifor, Solid State Commun. 51, 31, 1984) and by energy. Its volume is scaled by fitted atomic volumes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from core.crystals import Crystals, concatenate
from core.templates.library import KINDS, Library, count_elements, describe, pettifor

ENERGY_SCALE = 0.1  # eV/atom that weigh as much as one place in Pettifor's order for every element
HALF = 10.0  # places in Pettifor's order at which confidence is one half


@dataclass(frozen=True, eq=False)
class Proposals:
    """Crystals of one composition, the likeliest first; there may be none.

    crystals: K of them, float64, with their template's space group and energy (eV/atom)
    confidence: (K,) in [0, 1], falling
    rows: (K,) int64 of the library's structures: the templates
    """

    crystals: Crystals
    confidence: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def propose(
    library: Library, numbers: Sequence[int], group: int | None, energy: float | None, count: int = 1
) -> Proposals:
    """Up to `count` crystals of this cell content; fewer where fewer are known.

    numbers: atomic number of every site; group, energy (eV/atom): None where not given
    """
    content = count_elements(np.array([list(numbers)]))[0]
    elements, pattern = describe(content)
    natoms = len(numbers)
    places = _candidates(library, pattern, natoms, group)
    distance = _distance(library, places, elements, energy)
    order = np.argsort(distance, kind="stable")[:count]
    nearest = places[order]
    rows = library.rows[torch.from_numpy(nearest)]
    if not len(rows):
        return Proposals(_nothing(natoms), np.zeros(0), np.zeros(0, dtype=np.int64))
    found = library.structures[rows].to(dtype=torch.float64)
    crystals = concatenate(
        [
            _exchanged(found[[i]], library.elements[place], elements, natoms, library.volumes)
            for i, place in enumerate(nearest.tolist())
        ]
    )
    return Proposals(crystals, HALF / (HALF + distance[order]), rows.numpy())


def _nothing(natoms: int) -> Crystals:
    """No crystal at all."""
    frac, lattice = torch.zeros(0, natoms, 3, dtype=torch.float64), torch.zeros(0, 3, 3, dtype=torch.float64)
    whole = torch.zeros(0, dtype=torch.int64)
    return Crystals(
        frac, lattice, torch.zeros(0, natoms, dtype=torch.int64), whole, torch.zeros(0, dtype=torch.float64)
    )


def _candidates(library: Library, pattern: tuple[int, ...], natoms: int, group: int | None) -> np.ndarray:
    """Places of the structures to choose from: of this size, else of the largest divisor, of the group if any is."""
    unit = sum(pattern)
    sizes = [n for n in range(natoms, 0, -unit) if natoms % n == 0]
    known = [library.members[pattern, n] for n in sizes if (pattern, n) in library.members]
    if group:
        for places in known:
            same = places[library.group[places] == group]
            if len(same):
                return same
    return known[0] if known else np.zeros(0, dtype=np.int64)


def _distance(library: Library, places: np.ndarray, elements: tuple[int, ...], energy: float | None) -> np.ndarray:
    """(K,) mean places in Pettifor's order between elements that take each other's sites, and the gap in energy.

    Elements of one count stand in Pettifor's order on both sides, which is their assignment of least cost.
    """
    order = pettifor()
    theirs, mine = order[library.elements[places][:, : len(elements)]], order[list(elements)]
    distance: np.ndarray = np.abs(theirs - mine).mean(1)
    if energy is not None and math.isfinite(energy):
        gap = np.abs(library.energy[places] - energy) / ENERGY_SCALE
        worst = np.nanmax(gap) if np.isfinite(gap).any() else 0.0
        distance = distance + np.where(np.isfinite(gap), gap, worst)
    return distance


def _exchanged(crystal: Crystals, old: np.ndarray, new: tuple[int, ...], natoms: int, volumes: np.ndarray) -> Crystals:
    """One crystal with its elements exchanged, repeated to `natoms` sites and scaled in volume."""
    crystal = _repeated(crystal.trim(), natoms)
    table = torch.zeros(KINDS, dtype=torch.int64)
    table[torch.from_numpy(old[: len(new)])] = torch.tensor(new)
    numbers = table[crystal.numbers]
    before, after = (float(volumes[n.numpy()].sum()) for n in (crystal.numbers, numbers))
    lattice = crystal.lattice * (after / before) ** (1 / 3)
    return Crystals(crystal.frac, lattice, numbers, crystal.group, crystal.energy)


def _repeated(crystal: Crystals, natoms: int) -> Crystals:
    """The cell side by side along its shortest edge until it holds so many sites."""
    times = natoms // crystal.numbers.shape[1]
    if times == 1:
        return crystal
    axis = int(crystal.lattice[0].norm(dim=1).argmin())
    frac = crystal.frac.repeat(1, times, 1)
    steps = torch.arange(times, dtype=frac.dtype).repeat_interleave(crystal.numbers.shape[1])
    frac[0, :, axis] = (frac[0, :, axis] + steps) / times
    lattice = crystal.lattice.clone()
    lattice[0, axis] *= times
    return Crystals(frac, lattice, crystal.numbers.repeat(1, times), crystal.group, crystal.energy)
