"""Fingerprints against pymatgen's neighbours, and the same for every cell of a structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures
from core.templates.fingerprint import NEAREST, OWN, fingerprints

PEROVSKITE = Structure(
    Lattice.orthorhombic(3.9, 4.0, 4.2), ["Sr", "Ti", "O", "O", "O"], [[0, 0, 0], [0.5] * 3, *(0.5 - 0.5 * np.eye(3))]
)
SLOTS = {"Sr": 0, "Ti": 1, "O": 2}


def marks_of(structure: Structure) -> tuple[torch.Tensor, torch.Tensor]:
    slots = torch.tensor([[SLOTS[site.species_string] for site in structure]])
    return fingerprints(from_structures([structure]), slots, 3)


def test_they_are_the_distances_of_pymatgens_neighbours() -> None:
    around, between = marks_of(PEROVSKITE)
    unit = (PEROVSKITE.volume / len(PEROVSKITE)) ** (1 / 3)
    titanium = PEROVSKITE.get_neighbors(PEROVSKITE[1], 2 * unit)
    expected = np.sort([n.nn_distance for n in titanium])[:NEAREST] / unit
    assert around[0, 1].numpy() == pytest.approx(expected, abs=1e-5)
    oxygen = np.sort([n.nn_distance for n in titanium if n.species_string == "O"])[:OWN] / unit
    assert between[0, 1, 2].numpy() == pytest.approx(oxygen, abs=1e-5)


def test_cell_origin_and_batch_do_not_matter() -> None:
    around, between = marks_of(PEROVSKITE)
    other = PEROVSKITE.copy()
    other.translate_sites(range(len(other)), [0.13, 0.4, 0.77])
    other.make_supercell([[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
    for a, b in zip((around, between), marks_of(other), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    padded = from_structures([PEROVSKITE, other])
    slots = torch.tensor(
        [[SLOTS[s.species_string] for s in one] + [0] * (10 - len(one)) for one in (PEROVSKITE, other)]
    )
    for a, b in zip((around, between), fingerprints(padded, slots, 3), strict=True):
        assert torch.allclose(a[0], b[0], atol=1e-4)
        assert torch.allclose(a[0], b[1], atol=1e-4)
