"""Element properties against mendeleev's own elements, group operations against spglib and the group axioms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import spglib
import torch
from mendeleev import element

from core.data.features import (
    PROPERTIES,
    PROPERTY_MEANINGS,
    _write_operations,
    element_features,
    operation_counts,
    raw_element_features,
    space_group_operations,
)
from core.data.matrix import element_matrix


@pytest.mark.slow
def test_properties_are_those_of_mendeleev() -> None:
    table = raw_element_features()
    assert table.shape == (103, 22) == (103, len(set(PROPERTIES)))
    assert tuple(table.columns) == PROPERTIES == tuple(PROPERTY_MEANINGS)
    assert table.index.tolist() == list(range(1, 104))
    for z in (1, 2, 5, 22, 57, 73, 92, 103):
        known = element(z)
        for name in PROPERTIES:
            expected = known.ionenergies[1] if name == "ionization_energy" else getattr(known, name)
            assert table.loc[z, name] == pytest.approx(np.nan if expected is None else expected, nan_ok=True), (z, name)


def test_the_table_is_the_callers_own() -> None:
    mine = raw_element_features()
    mine.loc[73, "atomic_weight"] = 0.0
    assert raw_element_features().loc[73, "atomic_weight"] == pytest.approx(180.947, abs=1e-2)


def test_scaled_properties_have_mean_zero_and_deviation_one_where_they_are_known() -> None:
    scaled, raw = element_features(), raw_element_features().to_numpy()
    assert scaled.shape == (119, 22)
    assert scaled.dtype == torch.float32
    assert bool(torch.isfinite(scaled).all())
    for k in range(22):
        known = np.isfinite(raw[:, k])
        values = scaled[1:104, k].double().numpy()
        assert known.sum() > 60
        assert values[known].mean() == pytest.approx(0, abs=1e-5)
        assert values[known].std() == pytest.approx(1, abs=1e-5)
        assert (values[~known] == 0).all()
    assert bool((scaled[0] == 0).all())
    assert bool((scaled[104:] == 0).all())


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return space_group_operations(tmp_path_factory.mktemp("cache"))


def as_set(rotations: np.ndarray, translations: np.ndarray) -> set[tuple[int, ...]]:
    """Operations as whole numbers, translations in 24ths of an edge: exact, and in no order."""
    twentyfourths = np.rint(translations * 24).astype(int) % 24
    return {
        (*r.ravel().tolist(), *t.tolist()) for r, t in zip(np.rint(rotations).astype(int), twentyfourths, strict=True)
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # spglib 2.8 announces how it will raise one day
def test_every_group_is_that_of_spglib(operations: torch.Tensor) -> None:
    """All 230 as sets, against spglib's database, whose first setting of each group is the standard one."""
    counts = operation_counts(operations)
    first: dict[int, int] = {}
    for hall in range(1, 531):
        first.setdefault(spglib.get_spacegroup_type(hall).number, hall)
    for group in range(1, 231):
        found = spglib.get_symmetry_from_database(first[group])
        mine = operations[group, : counts[group]].double().numpy()
        assert len(mine) == len(found["rotations"]), group
        assert as_set(mine[:, :3, :3], mine[:, :3, 3]) == as_set(found["rotations"], found["translations"]), group
        assert (operations[group, counts[group] :] == 0).all()
    assert bool((operations[0] == 0).all())
    assert (int(counts[0]), int(counts.max())) == (0, 192)


def test_order_and_form_of_the_operations(operations: torch.Tensor) -> None:
    """Identity first, then sorted; translations are whole 24ths in [0, 1)."""
    for group, count in enumerate(operation_counts(operations).tolist()):
        rows = operations[group, :count].flatten(1).tolist()
        assert rows[1:] == sorted(rows[1:])
        assert rows[:1] == [torch.eye(4).flatten().tolist()] * min(count, 1)
    translations = operations[:, :, :3, 3]
    assert bool(((translations >= 0) & (translations < 1)).all())
    torch.testing.assert_close(translations * 24, (translations * 24).round(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("group", [1, 2, 14, 62, 136, 166, 194, 225, 227])
def test_operations_form_a_group(operations: torch.Tensor, group: int) -> None:
    ops = operations[group, : operation_counts(operations)[group]].double()
    assert torch.equal(ops[0], torch.eye(4).double())

    def keys(matrices: torch.Tensor) -> set[tuple[int, ...]]:
        return as_set(matrices[:, :3, :3].numpy(), matrices[:, :3, 3].numpy())

    products = torch.einsum("aij,bjk->abik", ops, ops).flatten(0, 1)
    assert keys(products) == keys(ops)
    assert keys(torch.linalg.inv(ops)) == keys(ops)


@pytest.mark.parametrize(("group", "sites"), [(225, 4), (227, 8), (229, 2), (194, 2), (221, 1)])
def test_the_origin_goes_where_the_tables_say(operations: torch.Tensor, group: int, sites: int) -> None:
    """Multiplicity of the Wyckoff position at 0,0,0 (International Tables A; 227 in its first setting)."""
    ops = operations[group, : operation_counts(operations)[group]]
    images = (ops @ torch.tensor([0.0, 0.0, 0.0, 1.0]))[:, :3]
    assert len({tuple(p) for p in ((images * 24).round() % 24).int().tolist()}) == sites


@pytest.fixture
def quick(operations: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Operations are made at once, and one only for each group, so that one sees when they are made anew."""
    monkeypatch.setattr("core.data.features._operations_of", lambda group: operations[group, :1].numpy())
    space_group_operations.cache_clear()
    yield
    space_group_operations.cache_clear()


def made_anew(found: torch.Tensor) -> bool:
    return int(operation_counts(found)[225]) == 1


def whole_copy(operations: torch.Tensor, path: Path) -> bytes:
    _write_operations(path, operations)
    return path.read_bytes()


def test_a_whole_copy_is_used(tmp_path: Path, operations: torch.Tensor, quick: None) -> None:
    whole_copy(operations, tmp_path / "operations.safetensors")
    assert torch.equal(space_group_operations(tmp_path), operations)
    assert space_group_operations(tmp_path) is space_group_operations(tmp_path)


def flipped(whole: bytes) -> bytes:
    return whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:]


@pytest.mark.parametrize("damage", [lambda _: b"damaged", lambda _: b"", lambda w: w[:-100], flipped])
def test_a_damaged_copy_is_made_anew(
    tmp_path: Path, operations: torch.Tensor, quick: None, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "operations.safetensors"
    path.write_bytes(damage(whole_copy(operations, path)))
    assert made_anew(space_group_operations(tmp_path))
    space_group_operations.cache_clear()
    assert made_anew(space_group_operations(tmp_path)), "the new copy is whole"
    assert path.stat().st_size > 10**6
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing partial is left"


def test_a_copy_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, quick: None) -> None:
    (tmp_path / "file").write_text("no folder")
    assert made_anew(space_group_operations(tmp_path / "file"))


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
