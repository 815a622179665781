"""What is known of elements and space groups beforehand: properties from mendeleev, operations from pymatgen."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.data.matrix import ELEMENTS

MAX_OPERATIONS = 192
PROPERTY_MEANINGS = {
    "atomic_weight": "relative atomic mass (Da)",
    "period": "period of the table (1 to 7)",
    "group_id": "group of the table (1 to 18, none for the f block)",
    "atomic_radius": "atomic radius, Slater (pm)",
    "atomic_radius_rahm": "atomic radius, Rahm (pm)",
    "covalent_radius_cordero": "covalent radius, Cordero (pm)",
    "covalent_radius_pyykko": "covalent radius, Pyykkö (pm)",
    "metallic_radius_c12": "metallic radius at coordination 12 (pm)",
    "vdw_radius": "van der Waals radius (pm)",
    "vdw_radius_uff": "van der Waals radius, UFF (pm)",
    "dipole_polarizability": "dipole polarisability (a.u.)",
    "ionization_energy": "first ionisation energy (eV)",
    "electron_affinity": "electron affinity (eV)",
    "en_pauling": "electronegativity, Pauling (no unit)",
    "en_allen": "electronegativity, Allen (eV)",
    "en_ghosh": "electronegativity, Ghosh (a.u.)",
    "density": "density at 295 K (g/cm³)",
    "evaporation_heat": "heat of evaporation (kJ/mol)",
    "heat_of_formation": "heat of formation of the free atom (kJ/mol)",
    "thermal_conductivity": "thermal conductivity at 25 °C (W/m/K)",
    "pettifor_number": "place on Pettifor's scale (no unit)",
    "mendeleev_number": "Mendeleev number (no unit)",
}
PROPERTIES: tuple[str, ...] = tuple(PROPERTY_MEANINGS)


def raw_element_features() -> pd.DataFrame:
    """The 22 `PROPERTIES` of elements 1–103 as mendeleev has them, indexed by atomic number; NaN where unknown.

    Units stand in `PROPERTY_MEANINGS`. The table is the caller's own.
    """
    return _table().copy()


@cache
def _table() -> pd.DataFrame:
    from mendeleev.fetch import fetch_table

    table = fetch_table("elements").set_index("atomic_number")
    ions = fetch_table("ionizationenergies")
    first = ions[ions["ion_charge"] == 0].drop_duplicates("atomic_number").set_index("atomic_number")
    table["ionization_energy"] = first["ionization_energy"]
    return table.loc[1:ELEMENTS, list(PROPERTIES)].astype(float).sort_index()


@cache
def element_features() -> Tensor:
    """(119, 22) float32 by atomic number: `PROPERTIES` with mean 0 and deviation 1 over the elements that have them.

    What is unknown is 0, the mean; so are row 0 (padding) and elements past 103. The paper leaves the 22 unnamed and
    unscaled. Every call gives the same tensor: do not write into it.
    """
    values = _table().to_numpy()
    scaled = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    result = torch.zeros(119, len(PROPERTIES))
    result[1 : ELEMENTS + 1] = torch.from_numpy(np.nan_to_num(scaled)).float()
    return result


@cache
def space_group_operations(cache: Path | None = None) -> Tensor:
    """(231, 192, 4, 4) float32 affine matrices of each group's standard setting, identity first, zero-padded.

    They act on columns (x, y, z, 1) of fractional coordinates; translations lie in [0, 1); row 0 (unknown) is zero.
    The settings are pymatgen's, and spglib's first of each group: unique axis b, hexagonal axes for rhombohedral
    groups, origin choice 1 where there are two. The folder `cache` keeps a copy, because pymatgen needs seconds; a
    damaged copy is made anew, and where none can be written there is none. Every call gives the same tensor: do not
    write into it.
    """
    path = cache / "operations.safetensors" if cache else None
    kept = _read_operations(path) if path and path.is_file() else None
    if kept is not None:
        return kept
    made = torch.zeros(231, MAX_OPERATIONS, 4, 4)
    for group in range(1, 231):
        operations = _operations_of(group)
        made[group, : len(operations)] = torch.from_numpy(operations)
    if path:
        with suppress(OSError, SafetensorError):  # a full or read-only disk costs time, not the result
            _write_operations(path, made)
    return made


def operation_counts(operations: Tensor) -> Tensor:
    """(231, 192, 4, 4) -> (231,) int64 how many operations each group has, 0 for row 0."""
    return (operations[:, :, 3, 3] != 0).sum(1)


def _operations_of(group: int) -> np.ndarray:
    """(n, 4, 4) in a fixed order: pymatgen's is that of a set."""
    from pymatgen.symmetry.groups import SpaceGroup

    matrices = np.array([op.affine_matrix for op in SpaceGroup.from_int_number(group).symmetry_ops])
    # pymatgen's translations reach from -3/4 to 5/4 and are rounded sums; all are whole 24ths
    matrices[:, :3, 3] = np.rint(matrices[:, :3, 3] * 24) % 24 / 24
    identity = np.eye(4).tolist()
    return np.array(sorted(matrices.tolist(), key=lambda m: (m != identity, m)))


def _read_operations(path: Path) -> Tensor | None:
    """The kept copy if it is whole. The format has no checksum of its own, so one stands in its metadata."""
    try:
        with safe_open(str(path), "pt") as file:
            operations, noted = file.get_tensor("operations"), file.metadata() or {}
    except Exception:  # safetensors has errors of its own, and a vanished file has others
        return None
    whole = operations.shape == (231, MAX_OPERATIONS, 4, 4) and noted.get("sha256") == _digest(operations)
    return operations.clone() if whole else None


def _write_operations(path: Path, operations: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{uuid4().hex}.partial")
    try:
        save_file({"operations": operations}, str(partial), {"sha256": _digest(operations)})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _digest(operations: Tensor) -> str:
    return hashlib.sha256(operations.numpy().tobytes()).hexdigest()
