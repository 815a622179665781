"""The subgroups of a crystal's symmetry that are of one space group, and crystals moved onto them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import combinations

import numpy as np
import spglib
import torch

from core.crystals import Crystals
from core.data.symmetry import point_group_order
from core.data.symmetry_operations import SiteOperations

_TRIED = 600  # pairs of cyclic subgroups that are joined, and as many of those with a third
_LARGEST = 192  # operations of the whole group: of larger ones no subgroup is looked for


def subgroups(operations: SiteOperations, lattice: torch.Tensor, number: int, most: int = 16) -> list[SiteOperations]:
    """Subgroups with the space group `number`, one of each class that the crystal's own operations make the same.

    All that two operations generate are looked at, and of those that take three, and of large groups, a part that a
    fixed seed draws: on small cells none is missing (tests compare with a list by brute force).

    lattice: (3, 3) Å. Returns up to `most`, those with the most operations first; the whole group may be one of them.
    """
    if number == 1:
        return [taken(operations, np.array([_identity(operations)]), 1)]
    if len(operations.rotation) > _LARGEST or operations.number == 0:
        return []
    table = product_table(operations)
    order = point_group_order(number)
    found: dict[bytes, np.ndarray] = {}
    inverse = np.argmax(table == _identity(operations), axis=1)
    for members in _generated(table.tobytes(), len(table)):
        turns = np.unique(operations.rotation[members].reshape(len(members), 9).numpy(), axis=0)
        if len(turns) != order:
            continue
        key = _class_of(members, table, inverse)
        if key not in found and _number(operations, members, lattice) == number:
            found[key] = members
    chosen = sorted(found.values(), key=lambda m: (-len(m), m.tolist()))[:most]
    return [taken(operations, members, number) for members in chosen]


def taken(operations: SiteOperations, members: np.ndarray, number: int) -> SiteOperations:
    """Some of the operations, as a group of that number."""
    index = torch.from_numpy(np.asarray(members, dtype=np.int64))
    return SiteOperations(number, operations.rotation[index], operations.translation[index], operations.image[index])


def product_table(operations: SiteOperations) -> np.ndarray:
    """(K, K) which operation the i-th after the j-th is: of the same rotation, the nearest translation."""
    rotation = operations.rotation.numpy().round().astype(np.int64)
    translation = operations.translation.numpy()
    codes = rotation.reshape(-1, 9) @ 3 ** np.arange(9)
    products = np.einsum("iab,jbc->ijac", rotation, rotation).reshape(*[len(codes)] * 2, 9) @ 3 ** np.arange(9)
    moved = np.einsum("iab,jb->ija", rotation, translation) + translation[:, None]
    table = np.zeros_like(products)
    for code in np.unique(codes):
        alike = np.flatnonzero(codes == code)
        where = products == code
        off = moved[where][:, None] - translation[alike]
        table[where] = alike[np.abs(off - off.round()).sum(-1).argmin(1)]
    return table


def orbits_of(operations: SiteOperations) -> np.ndarray:
    """(N,) the number, from 0, of the orbit of each site."""
    least = operations.image.numpy().min(0)
    found: np.ndarray = np.unique(least, return_inverse=True)[1].ravel()
    return found


def moved_onto(crystal: Crystals, operations: SiteOperations) -> Crystals:
    """One unpadded crystal with cell and coordinates averaged over the operations, which it nearly has already."""
    frac, lattice = crystal.frac[0].double(), crystal.lattice[0].double()
    rotation = operations.rotation
    metric = torch.einsum("kba,bc,kcd->ad", rotation, lattice @ lattice.T, rotation) / len(rotation)
    there = frac[operations.image] - operations.translation[:, None]
    back = torch.einsum("knj,kij->kni", there, torch.linalg.inv(rotation))
    delta = back - frac
    frac = frac + (delta - delta.round()).mean(0)
    return replace(crystal, frac=frac[None], lattice=torch.linalg.cholesky(metric)[None])


def _identity(operations: SiteOperations) -> int:
    still = (operations.rotation == torch.eye(3, dtype=torch.float64)).flatten(1).all(1).numpy()
    shift = (operations.translation - operations.translation.round()).abs().sum(1).numpy()
    return int(np.where(still, shift, np.inf).argmin())


@lru_cache(maxsize=32)
def _generated(products: bytes, count: int) -> list[np.ndarray]:
    """Subgroups by one, two and three operations, each once; several groups may be asked of one crystal."""
    table = np.frombuffer(products, dtype=np.int64).reshape(count, count)
    known: dict[bytes, np.ndarray] = {}

    def keep(members: np.ndarray) -> None:
        known.setdefault(members.tobytes(), members)

    for i in range(len(table)):
        keep(_closure(np.array([i]), table))
    cyclic = list(known.values())
    rng = np.random.default_rng(0)
    for a, b in _some(list(combinations(range(len(cyclic)), 2)), rng):
        keep(_closure(np.union1d(cyclic[a], cyclic[b]), table))
    both = list(known.values())
    thirds = [(a, b) for a in range(len(cyclic), len(both)) for b in range(len(cyclic))]
    for a, b in _some(thirds, rng):
        keep(_closure(np.union1d(both[a], cyclic[b]), table))
    return list(known.values())


def _some(pairs: list[tuple[int, int]], rng: np.random.Generator) -> list[tuple[int, int]]:
    if len(pairs) <= _TRIED:
        return pairs
    return [pairs[i] for i in rng.choice(len(pairs), _TRIED, replace=False)]


def _closure(members: np.ndarray, table: np.ndarray) -> np.ndarray:
    while True:
        products = np.unique(table[np.ix_(members, members)])
        joined = np.union1d(members, products)
        if len(joined) == len(members):
            return joined
        members = joined


def _class_of(members: np.ndarray, table: np.ndarray, inverse: np.ndarray) -> bytes:
    """The same for subgroups that an operation g turns into one another, g H g⁻¹."""
    turned = table[table[:, members], inverse[:, None]]
    return min(row.tobytes() for row in np.sort(turned, axis=1))


def _number(operations: SiteOperations, members: np.ndarray, lattice: torch.Tensor) -> int:
    rotations = operations.rotation[members].numpy().round().astype(np.intc)
    try:
        kind = spglib.get_spacegroup_type_from_symmetry(
            rotations, operations.translation[members].numpy(), lattice.numpy(), symprec=1e-2
        )
    except Exception:  # spglib 2.8 raises where earlier releases returned None
        return 0
    return int(kind.number) if kind is not None else 0
