"""The batch type against pymatgen, and its way through bytes."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import (
    Crystals,
    concatenate,
    from_structures,
    lattice_from_parameters,
    lattice_parameters,
    pack_cells,
    to_structures,
    unpack_cells,
    wrap,
)


def random_structures(count: int, seed: int = 0) -> list[Structure]:
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(count):
        n = int(rng.integers(1, 12))
        lattice = Lattice.from_parameters(*rng.uniform(2, 12, 3), *rng.uniform(70, 110, 3))
        structures.append(Structure(lattice, rng.integers(1, 103, n), rng.uniform(-2, 2, (n, 3))))
    return structures


def periodic_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    d = a - b
    return float((d - d.round()).abs().max())


def test_lattice_parameters_agree_with_pymatgen() -> None:
    structures = random_structures(50)
    crystals = from_structures(structures)
    expected = torch.tensor([s.lattice.parameters for s in structures], dtype=torch.float64)
    torch.testing.assert_close(lattice_parameters(crystals.lattice), expected)
    rebuilt = lattice_from_parameters(expected)
    torch.testing.assert_close(lattice_parameters(rebuilt), expected)
    assert (rebuilt[:, 0, 1:] == 0).all(), "a lies along x"
    assert (rebuilt[:, 1, 2] == 0).all(), "b lies in the xy plane"
    volumes = torch.tensor([s.volume for s in structures], dtype=torch.float64)
    torch.testing.assert_close(crystals.volume, volumes)


@pytest.mark.parametrize("angles", [(10, 100, 150), (90, 90, 0), (90, 90, 180)])
def test_impossible_cells_are_refused(angles: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no cell"):
        lattice_from_parameters(torch.tensor([[3.0, 4.0, 5.0, *angles]]))


def test_structures_come_back_as_they_went() -> None:
    structures = random_structures(30, seed=1)
    for before, after in zip(structures, to_structures(from_structures(structures)), strict=True):
        assert before.species == after.species
        np.testing.assert_allclose(before.lattice.matrix, after.lattice.matrix)
        difference = before.frac_coords - after.frac_coords
        np.testing.assert_allclose(difference, np.rint(difference), atol=1e-12)
        assert (after.frac_coords >= 0).all()
        assert (after.frac_coords < 1).all()


def test_stored_cells_are_exact_to_a_billionth() -> None:
    crystals = from_structures(random_structures(40, seed=2))
    stored = unpack_cells(pack_cells(crystals), crystals.group.tolist())
    assert torch.equal(stored.numbers, crystals.numbers)
    assert torch.equal(stored.lattice, crystals.lattice)
    assert periodic_difference(stored.frac, crystals.frac) < 2.0**-32
    assert bool(((stored.frac >= 0) & (stored.frac < 1)).all())
    again = unpack_cells(pack_cells(stored))
    assert torch.equal(again.frac, stored.frac), "a second journey changes nothing"


@pytest.mark.parametrize("length", [0, 71, 72, 84, 86])
def test_damaged_cells_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack_cells([b"\0" * length])


def test_wrap_never_returns_one() -> None:
    values = torch.tensor([-1e-20, 1.0, -0.25, 7.5, 0.999999999], dtype=torch.float64)
    wrapped = wrap(values)
    assert bool(((wrapped >= 0) & (wrapped < 1)).all())
    torch.testing.assert_close(wrapped, torch.tensor([0.0, 0.0, 0.75, 0.5, 0.999999999], dtype=torch.float64))


def test_sub_batches_and_joins_keep_every_crystal() -> None:
    crystals = from_structures(random_structures(20, seed=3), groups=range(1, 21))
    parts = [crystals[:7].trim(), crystals[torch.arange(7, 20)].trim()]
    joined = concatenate(parts)
    assert torch.equal(joined.group, crystals.group)
    assert joined.natoms.tolist() == crystals.natoms.tolist()
    assert [joined.formula(i) for i in range(20)] == [crystals.formula(i) for i in range(20)]
    assert crystals[crystals.natoms > 3].natoms.min() > 3


def test_formula_is_the_whole_cell_as_pymatgen_writes_it() -> None:
    structures = random_structures(20, seed=4)
    crystals = from_structures(structures)
    for i, structure in enumerate(structures):
        assert crystals.formula(i) == structure.composition.formula.replace(" ", "")


def test_wrong_shapes_and_disorder_are_refused() -> None:
    crystals = from_structures(random_structures(2))
    with pytest.raises(ValueError, match="do not fit"):
        Crystals(crystals.frac, crystals.lattice[:1], crystals.numbers, crystals.group, crystals.energy)
    with pytest.raises(ValueError, match="sites do not fit"):
        crystals.pad(0)
    disordered = Structure(Lattice.cubic(3), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match="disordered"):
        from_structures([disordered])
