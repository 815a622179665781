"""Space groups found by spglib."""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
import torch
from torch import Tensor

from core.crystals import Crystals


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
