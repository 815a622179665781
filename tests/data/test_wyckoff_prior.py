"""The positions that known structures take: what a start was made of is found again, and weighs other starts."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures
from core.data.wyckoff import positions_of
from core.data.wyckoff_prior import positions_taken, site_prior
from core.data.wyckoff_starts import random_start


def kinds(group: int, places: tuple[int, ...]) -> list[tuple[int, int]]:
    return sorted((positions_of(group)[p].size, positions_of(group)[p].free) for p in places)


def test_positions_of_a_start_are_found_again() -> None:
    """Whatever the start's cell: the same sizes and free coordinates, and the same prior's positions drawn again."""
    for group in (10, 12, 43, 62, 88, 148, 166, 186, 198, 225, 227, 230):
        sizes = [p.size for p in positions_of(group)]
        numbers = [8] * (2 * sizes[0]) + [22] * sizes[-1]
        crystal = random_start(numbers, group, np.random.default_rng(group))
        assert crystal is not None
        taken = positions_taken(crystal, 0, group)
        assert taken is not None, group
        assert [n for n, _ in taken] == [2 * sizes[0], sizes[-1]]
        way = next(iter(site_prior(crystal, group, [2 * sizes[0], sizes[-1]])))
        again = random_start(numbers, group, np.random.default_rng(0), {way: 1.0})
        assert again is not None
        found = positions_taken(again, 0, group)
        assert found is not None
        assert sorted(kinds(group, p) for _, p in found) == sorted(kinds(group, p) for _, p in taken)


def test_elements_with_as_many_atoms_stand_for_each_other() -> None:
    """Perovskite ABX3: A and B on the two single sites either way round, X on one of the two triple ones."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    perovskite = Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], sites)
    salt = Structure.from_spacegroup(225, Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    prior = site_prior(from_structures([perovskite, salt, perovskite]), 221, [3, 1, 1])
    single = [i for i, p in enumerate(positions_of(221)) if p.size == 1]
    assert len(prior) == 2
    assert sum(prior.values()) == 2
    assert {frozenset((a, b)) for _, (a,), (b,) in prior} == {frozenset(single)}
    assert all(kinds(221, triple) == [(3, 0)] for triple, _, _ in prior)
    assert site_prior(from_structures([salt]), 225, [4, 4]) == {((0,), (1,)): 0.5, ((1,), (0,)): 0.5}
    assert site_prior(from_structures([salt]), 221, [4, 4]) == {}
