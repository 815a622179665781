"""Space groups: found by spglib, and named by the short Hermann–Mauguin symbols that are printed."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import spglib
import torch
from torch import Tensor

from core.crystals import Crystals

_HALL = 530  # settings in Hall's list; the first of a space group is its standard one
_LOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
CRYSTAL_SYSTEMS = (
    ("triclinic", 1, 2),
    ("monoclinic", 3, 15),
    ("orthorhombic", 16, 74),
    ("tetragonal", 75, 142),
    ("trigonal", 143, 167),
    ("hexagonal", 168, 194),
    ("cubic", 195, 230),
)


def detect_groups(crystals: Crystals, symprec: float = 0.01) -> Tensor:
    """(B,) int64 space group of each crystal within `symprec` Å, 0 where spglib finds none."""
    return torch.tensor([detect_group(crystals, i, symprec) for i in range(len(crystals))], dtype=torch.int64)


def detect_group(crystals: Crystals, index: int, symprec: float = 0.01) -> int:
    """The space group of one crystal of the batch within `symprec` Å, 0 where spglib finds none."""
    found = _dataset(crystals, index, symprec)
    return int(found.number) if found is not None else 0


def _dataset(crystals: Crystals, index: int, symprec: float) -> Any:
    """What spglib finds in one crystal of the batch, None where it finds nothing."""
    mask = crystals.mask[index]
    cell: Any = (
        crystals.lattice[index].double().numpy(),
        crystals.frac[index][mask].double().numpy(),
        crystals.numbers[index][mask].numpy(),
    )
    if not np.isfinite(cell[0]).all() or abs(np.linalg.det(cell[0])) < 1e-3:
        return None
    try:
        return spglib.get_symmetry_dataset(cell, symprec=symprec)
    except Exception:  # spglib 2.8 raises where earlier releases returned None
        return None


def orbits(crystals: Crystals, index: int, group: int, symprec: float = 0.01) -> np.ndarray | None:
    """(N,) which sites of a crystal symmetry makes equal, numbered from 0; None where spglib finds another group."""
    found = _dataset(crystals, index, symprec)
    if found is None or int(found.number) != group:
        return None
    orbit: np.ndarray = np.unique(found.equivalent_atoms, return_inverse=True)[1].ravel()
    return orbit


def has_group(crystals: Crystals, index: int, group: int) -> bool:
    """Has one crystal of the batch this space group, within 0.1 or 0.01 Å (some real ones only in one of them)?"""
    return any(detect_group(crystals, index, symprec) == group for symprec in (0.1, 0.01))


def symbol_of(number: int) -> str:
    """The short symbol of a space group: 14 -> "P2₁/c", 225 -> "Fm-3m" (a minus stands for the bar).

    Raises ValueError outside 1 to 230.
    """
    return re.sub(r"_(\d)", lambda found: found[1].translate(_LOW), str(_type(number).international_short))


def named(number: int) -> str:
    """ "P2₁/c (14)"; "unknown" for 0."""
    return f"{symbol_of(number)} ({number})" if number else "unknown"


def crystal_system_of(number: int) -> str:
    """The crystal system of a space group. Raises ValueError outside 1 to 230."""
    _type(number)
    return next(system for system, first, last in CRYSTAL_SYSTEMS if first <= number <= last)


def point_group_of(number: int) -> str:
    """The point group of a space group: 225 -> "m-3m". Raises ValueError outside 1 to 230."""
    return str(_type(number).pointgroup_international)


@cache
def point_group_order(number: int) -> int:
    """Rotations of a space group, translations left aside: 225 -> 48. Raises ValueError outside 1 to 230."""
    found: Any = spglib.get_symmetry_from_database(_type(number).hall_number)
    return len(np.unique(found["rotations"].reshape(-1, 9), axis=0))


def _type(number: int) -> Any:
    if number not in _types():
        raise ValueError(f"there is no space group {number}")
    return _types()[number]


@cache
def _types() -> dict[int, Any]:
    found: dict[int, Any] = {}
    for hall in range(1, _HALL + 1):
        kind = spglib.get_spacegroup_type(hall)
        if kind is not None:
            found.setdefault(int(kind.number), kind)
    return found
