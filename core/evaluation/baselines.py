"""What a model must beat: the nearest known structure with its elements exchanged (`substitution`).

Candidates have the target's stoichiometry pattern and its number of atoms (else a divisor of it), and its space group
where it is given and there is one. The nearest is taken by the elements' places in Pettifor's order (the Mendeleev
number; Pettifor, Solid State Commun. 51, 31, 1984) and by energy. Its volume is scaled by fitted atomic volumes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from pymatgen.core import Element

from core.crystals import Crystals
from core.training.data import Structures

ENERGY_SCALE = 0.1  # eV/atom that weigh as much as one place in Pettifor's order for every element
_CHUNK = 20_000
_KINDS = 119
_RIDGE = 1e-3  # atoms' worth of the mean volume, for elements that are not there


@dataclass(frozen=True, eq=False)
class Library:
    """Known structures, by pattern and number of atoms.

    structures: where they are taken from; rows: (M,) of them
    members: {(counts per formula unit, rising; atoms in the cell): (K,) places in `rows`}
    elements: (M, E) atomic numbers by rising count and then place in Pettifor's order, 0 at padding
    group: (M,) 0 where unknown; energy: (M,) eV/atom, NaN where unknown
    volumes: (119,) fitted Å³ of an atom of each element
    """

    structures: Structures
    rows: torch.Tensor
    members: dict[tuple[tuple[int, ...], int], np.ndarray]
    elements: np.ndarray
    group: np.ndarray
    energy: np.ndarray
    volumes: np.ndarray


def build_library(structures: Structures, rows: torch.Tensor) -> Library:
    """Look at every structure of `rows` once. Raises ValueError for none."""
    if not len(rows):
        raise ValueError("There is no structure to substitute elements in.")
    counts, groups, energies, volumes = [], [], [], []
    for part in rows.split(_CHUNK):
        crystals = structures[part]
        counts.append(count_elements(crystals.numbers.numpy()).astype(np.uint16))
        groups.append(crystals.group.numpy())
        energies.append(crystals.energy.double().numpy())
        volumes.append(crystals.volume.double().numpy())
    count, volume = np.concatenate(counts), np.concatenate(volumes)
    contents, which = np.unique(count, axis=0, return_inverse=True)
    described = [describe(c) for c in contents]
    width = max(len(elements) for elements, _ in described)
    padded = np.array([elements + (0,) * (width - len(elements)) for elements, _ in described])
    members: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for place, content in enumerate(which.ravel().tolist()):
        members.setdefault((described[content][1], int(contents[content].sum())), []).append(place)
    return Library(
        structures,
        rows,
        {key: np.array(places) for key, places in members.items()},
        padded[which.ravel()],
        np.concatenate(groups),
        np.concatenate(energies),
        fit_volumes(count, volume),
    )


def substitute(
    library: Library, numbers: Sequence[int], group: int | None, energy: float | None, count: int = 1
) -> list[Crystals]:
    """Up to `count` crystals of this cell content, the nearest first; fewer where fewer are known.

    numbers: atomic number of every site; group, energy (eV/atom): None where not given
    """
    content = count_elements(np.array([list(numbers)]))[0]
    elements, pattern = describe(content)
    natoms = len(numbers)
    places = _candidates(library, pattern, natoms, group)
    if not len(places):
        return []
    order = np.argsort(_distance(library, places, elements, energy), kind="stable")[:count]
    nearest = places[order]
    found = library.structures[library.rows[torch.from_numpy(nearest)]]
    return [
        _exchanged(found[[i]], library.elements[place], elements, natoms, library.volumes)
        for i, place in enumerate(nearest.tolist())
    ]


def count_elements(numbers: np.ndarray) -> np.ndarray:
    """(B, N) atomic numbers, 0 at padding -> (B, 119) atoms of each element."""
    counts: np.ndarray = np.zeros((len(numbers), _KINDS), dtype=np.int64)
    np.add.at(counts, (np.arange(len(numbers))[:, None], numbers), 1)
    counts[:, 0] = 0
    return counts


def describe(content: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(119,) atoms of each element -> elements by rising count and Pettifor place, and the counts per formula unit."""
    kinds = np.flatnonzero(content).tolist()
    divisor = math.gcd(*content[kinds].tolist())
    kinds.sort(key=lambda z: (content[z], pettifor()[z]))
    return tuple(kinds), tuple(int(content[z]) // divisor for z in kinds)


@lru_cache(maxsize=1)
def pettifor() -> np.ndarray:
    """(119,) place of each atomic number in Pettifor's order, 0 at 0."""
    places = np.zeros(_KINDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those behind lawrencium have no place: their atomic number is taken
        for z in range(1, _KINDS):
            place = Element.from_Z(z).mendeleev_no
            places[z] = place if place is not None and math.isfinite(place) else z
    return places


def fit_volumes(counts: np.ndarray, volumes: np.ndarray) -> np.ndarray:
    """(119,) Å³ per atom by least squares over cells (M, 119) of volumes (M,) Å³, each weighed by its number of atoms.

    Elements that are not there have the mean; none is smaller than a fifth of that.
    """
    natoms = counts.sum(1)
    good = np.isfinite(volumes) & (natoms > 0)
    shares, wanted = counts[good] / natoms[good, None], volumes[good] / natoms[good]
    mean = float(wanted.mean()) if len(wanted) else 15.0
    normal = shares.T @ shares + _RIDGE * np.eye(_KINDS)
    fitted: np.ndarray = mean + np.linalg.solve(normal, shares.T @ (wanted - mean))
    return np.maximum(fitted, mean / 5)


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
    table = torch.zeros(_KINDS, dtype=torch.int64)
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
