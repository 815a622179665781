"""Element properties against mendeleev's own elements, group operations against spglib and the group axioms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spglib
import torch
from mendeleev import element

from core.data.features import (
    PROPERTIES,
    element_features,
    operation_counts,
    raw_element_features,
    space_group_operations,
)
from core.data.matrix import element_matrix


def test_properties_are_those_of_mendeleev() -> None:
    table = raw_element_features()
    assert table.shape == (103, 22) == (103, len(PROPERTIES))
    for z in (1, 22, 73, 92):
        known = element(z)
        for name in ("atomic_weight", "en_pauling", "covalent_radius_cordero", "dipole_polarizability", "density"):
            assert table.loc[z, name] == pytest.approx(getattr(known, name), nan_ok=True)
        assert table.loc[z, "ionization_energy"] == pytest.approx(known.ionenergies[1], rel=1e-6)


def test_scaled_properties_have_mean_zero_and_deviation_one_where_they_are_known() -> None:
    scaled, raw = element_features(), raw_element_features().to_numpy()
    assert scaled.shape == (119, 22)
    for k in range(22):
        known = np.isfinite(raw[:, k])
        values = scaled[1:104, k].double().numpy()
        assert known.sum() > 60
        assert values[known].mean() == pytest.approx(0, abs=1e-5)
        assert values[known].std() == pytest.approx(1, abs=1e-5)
        assert (values[~known] == 0).all()
    assert bool((scaled[0] == 0).all())


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return space_group_operations(tmp_path_factory.mktemp("cache"))


def test_every_group_has_as_many_operations_as_spglib_says(operations: torch.Tensor) -> None:
    counts = operation_counts(operations)
    first = {}  # spglib's first setting of each group is the standard one
    for hall in range(1, 531):
        first.setdefault(spglib.get_spacegroup_type(hall).number, hall)
    for group in range(1, 231):
        found = spglib.get_symmetry_from_database(first[group])
        assert int(counts[group]) == len(found["rotations"]), group
        mine = np.sort(np.round(np.linalg.det(operations[group, : counts[group], :3, :3].numpy())))
        assert (mine == np.sort(np.round(np.linalg.det(found["rotations"])))).all()
    assert bool((operations[0] == 0).all())


@pytest.mark.parametrize("group", [2, 14, 62, 136, 166, 194, 225, 227])
def test_operations_form_a_group(operations: torch.Tensor, group: int) -> None:
    ops = operations[group, : operation_counts(operations)[group]].double()
    assert torch.equal(ops[0], torch.eye(4).double())

    def keys(matrices: torch.Tensor) -> set[tuple[int, ...]]:
        wrapped = matrices.clone()
        wrapped[:, :3, 3] = (wrapped[:, :3, 3] + 1e-4) % 1.0
        return {tuple((m * 24).round().int().tolist()) for m in wrapped.flatten(1)}

    products = torch.einsum("aij,bjk->abik", ops, ops).flatten(0, 1)
    assert keys(products) == keys(ops)


@pytest.mark.parametrize(("group", "sites"), [(225, 4), (227, 8), (229, 2), (194, 2), (221, 1)])
def test_the_origin_goes_where_the_tables_say(operations: torch.Tensor, group: int, sites: int) -> None:
    """Multiplicity of the Wyckoff position at 0,0,0 (International Tables A; 227 in its first setting)."""
    ops = operations[group, : operation_counts(operations)[group]]
    orbit = {tuple((p * 24).round().int().tolist()) for p in (ops[:, :3, 3] + 1e-4) % 1.0}
    assert len(orbit) == sites


def test_a_damaged_copy_is_made_anew(tmp_path: Path, operations: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.features._operations_of", lambda group: operations[group, :1].numpy())
    path = tmp_path / "operations.safetensors"
    path.write_bytes(b"damaged")
    space_group_operations.cache_clear()
    assert operation_counts(space_group_operations(tmp_path))[225] == 1
    assert path.stat().st_size > 10**6
    space_group_operations.cache_clear()


def test_the_element_matrix_is_one_hot_and_properties() -> None:
    numbers = torch.tensor([[5, 73, 0], [103, 1, 1]])
    found = element_matrix(numbers)
    assert found.shape == (2, 64, 125)
    assert found[:, :, :103].sum(-1)[:, :3].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert found[0, 1, 72] == 1
    assert torch.equal(found[0, 0, 103:], element_features()[5])
    assert bool((found[0, 2:] == 0).all())
    with pytest.raises(ValueError, match="past the 103"):
        element_matrix(torch.tensor([[104]]))
    with pytest.raises(ValueError, match="more than 60"):
        element_matrix(torch.full((1, 61), 5))
