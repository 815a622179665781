"""How far a crystal moved: closed forms, and pymatgen's own root mean square where cells are equal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures
from core.evaluation.displacement import change, displacement

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def moved(first: Structure, second: Structure) -> float:
    return displacement(from_structures([first]), from_structures([second]))


@pytest.mark.parametrize("length", [0.01, 0.2, 0.6])
def test_one_site_that_moves_is_measured_from_where_all_of_them_are(length: float) -> None:
    other = SALT.copy()
    other.translate_sites([3], [0, 0, length], frac_coords=False)
    n = len(SALT)
    assert moved(SALT, other) == pytest.approx(length * math.sqrt(n - 1) / n, abs=1e-6)


def test_renumbered_shifted_turned_and_strained_copies_have_not_moved() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(len(SALT))
    shuffled = Structure.from_sites([SALT[i] for i in order])
    shuffled.translate_sites(range(len(SALT)), [0.31, 0.52, 0.11])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = Structure(shuffled.lattice.matrix @ turn, shuffled.species, shuffled.frac_coords)
    assert moved(SALT, shuffled) == pytest.approx(0, abs=1e-6)
    assert moved(SALT, turned) == pytest.approx(0, abs=1e-6)
    strained = SALT.copy()
    strained.apply_strain([0.1, 0.0, -0.05])
    assert moved(SALT, strained) == pytest.approx(0, abs=1e-6)
    found = change(from_structures([SALT]), from_structures([strained]))
    assert found.volume == pytest.approx(1.1 * 0.95 - 1)


def test_in_one_cell_it_is_what_the_matcher_finds() -> None:
    """StructureMatcher gives the RMS over (V/N)^⅓ of the best mapping; for small moves that is the identity."""
    rng = np.random.default_rng(1)
    for seed in range(5):
        cell = Lattice.from_parameters(4.1, 5.3, 6.2, 80, 95, 105)
        start = Structure(cell, ["Ta", "Ta", "B", "B", "B", "W"], rng.random((6, 3)))
        other = start.copy()
        other.perturb(0.08 + 0.01 * seed)
        rms, _ = StructureMatcher(primitive_cell=False, ltol=0.01, angle_tol=0.1).get_rms_dist(start, other)
        assert moved(start, other) == pytest.approx(rms * (start.volume / 6) ** (1 / 3), abs=1e-5)


def test_atoms_of_two_elements_are_never_paired() -> None:
    swapped = Structure(SALT.lattice, list(reversed(SALT.species)), SALT.frac_coords)
    assert moved(SALT, swapped) == pytest.approx(0, abs=1e-6), "rock salt is itself with the two exchanged"
    blende = Structure.from_spacegroup("F-43m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    assert moved(SALT, blende) > 0.5


def test_the_verdict_is_the_papers_matcher_and_a_broken_candidate_has_none() -> None:
    start = from_structures([SALT])
    near = SALT.copy()
    near.perturb(0.05)
    caesium = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.5), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    caesium.replace_species({"Cs": "Na"})
    caesium.make_supercell([2, 2, 1])
    assert change(start, from_structures([near])).same is True
    assert change(start, from_structures([caesium])).same is False
    broken = from_structures([SALT])
    broken.lattice[0, 0, 0] = torch.nan
    assert change(start, broken).displacement is None
    with pytest.raises(ValueError, match="same atoms"):
        displacement(start, from_structures([Structure(Lattice.cubic(3), ["Na"], [[0, 0, 0]])]))
