"""Relatives of a structure that is to be modified: what its own sites can become, where no template is needed.

The same crystal with more symmetry, or with less where its atoms are displaced (as a soft mode would); its atoms in
another order, two elements that are near in Pettifor's order changing places; and one element on other sites, which
the rest makes equal to its own (lithium in a frame). Polymorphs of one formula are often just that: of 500 training
pairs of mp_polymorphs 13 % are another order of the start, and 5 % what the paper's matcher takes for the start, in
another space group.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from core.crystals import Crystals, concatenate
from core.data.rows import symbol
from core.data.subgroups import moved_onto, orbits_of, subgroups
from core.data.symmetry import detect_group
from core.data.symmetry_operations import SiteOperations, find_operations
from core.templates.library import pettifor
from core.templates.propose import Proposals

NEAR = 12.0  # places in Pettifor's order between elements that change places
LOOSE = (0.3, 0.1, 0.03)  # Å: within which a start, or what it is without its order, has symmetry
DISPLACED = 0.1  # Å of each atom where symmetry is lowered
USUAL = 0.03  # eV/atom by which polymorphs differ where no change is asked for
_STRAIN = 0.02
_CLASSES = 6  # subgroups of one kind that are looked at
_ORDERS = 200  # orders of one pair of elements that are looked at
_SITES = 64  # of one element, empty ones too
_SAME_SITE = 0.5  # Å
CONTACT = 1.0  # Å: of a relative no two sites are nearer
_KEPT = 12  # of them, and of symmetries

Filling = Callable[[Crystals, np.ndarray], Crystals]  # a crystal with some of its shared sites taken


@dataclass(frozen=True, eq=False)
class Relatives:
    """crystals: K of the start's content with their space group, float64; alike: (K,) how many there are of that kind
    swapped: (K, 2) the elements that changed places; one and 0 where it went to other sites; 0 and 0 where the symmetry
    alone is another
    """

    crystals: Crystals
    swapped: np.ndarray
    alike: np.ndarray

    def __len__(self) -> int:
        return len(self.swapped)


def relatives(start: Crystals, group: int | None) -> Relatives:
    """Those of one structure in the space group asked for; without one its other orders alone.

    The start itself is none of them. Their positions are the start's, brought onto the operations of the group.
    """
    start = replace(start.to(dtype=torch.float64).trim(), group=torch.zeros(1, dtype=torch.int64))
    own = detect_group(start, 0)
    found: list[tuple[Crystals, tuple[int, int]]] = []
    if group is not None and group != own:
        found += [(c, (0, 0)) for c in _of_symmetry(start, group)]
    kinds = torch.unique(start.numbers[0]).tolist()
    near = [(a, b) for a, b in itertools.combinations(kinds, 2) if abs(pettifor()[a] - pettifor()[b]) <= NEAR]
    for a, b in near:
        found += [(c, (a, b)) for c in _of_order(start, a, b, group)]
    for a in kinds if len(kinds) > 1 else []:
        found += [(c, (a, 0)) for c in _on_other_sites(start, a, group)]
    crystals = concatenate([c for c, _ in found]) if found else start[:0]
    swapped = np.array([s for _, s in found], dtype=np.int64).reshape(-1, 2)
    return Relatives(crystals, swapped, np.array([(swapped == s).all(1).sum() for s in swapped], dtype=np.int64))


def kin(start: Crystals, group: int | None, change: float | None = None) -> Proposals:
    """The relatives of one structure as proposals, the likeliest first; change: of energy that is asked for, eV/atom.

    How likely each is was fitted to 1,500 pairs of the training part of mp_polymorphs: by the paper's matcher 17 % of
    those of another symmetry are the target, 2 % of the orders, 9 % of those on other sites; any is in 10 % of pairs.
    """
    found = relatives(start, group)
    many, triclinic = np.log(np.maximum(found.alike, 1)), group == 1
    first, second = found.swapped.T
    apart = np.abs(pettifor()[first] - pettifor()[second])
    below = USUAL if change is None or not math.isfinite(change) else max(-change, 1e-3)
    symmetry = -2.23 - 1.20 * many - 0.29 * math.log(below) - 1.65 * triclinic
    order = -0.42 - 1.66 * many - 0.14 * apart - 1.03 * triclinic
    moved = -0.25 - 1.18 * many + 0.24 * triclinic
    sure = 1 / (1 + np.exp(-np.where(first == 0, symmetry, np.where(second == 0, moved, order))))
    how = tuple(_words(a, b) for a, b in found.swapped.tolist())
    return Proposals(found.crystals, sure, np.full(len(found), -1), how)[np.argsort(-sure, kind="stable")]


def _words(a: int, b: int) -> str:
    if not a:
        return "in another symmetry"
    return f"with its {symbol(a)} and {symbol(b)} exchanged" if b else f"with its {symbol(a)} on other sites"


def _of_symmetry(start: Crystals, group: int) -> list[Crystals]:
    """The start with the symmetry asked for: moved onto it, or displaced where it would have more."""
    found = []
    for operations in _parents(start):
        classes = subgroups(operations, start.lattice[0], group, _CLASSES)
        for i, one in enumerate(classes):
            crystal = _in_group(moved_onto(start, one), one, i)
            if crystal is not None:
                found.append(crystal)
        if found:
            break
    return found[:_KEPT]


def _in_group(crystal: Crystals, operations: SiteOperations, seed: int) -> Crystals | None:
    """The crystal in just that group: as it is or displaced at random within it; None where it is in neither way."""
    number = operations.number
    for one in (crystal, _displaced(crystal, operations, seed)):
        if detect_group(one, 0) == number:
            return replace(one, group=torch.tensor([number]))
    return None


def _displaced(crystal: Crystals, operations: SiteOperations, seed: int) -> Crystals:
    rng = torch.Generator().manual_seed(seed)
    away = torch.randn(crystal.frac.shape, generator=rng, dtype=torch.float64) * DISPLACED
    strain = torch.eye(3, dtype=torch.float64) + _STRAIN * torch.randn(3, 3, generator=rng, dtype=torch.float64)
    frac = crystal.frac + away @ torch.linalg.inv(crystal.lattice[0])
    return moved_onto(replace(crystal, frac=frac, lattice=crystal.lattice @ strain), operations)


def _of_order(start: Crystals, a: int, b: int, group: int | None) -> list[Crystals]:
    """The start with atoms of two elements changed about."""
    merged = replace(start, numbers=torch.where(start.numbers == b, a, start.numbers))
    shared = (merged.numbers[0] == a).numpy()

    def filled(crystal: Crystals, row: np.ndarray) -> Crystals:
        theirs = torch.from_numpy(np.where(shared, np.where(row, a, b), crystal.numbers[0].numpy()))
        return replace(crystal, numbers=theirs[None])

    return _orders(merged, shared, (start.numbers[0] == a).numpy(), group, filled)


def _on_other_sites(start: Crystals, a: int, group: int | None) -> list[Crystals]:
    """The start with atoms of one element on sites that the rest of it makes equal to theirs, empty ones too."""
    own = start.numbers[0] == a
    rest = replace(start, frac=start.frac[:, ~own], numbers=start.numbers[:, ~own])
    if not rest.numbers.shape[1]:
        return []
    parent = _parents(rest)[0]
    images = torch.einsum("nj,kij->nki", start.frac[0, own], parent.rotation) + parent.translation
    sites = _apart(torch.cat([start.frac[0, own], images.flatten(0, 1)]), start.lattice[0])
    if not int(own.sum()) < len(sites) <= _SITES:
        return []
    numbers = torch.cat([rest.numbers[0], torch.full((len(sites),), a)])[None]
    full = replace(start, frac=torch.cat([rest.frac[0], sites])[None], numbers=numbers)
    shared = np.arange(numbers.shape[1]) >= rest.numbers.shape[1]

    def filled(crystal: Crystals, row: np.ndarray) -> Crystals:
        kept = torch.from_numpy(~shared | row)
        return replace(crystal, frac=crystal.frac[:, kept], numbers=crystal.numbers[:, kept])

    taken = np.arange(len(shared)) < rest.numbers.shape[1] + int(own.sum())
    return _orders(full, shared, shared & taken, group, filled)


def _orders(
    parent: Crystals, shared: np.ndarray, taken: np.ndarray, group: int | None, filled: Filling
) -> list[Crystals]:
    """Ways to take as many of the shared sites (N,) as are taken, one of each class that symmetry makes the same."""
    operations = _parents(parent)[0]
    rng = np.random.default_rng(0)
    weights: Any = rng.normal(size=len(shared))
    places = weights[operations.image.numpy()]  # (K, N) of where each operation takes each site
    known = {_code(places, taken)}
    found: list[Crystals] = []
    for one in subgroups(operations, parent.lattice[0], group or 1, _CLASSES):
        base = moved_onto(parent, one) if group else parent
        for row in _unions(orbits_of(one), np.flatnonzero(shared), int(taken.sum()), rng):
            key = _code(places, row)
            if key in known:
                continue
            known.add(key)
            crystal = filled(base, row)
            has = detect_group(crystal, 0)
            if (group is None or has == group) and _nearest(crystal) > CONTACT:
                found.append(replace(crystal, group=torch.tensor([has])))
            if len(found) == _KEPT:
                return found
    return found


def _code(places: np.ndarray, row: np.ndarray) -> float:
    """The same for rows that an operation turns into one another."""
    return float((places @ row).min().round(8))


def _apart(frac: torch.Tensor, lattice: torch.Tensor) -> torch.Tensor:
    """Those sites of which none before is within `_SAME_SITE`; one more than `_SITES` at most."""
    kept = frac[:1]
    while len(kept) <= _SITES:
        delta = frac[:, None] - kept
        near = ((delta - delta.round()) @ lattice).norm(dim=-1) < _SAME_SITE
        free = torch.nonzero(~near.any(1)).flatten()
        if not len(free):
            break
        kept = torch.cat([kept, frac[free[:1]]])
    return kept


def _nearest(crystal: Crystals) -> float:
    """Å between the two nearest sites, nearest images in fractional coordinates."""
    delta = crystal.frac[0, :, None] - crystal.frac[0]
    far = ((delta - delta.round()) @ crystal.lattice[0]).norm(dim=-1)
    return float((far + 1e3 * torch.eye(len(far), dtype=far.dtype)).min())


def _unions(orbit: np.ndarray, shared: np.ndarray, wanted: int, rng: np.random.Generator) -> list[np.ndarray]:
    """(N,) true at sites of whole orbits among the shared ones, `wanted` of them; up to `_ORDERS`, drawn where more."""
    there = np.isin(np.arange(len(orbit)), shared)
    names, sizes = np.unique(orbit[shared], return_counts=True)
    found: dict[bytes, np.ndarray] = {}
    for _ in range(2 * _ORDERS):
        row, left = np.zeros(len(orbit), dtype=bool), wanted
        for k in rng.permutation(len(names)).tolist():
            if sizes[k] <= left:
                row |= (orbit == names[k]) & there
                left -= int(sizes[k])
        if not left:
            found.setdefault(row.tobytes(), row)
        if len(found) == _ORDERS:
            break
    return list(found.values())


def _parents(crystal: Crystals) -> list[SiteOperations]:
    """The crystal's operations as loosely as spglib finds any, then more tightly."""
    found = [find_operations(crystal, tolerance)[0] for tolerance in LOOSE]
    return [one for one in found if one.number] or found[-1:]
