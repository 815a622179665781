"""Subgroups of a crystal's symmetry, against lists made by brute force and a published count."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import Crystals
from core.data.subgroups import moved_onto, orbits_of, product_table, subgroups
from core.data.symmetry import detect_group, point_group_order
from core.data.symmetry_operations import SiteOperations, find_operations


def perovskite(shift: float = 0.0) -> Crystals:
    """SrTiO3, its titanium off its centre along z by `shift` of the edge."""
    places = [[0, 0, 0], [0.5, 0.5, 0.5 + shift], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return one_of(Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], places))


def one_of(structure: Structure) -> Crystals:
    return Crystals(
        torch.tensor(structure.frac_coords)[None],
        torch.tensor(np.array(structure.lattice.matrix))[None],
        torch.tensor([list(structure.atomic_numbers)]),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.float64),
    )


def operations_of(crystal: Crystals) -> SiteOperations:
    return find_operations(crystal, 0.01)[0]


def test_the_products_are_a_group() -> None:
    table = product_table(
        operations_of(one_of(Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na"], [[0] * 3])))
    )
    count = len(table)
    assert count == 192
    assert all(sorted(row) == list(range(count)) for row in table.tolist()), "a Latin square"
    a, b, c = np.random.default_rng(0).integers(0, count, (3, 500))
    assert (table[table[a, b], c] == table[a, table[b, c]]).all()


def test_the_classes_of_the_cubic_point_group() -> None:
    """m-3m has 98 subgroups in 33 classes of conjugates (International Tables A, table 3.2.1)."""
    crystal = perovskite()
    operations = operations_of(crystal)
    found = [one for g in range(1, 231) for one in subgroups(operations, crystal.lattice[0], g)]
    assert len(operations.rotation) == 48
    assert len(found) == 33


def test_against_every_closed_subset() -> None:
    """P4mm: all sets of its eight operations that are closed, by classes of conjugates."""
    crystal = perovskite(0.02)
    operations = operations_of(crystal)
    table = product_table(operations)
    count = len(table)
    assert count == 8
    closed = [
        set(s)
        for n in range(1, count + 1)
        for s in combinations(range(count), n)
        if set(table[np.ix_(s, s)].ravel()) <= set(s)
    ]
    identity = int(np.flatnonzero((table == np.arange(count)).all(1))[0])
    inverse = [int(np.flatnonzero(row == identity)[0]) for row in table]
    classes = {min(tuple(sorted(int(table[table[g, h], inverse[g]]) for h in s)) for g in range(count)) for s in closed}
    found = [one for g in range(1, 231) for one in subgroups(operations, crystal.lattice[0], g)]
    assert len(found) == len(classes)
    assert sorted(len(one.rotation) for one in found) == sorted(map(len, classes))


@pytest.mark.parametrize("number", [221, 123, 99, 38, 160, 47, 2])
def test_what_is_moved_onto_a_subgroup_has_it(number: int) -> None:
    """A crystal off its place everywhere comes back to the operations, and no farther than it was off."""
    crystal = perovskite()
    generator = torch.Generator().manual_seed(number)
    for one in subgroups(operations_of(crystal), crystal.lattice[0], number):
        off = crystal.frac + 0.005 * torch.randn(crystal.frac.shape, generator=generator, dtype=torch.float64)
        strained = crystal.lattice + 0.01 * torch.randn(1, 3, 3, generator=generator, dtype=torch.float64)
        moved = moved_onto(replace(crystal, frac=off, lattice=strained), one)
        assert detect_group(moved, 0, 1e-4) == number
        assert float((moved.frac - off).abs().max()) < 0.03
        assert orbits_of(one).max() + 1 >= 3, "three elements"


def test_the_order_of_a_point_group() -> None:
    assert [point_group_order(n) for n in (1, 2, 14, 62, 166, 194, 225, 230)] == [1, 2, 4, 8, 12, 24, 48, 48]
    with pytest.raises(ValueError, match="231"):
        point_group_order(231)


def test_nothing_is_found_where_there_is_no_such_subgroup() -> None:
    crystal = perovskite(0.02)
    assert subgroups(operations_of(crystal), crystal.lattice[0], 221) == []
    (trivial,) = subgroups(operations_of(crystal), crystal.lattice[0], 1)
    assert len(trivial.rotation) == 1
