"""Names of space groups against pymatgen's tables."""

from __future__ import annotations

import pytest
from pymatgen.symmetry.groups import SpaceGroup, sg_symbol_from_int_number

from core.data.symmetry import crystal_system_of, named, point_group_of, symbol_of


def test_symbols_are_pymatgens_with_low_digits() -> None:
    """Monoclinic ones are short here and full there: "P2₁/c" for "P12_1/c1"."""
    plain = str.maketrans("₁₂₃₄₅", "12345")
    for number in [1, 2, *range(16, 231)]:
        assert symbol_of(number).translate(plain) == sg_symbol_from_int_number(number).replace("_", ""), number
    assert [symbol_of(n) for n in (4, 5, 11, 12, 14, 15)] == ["P2₁", "C2", "P2₁/m", "C2/m", "P2₁/c", "C2/c"]
    assert named(225) == "Fm-3m (225)"
    assert named(0) == "unknown"


@pytest.mark.parametrize("number", [1, 2, 5, 15, 62, 76, 115, 142, 148, 167, 176, 194, 195, 216, 227, 230])
def test_systems_and_point_groups_are_pymatgens(number: int) -> None:
    reference = SpaceGroup.from_int_number(number)
    assert crystal_system_of(number) == reference.crystal_system
    assert point_group_of(number).replace("-4m2", "-42m") == str(reference.point_group)


@pytest.mark.parametrize("number", [0, -1, 231])
def test_what_is_no_space_group_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"no space group {number}"):
        symbol_of(number)
