"""What a crystallographer asks of a structure: its cell in other settings, sites by symmetry, its powder pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
from pymatgen.core import Lattice, Structure

CELLS = ("stored", "primitive", "conventional")


def problem_of(lattice: np.ndarray, frac: np.ndarray) -> str:
    """Why a cell (3, 3) Å with sites (n, 3) cannot be drawn or described, as a sentence; "" where it can."""
    if not len(frac):
        return "The cell holds no atom."
    if not (np.isfinite(lattice).all() and np.isfinite(frac).all()):
        return "The cell or a coordinate is not a finite number: there is nothing to draw."
    lengths = np.linalg.norm(lattice, axis=1)
    if lengths.min() < 0.1 or abs(np.linalg.det(lattice / lengths[:, None])) < 1e-4:
        return "The cell is flat: it encloses no volume."
    if lengths.max() > 1000:
        return "The cell is longer than 1000 Å."
    return ""


def cell_as(structure: Structure, kind: str, symprec: float) -> Structure:
    """The same crystal in its primitive or conventional cell (spglib's setting, nothing moved), or as it is stored.

    Raises ValueError where no symmetry is found within `symprec` Å.
    """
    if kind == "stored":
        return structure
    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    try:
        found = spglib.standardize_cell(cell, to_primitive=kind == "primitive", no_idealize=True, symprec=symprec)
    except Exception as error:  # spglib raises its own kinds for cells it cannot handle
        raise ValueError(f"no symmetry is found within {symprec:g} Å") from error
    if found is None:
        raise ValueError(f"no symmetry is found within {symprec:g} Å")
    lattice, frac, numbers = found
    return Structure(Lattice(lattice), np.asarray(numbers).tolist(), frac)
