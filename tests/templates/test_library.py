"""The substitution baseline: assignments, volumes and choices with known answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from pymatgen.core import Composition, Element, Lattice, Structure

from core.crystals import from_structures, to_structures
from core.evaluation.matching import rms_distance
from core.templates.library import build_library, count_elements, describe, fit_volumes, pettifor
from core.templates.propose import propose

ROCKSALT, CESIUM = [[0, 0, 0], [0.5, 0.5, 0.5]], [[0, 0, 0], [0.5, 0.5, 0.5]]


def salt(cation: str, anion: str, edge: float, prototype: str = "rocksalt") -> Structure:
    if prototype == "rocksalt":
        lattice = Lattice(edge / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
        return Structure(lattice, [cation, anion], ROCKSALT)
    return Structure(Lattice.cubic(edge), [cation, anion], CESIUM)


KNOWN = [
    salt("Na", "Cl", 5.64),
    salt("K", "Br", 6.60),
    salt("Mg", "O", 4.21),
    salt("Cs", "Cl", 4.12, "CsCl"),
    salt("Cs", "Br", 4.29, "CsCl"),
]
LIBRARY = build_library(
    from_structures(KNOWN, [225, 225, 225, 221, 221], [-2.1, -1.9, -3.0, -2.2, -2.0]), torch.arange(5)
)


def test_the_nearest_relative_of_the_group_is_taken_and_named_anew() -> None:
    found = propose(LIBRARY, [19, 17], 225, None)  # KCl: K and Cl are neighbours of K-Br and Na-Cl alike
    structure = to_structures(found.crystals)[0]
    assert structure.composition == Composition("KCl")
    assert rms_distance(structure, salt("K", "Cl", 6.29)) == pytest.approx(0, abs=1e-4)
    found = propose(LIBRARY, [19, 17], 221, None)
    assert rms_distance(to_structures(found.crystals)[0], salt("K", "Cl", 3.9, "CsCl")) == pytest.approx(0, abs=1e-4)


def test_energy_decides_between_like_ones() -> None:
    for energy, expected in ((-3.0, 225), (-2.2, 221)):
        found = propose(LIBRARY, [12, 8] if energy == -3.0 else [55, 17], None, energy)
        assert int(found.crystals.group[0]) == expected


def test_samples_are_the_next_nearest_and_no_more_than_there_are() -> None:
    found = propose(LIBRARY, [37, 35], None, None, count=9)
    assert len(found) == 5
    assert all(sorted(numbers) == [35, 37] for numbers in found.crystals.numbers.tolist())
    assert (np.diff(found.confidence) <= 0).all()
    assert len(propose(LIBRARY, [12, 8, 8], None, None)) == 0


def test_a_cell_of_several_units_is_built_of_one() -> None:
    found = propose(LIBRARY, [11] * 3 + [17] * 3, 225, None)
    structure = to_structures(found.crystals)[0]
    assert structure.composition == Composition("Na3Cl3")
    assert rms_distance(structure, KNOWN[0]) == pytest.approx(0, abs=1e-4)
    one = propose(LIBRARY, [11, 17], 225, None).crystals
    assert structure.volume == pytest.approx(3 * float(one.volume[0]), rel=1e-6)


def test_elements_of_one_count_are_assigned_at_least_cost() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mine, theirs = (rng.choice(np.arange(1, 84), 4, replace=False) for _ in range(2))
        order = pettifor()
        cheapest = min(np.abs(order[mine] - order[list(p)]).sum() for p in itertools.permutations(theirs))
        sides = [describe(count_elements(z[None])[0])[0] for z in (mine, theirs)]
        assert np.abs(order[list(sides[0])] - order[list(sides[1])]).sum() == pytest.approx(cheapest)


def test_patterns_order_and_places_are_pymatgens() -> None:
    content = count_elements(np.array([[73, 73, 74, 74, *[5] * 12, 0]]))[0]
    elements, pattern = describe(content)
    assert pattern == (1, 1, 6)
    assert set(elements[:2]) == {73, 74}
    assert elements[2] == 5
    assert pettifor()[26] == Element("Fe").mendeleev_no
    assert len(set(pettifor()[1:104])) == 103


def test_atomic_volumes_are_found_where_they_add_up() -> None:
    rng = np.random.default_rng(1)
    counts = np.zeros((200, 119), dtype=np.int64)
    counts[:, [11, 17, 8]] = rng.integers(1, 6, (200, 3))
    true = np.zeros(119)
    true[[11, 17, 8]] = 20.0, 25.0, 11.0
    fitted = fit_volumes(counts, counts @ true)
    assert fitted[[11, 17, 8]] == pytest.approx(true[[11, 17, 8]], rel=0.02)
    assert math.isclose(fitted[79], float((counts @ true / counts.sum(1)).mean()))


def test_nothing_known_is_said() -> None:
    with pytest.raises(ValueError, match="no structure"):
        build_library(from_structures(KNOWN), torch.arange(0))
