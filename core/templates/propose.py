"""Known structures with their elements exchanged, the likeliest first (`substitution:DATASET`).

Candidates (`candidates`) have the target's stoichiometry pattern and its number of atoms, else a divisor of it; the
ranker (`ranker`) says how likely each is to be the crystal asked for. Without its file the nearest in Pettifor's order
(the Mendeleev number; Pettifor, Solid State Commun. 51, 31, 1984) comes first. Volumes are scaled by fitted atomic
ones; no matcher sees that, since it scales them too.

Measured on held-out formulas of mp_polymorphs, the first and the best of five by the paper's matcher: with composition,
group and energy given 79.4 and 85.2 % by plain distance, 81.6 and 86.8 % by the ranker (500 structures of 4 to 20
atoms); 55.3 and 62.7, 63.3 and 66.7 % (150 of 21 to 60). Of composition alone 69.8 and 82.4, 72.6 and 84.2 %; 48.7 and
60.7, 56.7 and 64.0 %. Shared-out orbits (`regroup`) are 0.7 points of that up to 20 atoms and 1.3 above. No template of
the pattern matches for about a tenth of the structures up to 20 atoms and four tenths above.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import torch

from core.crystals import Crystals, concatenate
from core.templates.candidates import Asked, Candidates, find_candidates, plain_cost
from core.templates.features import exchanged, likeness
from core.templates.library import KINDS, Library
from core.templates.ranker import Ranker, score, shipped
from core.templates.regroup import regroup, regrouped_crystals

HALF = 10.0  # places in Pettifor's order at which confidence is one half, without a ranker
REGROUPED, SHARED_HALF = 0.8, 3.0  # confidence of a regrouped template at no cost, and the cost at which it halves
KNOWN = 0.95  # confidence of a structure of the formula itself with the group and energy asked for
ALONE = 0.1  # of what is left of confidence where there is only the formula itself: on carbon_24 7 % are right
OTHER = 0.02  # of what is left of confidence in another group than the one asked for: it costs no match
CLOSE = 0.02  # eV/atom that are the same energy
SAME = 0.98  # likeness of one template with itself, its elements exchanged in ways that are the same


@dataclass(frozen=True, eq=False)
class Proposals:
    """Crystals of one composition, the likeliest first; there may be none.

    crystals: K of them, float64, with their template's space group and energy (eV/atom)
    confidence: (K,) in [0, 1], falling: how likely this one is the crystal asked for and none before it is
    rows: (K,) int64 of the library's structures: the templates; -1 for the structure that is modified
    how: what was done with each where that is not that its elements were exchanged; () for none
    """

    crystals: Crystals
    confidence: np.ndarray
    rows: np.ndarray
    how: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: np.ndarray) -> Proposals:
        how = tuple(self.how[i] for i in places.tolist()) if self.how else ()
        return Proposals(self.crystals[places], self.confidence[places], self.rows[places], how)


def joined(one: Proposals, other: Proposals) -> Proposals:
    """Both, the likeliest first."""
    confidence = np.concatenate([one.confidence, other.confidence])
    how = (*(one.how or ("",) * len(one)), *(other.how or ("",) * len(other)))
    rows = np.concatenate([one.rows, other.rows])
    both = Proposals(concatenate([one.crystals, other.crystals]), confidence, rows, how)
    return both[np.argsort(-confidence, kind="stable")]


def propose(
    library: Library,
    numbers: Sequence[int],
    group: int | None,
    energy: float | None,
    count: int = 1,
    ranker: Ranker | None = None,
) -> Proposals:
    """Up to `count` crystals of this cell content; fewer where fewer are known.

    What the library has of the formula itself comes first where it has the group and the energy asked for. By
    composition alone it is known, and no proposal unless there is nothing else.

    numbers: atomic number of every site; group, energy (eV/atom): None where not given; ranker: the shipped one where
    none is given
    """
    asked = Asked.of(numbers, group, energy)
    own = library.formulas.get(asked.key)
    known = known_ones(library, asked, own)
    candidates = find_candidates(library, asked, own)
    alone = not len(candidates)
    if alone:
        known, candidates = candidates, find_candidates(library, asked)
    chosen, confidence = choose(library, asked, candidates, count, ranker or shipped())
    confidence = confidence * (ALONE if alone else 1)
    crystals = [built(library, asked, known, np.arange(len(known))), built(library, asked, candidates, chosen)]
    places = [known.places, candidates.places[chosen]]
    sure = [KNOWN * (1 - KNOWN) ** np.arange(len(known)), confidence * (1 - KNOWN) ** len(known)]
    if asked.group and not candidates.same and not len(known):  # else they are worth nothing
        other = regroup(library, asked, count, own)
        crystals += regrouped_crystals(library, other)
        places.append(other.places)
        sure.append(REGROUPED / (1 + (other.cost / SHARED_HALF) ** 2))
    order = np.argsort(-np.concatenate(sure), kind="stable")[:count]
    rows = library.rows[torch.from_numpy(np.concatenate(places)[order])]
    return Proposals(concatenate(crystals)[order], np.concatenate(sure)[order], rows.numpy())


def propose_parts(
    library: Library, numbers: Sequence[int], group: int | None, energy: float | None, count: int = 1
) -> Proposals:
    """The same where the content may be that of a supercell: templates of every whole part of it, repeated.

    What a modification asks for is such a content: start and target stand in one cell, which neither may need.
    """
    content = Counter(numbers)
    pattern, common = Asked.of(numbers, None, None).pattern, gcd(*content.values())
    sizes = [n for n in range(1, common + 1) if common % n == 0 and (pattern, len(numbers) // n) in library.members]
    parts = [[z for z, many in sorted(content.items()) for _ in range(many // times)] for times in sizes or [1]]
    found = [propose(library, part, group, energy, count) for part in parts]
    confidence = np.concatenate([one.confidence for one in found])
    order = np.argsort(-confidence, kind="stable")[:count]
    crystals = [one.crystals[[i]] for one in found for i in range(len(one))]
    some = [repeated(crystals[i], len(numbers)) for i in order.tolist()]
    rows = np.concatenate([one.rows for one in found])[order]
    return Proposals(concatenate(some) if some else _nothing(len(numbers)), confidence[order], rows)


def known_ones(library: Library, asked: Asked, own: int | None) -> Candidates:
    """What the library has of the formula itself with the group and the energy asked for, the nearest first."""
    found = find_candidates(library, asked)
    keep = np.zeros(len(found), dtype=bool)
    if own is not None and (asked.group or asked.energy is not None):
        keep = (library.formula[found.places] == own) & (found.order == np.arange(len(asked.elements))).all(1)
        if asked.group:
            keep &= library.group[found.places] == asked.group
        if asked.energy is not None:
            keep &= np.abs(library.energy[found.places] - asked.energy) < CLOSE
    return Candidates(found.places[keep], found.order[keep], found.total, found.same)


def choose(
    library: Library, asked: Asked, candidates: Candidates, count: int, ranker: Ranker | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates come first, and how sure each is: those like one before them are worth less.

    One template whose elements may be exchanged in several ways that are the same counts once.
    """
    if not len(candidates):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    alike = likeness(library.marks(candidates.places), candidates.order)
    if ranker is None:
        left = HALF / (HALF + plain_cost(library, asked, candidates))
    else:
        left = score(ranker, library, asked, candidates, alike)
        theirs = library.group[candidates.places]
        left = left * np.where(theirs == (asked.group or theirs), 1.0, OTHER)
    free = np.ones(len(left), dtype=bool)
    chosen: list[int] = []
    confidence: list[float] = []
    while len(chosen) < count and free.any():
        best = int(np.where(free, left, -1.0).argmax())
        chosen.append(best)
        confidence.append(float(left[best]))
        left = left * (1 - alike[best])
        free &= (alike[best] < SAME) | (candidates.places != candidates.places[best])
    return np.array(chosen), np.array(confidence)


