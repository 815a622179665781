"""Space groups as people write them, against pymatgen."""

from __future__ import annotations

import pytest
from pymatgen.symmetry.groups import SpaceGroup

from core.data.space_groups import SpaceGroupError, compact, groups_of, parse_groups, symbols
from core.data.symmetry import CRYSTAL_SYSTEMS


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("", ()),
        ("6-10,225", (6, 7, 8, 9, 10, 225)),
        ("225; 6 – 8 1", (1, 6, 7, 8, 225)),
        ("Fm-3m, p6/mmm P2_1/c", (14, 191, 225)),
        ("P21/n", (14,)),
        ("triclinic 12", (1, 2, 12)),
    ],
)
def test_numbers_ranges_symbols_and_systems(text: str, groups: tuple[int, ...]) -> None:
    assert parse_groups(text) == groups


@pytest.mark.parametrize("text", ["0", "231", "9-5", "5-231", "Qq3", "<b>", "9" * 40, "-3"])
def test_what_names_no_group_is_said(text: str) -> None:
    with pytest.raises(SpaceGroupError, match=r"no (space group|range of space groups)"):
        parse_groups(text)


@pytest.mark.slow
def test_every_symbol_and_every_system_reads_back() -> None:
    for number, symbol in symbols().items():
        assert parse_groups(symbol) == (number,)
        assert SpaceGroup.from_int_number(number).crystal_system == next(
            name for name, first, last in CRYSTAL_SYSTEMS if first <= number <= last
        )
    assert sum(len(groups_of(name)) for name, _, _ in CRYSTAL_SYSTEMS) == 230


@pytest.mark.parametrize("groups", [(), (5,), (5, 6), (1, 2, 3, 99, 225, 226), tuple(range(1, 231))])
def test_compact_text_reads_back(groups: tuple[int, ...]) -> None:
    assert parse_groups(compact(groups)) == groups
