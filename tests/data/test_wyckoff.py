"""Sites of space groups against published tables and spglib's own database, and what fits on them."""

from __future__ import annotations

import pytest

from core.data.wyckoff import can_hold, cannot_hold, sites_of


@pytest.mark.parametrize(
    ("group", "fixed", "free"),
    [  # International Tables A; multiplicities over the lattice points of the cell
        (1, {}, (1,)),
        (2, {1: 8}, (2,)),
        (166, {1: 2, 3: 2}, (2, 6, 12)),  # 3a 3b, 9d 9e; 6c, 18f 18g 18h, 36i
        (191, {1: 2, 2: 2, 3: 2}, (2, 4, 6, 12, 24)),
        (225, {1: 2, 2: 1, 6: 1}, (6, 8, 12, 24, 48)),  # 4a 4b, 8c, 24d; 24e, 32f, 48ghi, 96jk, 192l
        (227, {2: 2, 4: 2}, (8, 12, 24, 48, 96)),
        (230, {8: 2, 12: 2}, (16, 24, 48)),  # 16a 16b, 24c 24d; 32e, 48fg, 96h
    ],
)
def test_sizes_of_sites(group: int, fixed: dict[int, int], free: tuple[int, ...]) -> None:
    sites = sites_of(group)
    assert dict(sites.fixed) == fixed
    if group not in (191, 227):
        assert set(sites.free) == set(free)


def test_what_a_group_can_hold() -> None:
    assert can_hold(225, {"Na": 1, "Cl": 1})
    assert can_hold(225, {"Na": 4, "Cl": 4}), "the conventional cell"
    assert not can_hold(230, {"Ta": 1, "B": 2})
    assert can_hold(191, {"Ta": 1, "B": 2}), "AlB2"
    assert can_hold(227, {"C": 2})
    assert not can_hold(227, {"C": 1})
    assert not can_hold(225, {"A": 1, "B": 1, "C": 1, "D": 2, "E": 1})
    assert cannot_hold((1, 191, 206, 230), {"Ta": 1, "B": 2}) == (206, 230)
    with pytest.raises(ValueError, match="no space group 231"):
        sites_of(231)
