"""What is known of elements and space groups beforehand: properties from mendeleev, operations from pymatgen."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ELEMENTS = 103  # as many as the paper's one-hot vectors hold
MAX_OPERATIONS = 192
PROPERTIES = {
    "atomic_weight": "relative atomic mass",
    "period": "period of the table",
    "group_id": "group of the table",
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
    "en_pauling": "electronegativity, Pauling",
    "en_allen": "electronegativity, Allen (eV)",
    "en_ghosh": "electronegativity, Ghosh (a.u.)",
    "density": "density (g/cm³)",
    "evaporation_heat": "heat of evaporation (kJ/mol)",
    "heat_of_formation": "heat of formation of the free atom (kJ/mol)",
    "thermal_conductivity": "thermal conductivity (W/m/K)",
    "pettifor_number": "place on Pettifor's scale",
    "mendeleev_number": "Mendeleev number",
}


@cache
def raw_element_features() -> pd.DataFrame:
    """The 22 `PROPERTIES` of elements 1–103 as mendeleev has them, indexed by atomic number; NaN where unknown."""
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
    unscaled.
    """
    values = raw_element_features().to_numpy()
    scaled = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    result = torch.zeros(119, len(PROPERTIES))
    result[1 : ELEMENTS + 1] = torch.from_numpy(np.nan_to_num(scaled)).float()
    return result


@cache
def space_group_operations(folder: Path | None = None) -> Tensor:
    """(231, 192, 4, 4) float32 affine matrices of each group's standard setting, identity first, zero-padded.

    Row 0 (unknown) is zero. Rhombohedral groups are on hexagonal axes. `folder` keeps a copy, for the four seconds that
    pymatgen needs; a damaged copy is made anew.
    """
    path = folder / "operations.safetensors" if folder else None
    if path and path.is_file():
        try:
            kept = load_file(path)["operations"]
            if kept.shape == (231, MAX_OPERATIONS, 4, 4):
                return kept
        except Exception:  # safetensors has errors of its own
            path.unlink(missing_ok=True)
    made = torch.zeros(231, MAX_OPERATIONS, 4, 4)
    for group in range(1, 231):
        operations = _operations_of(group)
        made[group, : len(operations)] = torch.from_numpy(operations)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({"operations": made}, partial)
        os.replace(partial, path)
    return made


def operation_counts(operations: Tensor) -> Tensor:
    """(231, 192, 4, 4) -> (231,) int64 how many operations each group has."""
    return (operations[:, :, 3, 3] != 0).sum(1)


def _operations_of(group: int) -> np.ndarray:
    """(n, 4, 4) in a fixed order: pymatgen's is that of a set."""
    from pymatgen.symmetry.groups import SpaceGroup

    matrices = [op.affine_matrix for op in SpaceGroup.from_int_number(group).symmetry_ops]
    identity = np.eye(4).round(6).tolist()
    keyed = sorted(matrices, key=lambda m: (m.round(6).tolist() != identity, m.round(6).tolist()))
    return np.array(keyed)