def built(library: Library, asked: Asked, candidates: Candidates, chosen: np.ndarray) -> Crystals:
    """The chosen templates with the elements asked for: float64, repeated to the cell's size, scaled in volume."""
    if not len(chosen):
        return _nothing(asked.natoms)
    theirs = exchanged(library, candidates)
    found = library.structures[library.rows[torch.from_numpy(candidates.places[chosen])]].to(dtype=torch.float64)
    return concatenate(
        [
            _exchanged(found[[i]], theirs[k], asked.elements, asked.natoms, library.volumes)
            for i, k in enumerate(chosen.tolist())
        ]
    )


def _nothing(natoms: int) -> Crystals:
    """No crystal at all."""
    frac, lattice = torch.zeros(0, natoms, 3, dtype=torch.float64), torch.zeros(0, 3, 3, dtype=torch.float64)
    whole = torch.zeros(0, dtype=torch.int64)
    return Crystals(frac, lattice, whole.view(0, 1).expand(0, natoms), whole, torch.zeros(0, dtype=torch.float64))


def _exchanged(crystal: Crystals, old: np.ndarray, new: tuple[int, ...], natoms: int, volumes: np.ndarray) -> Crystals:
    """One crystal with its elements exchanged, repeated to `natoms` sites and scaled in volume."""
    crystal = repeated(crystal.trim(), natoms)
    table = torch.zeros(KINDS, dtype=torch.int64)
    table[torch.from_numpy(old)] = torch.tensor(new)
    numbers = table[crystal.numbers]
    before, after = (float(volumes[n.numpy()].sum()) for n in (crystal.numbers, numbers))
    lattice = crystal.lattice * (after / before) ** (1 / 3)
    return Crystals(crystal.frac, lattice, numbers, crystal.group, crystal.energy)


def repeated(crystal: Crystals, natoms: int) -> Crystals:
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
