"""Space groups found by spglib."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import spglib
import torch
from torch import Tensor

from core.crystals import Crystals

_LOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def detect_groups(crystals: Crystals, symprec: float = 0.01) -> Tensor:
    """(B,) int64 space group of each crystal within `symprec` Å, 0 where spglib finds none."""
    return torch.tensor([detect_group(crystals, i, symprec) for i in range(len(crystals))], dtype=torch.int64)


def detect_group(crystals: Crystals, index: int, symprec: float = 0.01) -> int:
    """The space group of one crystal of the batch within `symprec` Å, 0 where spglib finds none."""
    mask = crystals.mask[index]
    cell: Any = (
        crystals.lattice[index].double().numpy(),
        crystals.frac[index][mask].double().numpy(),
        crystals.numbers[index][mask].numpy(),
    )
    if not np.isfinite(cell[0]).all() or abs(np.linalg.det(cell[0])) < 1e-3:
        return 0
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except Exception:  # spglib 2.8 raises where earlier releases returned None
        return 0
    return int(dataset.number) if dataset is not None else 0


def symbol_of(number: int) -> str:
    """The short symbol of a space group: 14 -> "P2₁/c", 225 -> "Fm-3m" (a minus stands for the bar).

    Raises ValueError outside 1 to 230.
    """
    if number not in _symbols():
        raise ValueError(f"there is no space group {number}")
    return re.sub(r"_(\d)", lambda found: found[1].translate(_LOW), _symbols()[number])


@cache
def _symbols() -> dict[int, str]:
    found: dict[int, str] = {}
    for hall in range(1, 531):  # settings in Hall's list; the first of a space group is its standard one
        kind = spglib.get_spacegroup_type(hall)
        if kind is not None:
            found.setdefault(int(kind.number), str(kind.international_short))
    return found
