"""Relaxations that keep the space group, against ASE's FixSymmetry and closed forms."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import Crystals, concatenate, from_structures, to_structures
from core.data.symmetry import detect_groups
from core.data.symmetry_operations import find_operations
from core.energy.ase_calculator import OneByOne
from core.energy.load import load_potential
from core.energy.relaxation import CONVERGED, RelaxationConfig, relax
from core.energy.symmetry import Symmetry, symmetrize


def rutile(shake: float = 0.0) -> Crystals:
    sites = [[0, 0, 0], [0.31, 0.31, 0]]
    structure = Structure.from_spacegroup(136, Lattice.tetragonal(4.7, 3.0), ["Ti", "O"], sites)
    if shake:
        structure.perturb(shake, seed=1)
    return from_structures([structure])


def diboride() -> Crystals:
    sites = [[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]
    return from_structures([Structure(Lattice.hexagonal(3.2, 3.4), ["Ti", "B", "B"], sites)])


def test_forces_and_stress_are_what_the_groups_leave_of_them() -> None:
    """TiB2: no force on any site, the same stress along a and b; with rutile beside it nothing is mixed up."""
    crystals = concatenate([diboride(), rutile()])
    found = find_operations(crystals, 0.01)
    assert [o.number for o in found] == [191, 136]
    assert [len(o.rotation) for o in found] == [24, 16]
    generator = torch.Generator().manual_seed(0)
    forces = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    stress = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    even, tensor = Symmetry(found).project(forces, stress, crystals.lattice)
    assert float(even[:3].abs().max()) < 1e-12
    xx = (stress[0, 0, 0] + stress[0, 1, 1]) / 2
    torch.testing.assert_close(tensor[0], torch.diag(torch.stack([xx, xx, stress[0, 2, 2]])), atol=1e-12, rtol=0)
    oxygen = even[5:]  # along ±(110) by the same amount
    assert float(oxygen[:, 2].abs().max()) < 1e-12
    torch.testing.assert_close(oxygen[:, :2].abs(), oxygen[0, 0].abs().expand(4, 2), atol=1e-12, rtol=0)
    again = Symmetry(found).project(even, tensor, crystals.lattice)
    torch.testing.assert_close(again[0], even)
    alone = Symmetry(found).select([1]).project(forces[3:], stress[1:], crystals.lattice[1:])
    torch.testing.assert_close(alone[0], even[3:])


def test_a_shaken_crystal_is_brought_onto_its_group() -> None:
    shaken = rutile(0.02)
    strain = torch.eye(3, dtype=torch.float64) + 0.004 * torch.tensor([[1, 0.3, 0.2], [0.3, -1, 0], [0.2, 0, 0.5]])
    shaken = replace(shaken, lattice=shaken.lattice @ strain.double())
    assert detect_groups(shaken, 1e-3).tolist() == [1]
    even = symmetrize(shaken, find_operations(shaken, 0.1))
    assert detect_groups(even, 1e-6).tolist() == [136]
    moved = (even.frac - shaken.frac + 0.5) % 1 - 0.5
    assert float((moved @ shaken.lattice[0]).norm(dim=-1).max()) < 0.1
    assert (
        float((even.lattice / shaken.lattice.where(shaken.lattice.abs() > 1, torch.nan) - 1).nan_to_num().abs().max())
        < 0.01
    )


def test_a_crystal_without_symmetry_is_left_as_it_is() -> None:
    broken = rutile(0.3)
    assert detect_groups(broken, 0.01).tolist() == [1]
    even = symmetrize(broken, find_operations(broken, 0.01))
    torch.testing.assert_close(even.frac, broken.frac)
    torch.testing.assert_close(even.lattice, broken.lattice)


def real_structures(shared: Path, count: int) -> list[Structure]:
    """Real crystals off their minima: cells stretched by up to 4 %, which leaves the group as it is."""
    found: list[Structure] = []
    with gzip.open(shared / "data" / "mp_polymorphs.jsonl.gz", "rt") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            atoms = sum(row["composition"])
            if number % 97 == 0 and 3 <= atoms <= 10 and row["spacegroup_relax"] > 15:
                species = [s for s, n in zip(row["species"], row["composition"], strict=True) for _ in range(n)]
                cell = Lattice.from_parameters(*row["geometry"])
                structure = Structure(cell, species, row["positions_fractional"])
                structure.apply_strain(0.02 if number % 2 else -0.02)
                found.append(structure)
            if len(found) == count:
                return found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("cell", [True, False])
def test_energies_and_groups_are_those_of_ases_fixsymmetry(shared: Path, m3gnet_folder: Path, cell: bool) -> None:
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    potential = load_potential("m3gnet", m3gnet_folder)
    start = from_structures(real_structures(shared, 6))
    start = symmetrize(start, find_operations(start, 0.01))
    config = RelaxationConfig(cell=cell, fmax=0.02, steps=300, symmetry=True, symprec=0.01)
    relaxed = relax(start, potential, config)
    assert relaxed.status == [CONVERGED] * 6
    before = detect_groups(start, 0.01)
    assert bool((before > 15).all())
    after = detect_groups(relaxed.crystals, 1e-4)
    assert bool((after >= before).all())  # what was kept; more may have been found
    for i, structure in enumerate(to_structures(start)):
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = OneByOne(potential)
        atoms.set_constraint(FixSymmetry(atoms, symprec=0.01))
        FIRE(FrechetCellFilter(atoms) if cell else atoms, logfile=None).run(fmax=0.02, steps=300)
        difference = abs(atoms.get_potential_energy() - float(relaxed.energy_after[i])) / len(atoms)
        assert difference < 0.001, structure.formula
