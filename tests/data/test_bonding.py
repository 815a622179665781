"""Bonds and polyhedra: against pymatgen's EconNN, and crystals that everybody knows."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.local_env import EconNN
from pymatgen.core import Lattice, Structure

from core.data.bonding import bonds, find_neighbours, find_polyhedra, large_centres
from tests.data.test_crystallography import KNOWN


@pytest.mark.parametrize("name", KNOWN)
def test_neighbours_are_those_of_econ(name: str) -> None:
    structure, reference = KNOWN[name], EconNN()
    found = find_neighbours(structure)
    for i in range(len(structure)):
        wanted = sorted((n["site_index"], *n["image"]) for n in reference.get_nn_info(structure, i))
        rows = found.of(i)
        assert sorted((int(found.other[r]), *found.image[r].tolist()) for r in rows) == wanted
        ends = structure.frac_coords[found.other[rows]] + found.image[rows]
        lengths = np.linalg.norm((ends - structure.frac_coords[i]) @ structure.lattice.matrix, axis=1)
        assert np.allclose(lengths, found.distance[rows])


def test_random_cells_too() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        lattice = Lattice.from_parameters(*rng.uniform(4, 7, 3), *rng.uniform(65, 115, 3))
        structure = Structure(lattice, rng.choice([5, 8, 73, 74], 7).tolist(), rng.random((7, 3)))
        found = find_neighbours(structure)
        wanted = [EconNN().get_cn(structure, i) for i in range(7)]
        assert np.bincount(found.site, minlength=7).tolist() == wanted


@pytest.mark.parametrize(("name", "numbers"), [("NaCl", {6}), ("Si", {4}), ("Mg", {12}), ("TiO2", {6, 3})])
def test_coordination_numbers_are_the_textbooks(name: str, numbers: set[int]) -> None:
    found = find_neighbours(KNOWN[name])
    assert set(np.bincount(found.site).tolist()) == numbers


@pytest.mark.parametrize(("name", "count"), [("NaCl", 24), ("Si", 16), ("TiO2", 12), ("Mg", 12)])
def test_every_bond_is_there_once(name: str, count: int) -> None:
    found = bonds(find_neighbours(KNOWN[name]))
    assert len(found) == count
    backwards = {(j, i, -a, -b, -c) for i, j, a, b, c in found}
    assert not backwards & set(found)


@pytest.mark.parametrize(
    ("name", "centre", "corners", "faces", "edges"),
    [("NaCl", "Na", 6, 8, 12), ("TiO2", "Ti", 6, 8, 12), ("BaTiO3", "Ti", 6, 8, 12), ("TaB2", "Ta", 12, 20, 18)],
)
def test_polyhedra_are_closed_around_the_metal(name: str, centre: str, corners: int, faces: int, edges: int) -> None:
    structure = KNOWN[name]
    found = find_polyhedra(structure, find_neighbours(structure))
    assert {str(structure[p.centre].specie) for p in found} == {centre}
    for p in found:
        assert (len(p.corners), len(p.triangles), len(p.edges)) == (corners, faces, edges)
        points = (structure.frac_coords[p.corners] + p.images) @ structure.lattice.matrix
        middle = structure[p.centre].coords
        a, b, c = (points[p.triangles[:, k]] for k in range(3))
        assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a - middle) > 0).all(), "faces look outwards"


def test_elements_and_alloys_have_none() -> None:
    tantalum_tungsten = Structure(Lattice.cubic(3.2), ["Ta", "W"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for structure in (KNOWN["Si"], KNOWN["Mg"], tantalum_tungsten):
        assert find_polyhedra(structure, find_neighbours(structure)) == []


def test_large_cations_are_left_unbonded_beside_octahedra_only() -> None:
    structure = KNOWN["BaTiO3"]
    neighbours = find_neighbours(structure)
    quiet = large_centres(structure, neighbours, find_polyhedra(structure, neighbours))
    assert [str(structure[i].specie) for i in quiet] == ["Ba"]
    pairs = {frozenset((str(structure[i].specie), str(structure[j].specie))) for i, j, *_ in bonds(neighbours, quiet)}
    assert pairs == {frozenset(("Ti", "O"))}
    structure = KNOWN["TaB2"]
    neighbours = find_neighbours(structure)
    assert large_centres(structure, neighbours, find_polyhedra(structure, neighbours)) == []


def test_lone_and_crowded_atoms_are_no_fault() -> None:
    lone = Structure(Lattice.cubic(30), ["He"], [[0, 0, 0]])
    assert len(find_neighbours(lone).site) == 0
    assert bonds(find_neighbours(lone)) == []
    rng = np.random.default_rng(0)
    crowded = Structure(Lattice.cubic(1.5), ["B"] * 300, rng.random((300, 3)))
    with pytest.raises(ValueError, match="too densely"):
        find_neighbours(crowded)
    on_top = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0]])
    assert np.isfinite(find_neighbours(on_top).distance).all()
