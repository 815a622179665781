"""What a structure's own sites can become: other symmetries and other orders, against pymatgen and spglib."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from core.crystals import Crystals, to_structures
from core.data.symmetry import detect_group
from core.templates.relatives import kin, relatives
from tests.data.test_subgroups import one_of, perovskite


def brass(first: str = "Cu", second: str = "Ag", cells: int = 2) -> Structure:
    """Layers of two metals on the sites of a face-centred cubic cell, `cells` of them along a."""
    layers = Structure(
        Lattice.cubic(3.9), [first, first, second, second], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    )
    return layers * (cells, 1, 1)


def test_the_orders_of_two_metals_are_all_that_there_are() -> None:
    """All 70 ways to put four and four atoms on eight sites, put together by pymatgen's matcher."""
    start = brass()
    matcher = StructureMatcher(ltol=0.05, stol=0.05, angle_tol=1, primitive_cell=False)
    ways = []
    for chosen in combinations(range(8), 4):
        numbers = ["Cu" if i in chosen else "Ag" for i in range(8)]
        ways.append(Structure(start.lattice, numbers, start.frac_coords))
    distinct = matcher.group_structures(ways)
    found = relatives(one_of(start), None)
    assert (found.swapped == [29, 47]).all()
    assert len(found) == len(distinct) - 1, "the start is none of them"
    every = [*to_structures(found.crystals), start]
    assert len(matcher.group_structures(every)) == len(every)


@pytest.mark.parametrize("number", [1, 2, 6, 10, 47, 99, 123])
def test_what_is_asked_for_is_reached(number: int) -> None:
    """Of each order, too: no relative is in another group, and none is the start."""
    start = one_of(brass())
    own = detect_group(start, 0)
    found = relatives(start, number)
    for i in range(len(found)):
        assert detect_group(found.crystals, i) == number
        assert found.swapped[i].any() or number != own
        assert sorted(found.crystals.numbers[i].tolist()) == sorted(start.numbers[0].tolist())


def test_a_stuffed_frame_has_its_atoms_on_other_sites() -> None:
    """One lithium in the cubic holes of a primitive cubic frame, 2 × 2 × 1 cells: two of the four holes are taken.

    Side by side or across the face: what is not the start is the other of the two.
    """
    frame = Structure(Lattice.cubic(3.6), ["Po"], [[0, 0, 0]]) * (2, 2, 1)
    side = frame.copy()
    for place in ([0.25, 0.25, 0.5], [0.75, 0.25, 0.5]):
        side.append("Li", place)
    across = frame.copy()
    for place in ([0.25, 0.25, 0.5], [0.75, 0.75, 0.5]):
        across.append("Li", place)
    matcher = StructureMatcher(ltol=0.05, stol=0.05, angle_tol=1)
    assert not matcher.fit(side, across)
    found = relatives(one_of(side), None)
    moved = [s for s, what in zip(to_structures(found.crystals), found.swapped.tolist(), strict=True) if what == [3, 0]]
    assert len(moved) == 1
    assert matcher.fit(moved[0], across)
    assert kin(one_of(side), None).how[0] == "with its Li on other sites"


def test_more_symmetry_is_the_crystal_that_it_nearly_is() -> None:
    """A polar perovskite, asked for as a cubic one."""
    polar = perovskite(0.02)
    assert detect_group(polar, 0) == 99
    found = relatives(polar, 221)
    assert len(found) == 1
    assert StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5).fit(
        *to_structures(found.crystals), to_structures(perovskite())[0]
    )


@pytest.mark.parametrize("number", [99, 38, 160])
def test_less_symmetry_is_a_crystal_displaced(number: int) -> None:
    """The ferroelectric descendants of a cubic perovskite: each is near it, and off it."""
    cubic = perovskite()
    found = relatives(cubic, number)
    assert len(found)
    for structure in to_structures(found.crystals):
        assert StructureMatcher(ltol=0.3, stol=0.3, angle_tol=10).fit(structure, to_structures(cubic)[0])
        assert not StructureMatcher(ltol=0.001, stol=0.001, angle_tol=0.01, scale=False).fit(
            structure, to_structures(cubic)[0]
        )


def test_elements_that_are_far_apart_do_not_change_places() -> None:
    assert not len(relatives(one_of(brass("Na", "Cl")), None))


def test_the_likeliest_come_first_and_the_same_ones_every_time() -> None:
    start = perovskite(0.02)
    one, again = (kin(start, 38, -0.01) for _ in range(2))
    assert len(one)
    assert torch.equal(one.crystals.frac, again.crystals.frac)
    assert (np.diff(one.confidence) <= 0).all()
    assert ((one.confidence > 0) & (one.confidence < 1)).all()
    assert (one.rows == -1).all()
    assert kin(start, 38, -0.5).confidence.max() < one.confidence.max(), "a large change is no small displacement"
    assert np.array_equal(kin(start, 38, None).confidence, kin(start, 38, math.nan).confidence)


def test_a_padded_or_lonely_start_is_taken() -> None:
    one = perovskite(0.02)
    pad = torch.nn.functional.pad
    padded = Crystals(pad(one.frac, (0, 0, 0, 3)), one.lattice, pad(one.numbers, (0, 3)), one.group, one.energy)
    assert len(kin(padded, 221)) == len(kin(one, 221)) == 1
    atom = one_of(Structure(Lattice.cubic(3), ["Po"], [[0, 0, 0]]))
    assert len(kin(atom, None)) == 0
