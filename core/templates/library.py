"""Known structures by stoichiometry pattern and size, and the volume of an atom of each element among them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from pymatgen.core import Element

from core.templates.fingerprint import fingerprints
from core.training.data import Structures

_CHUNK = 20_000
KINDS = 119
_RIDGE = 1e-3  # atoms' worth of the mean volume, for elements that are not there

Mark = tuple[np.ndarray, np.ndarray]  # (E, NEAREST), (E, E, OWN): what `fingerprints` gives


@dataclass(frozen=True, eq=False)
class Library:
    """M known structures, by pattern and number of atoms.

    structures: where they are taken from; rows: (M,) of them
    members: {(counts per formula unit, rising; atoms in the cell): (K,) places in `rows`}
    elements: (M, E) atomic numbers by rising count and then place in Pettifor's order, 0 at padding
    counts: (M, E) atoms of each; natoms: (M,)
    formula: (M,) int64, the same for structures of one reduced formula; formulas: {its key (`formula_key`): it}
    group: (M,) 0 where unknown; energy: (M,) eV/atom, NaN where unknown; volume: (M,) Å³ per atom
    above: (M,) eV/atom above the lowest of its formula here, NaN where unknown; polymorphs: (M,) of its formula here
    volumes: (119,) fitted Å³ of an atom of each element
    """

    structures: Structures
    rows: torch.Tensor
    members: dict[tuple[tuple[int, ...], int], np.ndarray]
    elements: np.ndarray
    counts: np.ndarray
    natoms: np.ndarray
    formula: np.ndarray
    formulas: dict[bytes, int]
    group: np.ndarray
    energy: np.ndarray
    volume: np.ndarray
    above: np.ndarray
    polymorphs: np.ndarray
    volumes: np.ndarray
    _marks: dict[int, Mark] = field(default_factory=dict, repr=False)

    def marks(self, places: np.ndarray) -> list[Mark]:
        """Fingerprints of these structures, remembered; slots are the columns of `elements`."""
        new = np.array([p for p in dict.fromkeys(places.tolist()) if p not in self._marks], dtype=np.int64)
        if len(new):
            crystals = self.structures[self.rows[torch.from_numpy(new)]].trim()
            elements = torch.from_numpy(self.elements[new])
            slots = (crystals.numbers[:, :, None] == elements[:, None]).int().argmax(2)
            around, between = fingerprints(crystals, slots, self.elements.shape[1])
            kinds = (self.elements[new] > 0).sum(1)
            for i, (place, e) in enumerate(zip(new.tolist(), kinds.tolist(), strict=True)):
                self._marks[place] = around[i, :e].numpy(), between[i, :e, :e].numpy()
        return [self._marks[p] for p in places.tolist()]


def build_library(structures: Structures, rows: torch.Tensor) -> Library:
    """Look at every structure of `rows` once (about 2 s for 56,000). Raises ValueError for none."""
    if not len(rows):
        raise ValueError("There is no structure to substitute elements in.")
    counts, groups, energies, volumes = [], [], [], []
    for part in rows.split(_CHUNK):
        crystals = structures[part]
        counts.append(count_elements(crystals.numbers.numpy()).astype(np.uint16))
        groups.append(crystals.group.numpy())
        energies.append(crystals.energy.double().numpy())
        volumes.append(crystals.volume.double().numpy())
    count, volume, energy = np.concatenate(counts), np.concatenate(volumes), np.concatenate(energies)
    contents, which = np.unique(count, axis=0, return_inverse=True)
    which = which.ravel()
    described = [describe(c) for c in contents]
    width = max(len(elements) for elements, _ in described)
    padded = np.array([elements + (0,) * (width - len(elements)) for elements, _ in described])
    members: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for place, content in enumerate(which.tolist()):
        members.setdefault((described[content][1], int(contents[content].sum())), []).append(place)
    formulas: dict[bytes, int] = {}
    own = [formulas.setdefault(formula_key(c), len(formulas)) for c in contents]
    formula = np.array(own)[which]
    lowest = np.full(len(formulas), np.inf)
    np.fmin.at(lowest, formula, energy)
    return Library(
        structures,
        rows,
        {key: np.array(places) for key, places in members.items()},
        padded[which],
        np.take_along_axis(contents, padded, 1).astype(np.int64)[which],
        count.sum(1),
        formula,
        formulas,
        np.concatenate(groups),
        energy,
        volume / count.sum(1),
        np.where(np.isfinite(energy), energy - lowest[formula], np.nan),
        np.bincount(formula)[formula],
        fit_volumes(count, volume),
    )


def count_elements(numbers: np.ndarray) -> np.ndarray:
    """(B, N) atomic numbers, 0 at padding -> (B, 119) atoms of each element."""
    counts: np.ndarray = np.zeros((len(numbers), KINDS), dtype=np.int64)
    np.add.at(counts, (np.arange(len(numbers))[:, None], numbers), 1)
    counts[:, 0] = 0
    return counts


def describe(content: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(119,) atoms of each element -> elements by rising count and Pettifor place, and the counts per formula unit."""
    kinds = np.flatnonzero(content).tolist()
    divisor = math.gcd(*content[kinds].tolist())
    kinds.sort(key=lambda z: (content[z], pettifor()[z]))
    return tuple(kinds), tuple(int(content[z]) // divisor for z in kinds)


def formula_key(content: np.ndarray) -> bytes:
    """(119,) atoms of each element -> the same for every cell of one reduced formula."""
    counts = content.astype(np.uint16)
    return bytes((counts // np.gcd.reduce(counts[counts > 0])).tobytes())


@lru_cache(maxsize=1)
def pettifor() -> np.ndarray:
    """(119,) place of each atomic number in Pettifor's order, 0 at 0."""
    places = np.zeros(KINDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those behind lawrencium have no place: their atomic number is taken
        for z in range(1, KINDS):
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
    normal = shares.T @ shares + _RIDGE * np.eye(KINDS)
    fitted: np.ndarray = mean + np.linalg.solve(normal, shares.T @ (wanted - mean))
    return np.maximum(fitted, mean / 5)
