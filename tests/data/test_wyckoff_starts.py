"""Random crystals of a composition and a space group, against spglib."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice

from core.crystals import to_structures
from core.data.symmetry import detect_group
from core.data.wyckoff import positions_of
from core.data.wyckoff_starts import points_filled, random_start


@pytest.mark.parametrize("groups", [range(k, k + 46) for k in range(1, 231, 46)])
def test_every_group_is_met(groups: range) -> None:
    """A general position and the smallest one, in the primitive cell: spglib finds the group and no more."""
    for group in groups:
        sizes = [p.size for p in positions_of(group)]
        numbers = [8] * sizes[0] + [22] * sizes[-1]
        crystal = random_start(numbers, group, np.random.default_rng(group))
        assert crystal is not None, group
        assert crystal.numbers[0].tolist() == numbers
        assert int(crystal.group[0]) == detect_group(crystal, 0, 0.001) == group
        assert 1 < float(crystal.volume[0]) / len(numbers) < 250
        cell = Lattice(crystal.lattice[0].numpy())
        assert np.allclose(sorted(cell.abc), sorted(cell.get_niggli_reduced_lattice().abc), rtol=1e-4)


def test_atoms_keep_the_order_that_is_asked_for_and_the_seed_decides() -> None:
    numbers = [17, 11, 17, 17, 11, 17, 11, 11]
    first, again, other = (random_start(numbers, 62, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.numbers[0].tolist() == numbers
    assert torch.equal(first.frac, again.frac)
    assert not torch.equal(first.frac, other.frac)
    assert float(min(s.distance_matrix[np.triu_indices(8, 1)].min() for s in to_structures(first))) > 0.5


def test_the_conventional_cell_is_taken_where_only_that_has_room() -> None:
    assert (points_filled(225, (1, 1)), points_filled(225, (4, 4)), points_filled(225, (3, 3))) == (1, 4, 0)
    salt = random_start([11] * 4 + [17] * 4, 225, np.random.default_rng(0))
    assert salt is not None
    (structure,) = to_structures(salt)
    assert structure.lattice.angles == pytest.approx((90, 90, 90))
    assert detect_group(salt, 0, 0.001) == 225
    assert random_start([73, 5, 5], 230, np.random.default_rng(0)) is None
    with pytest.raises(ValueError, match="no space group 231"):
        random_start([73], 231, np.random.default_rng(0))


def test_a_prior_says_which_positions_are_taken() -> None:
    """Fluorite: calcium on one of the two single sites, fluorine on the pair; never the reverse, which cannot be."""
    fixed = [i for i, p in enumerate(positions_of(225)) if p.size == 1]
    pair = next(i for i, p in enumerate(positions_of(225)) if p.size == 2)
    wanted = ((pair,), (fixed[0],))  # fluorine is the lighter one
    for seed in range(4):
        crystal = random_start([20, 9, 9], 225, np.random.default_rng(seed), {wanted: 1.0, ((fixed[0],),): 5.0})
        assert crystal is not None
        calcium, *fluorine = crystal.frac[0].numpy()
        assert np.allclose((calcium - 2 * np.array(fluorine) + 0.5) % 1 - 0.5, [[-0.5] * 3] * 2) or np.allclose(
            np.sort([np.abs((f - calcium + 0.5) % 1 - 0.5) for f in fluorine], axis=None), [0.25] * 6
        )
