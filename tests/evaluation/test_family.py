"""What is unique and what is new: the verdicts of pymatgen's StructureMatcher on every pair."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from benchmarks.match_pairs import disturbed, plain_distance
from core.crystals import from_structures, to_structures
from core.evaluation import family as families
from core.evaluation.family import Family, repeats
from core.evaluation.matching import TOLERANCES
from core.evaluation.pairing import Tolerances, least_rms
from core.evaluation.pool import MatchPool, cells_of
from core.evaluation.reduction import Cell, reduce_cell
from core.evaluation.screening import Member, plausible
from tests.evaluation.real import some_structures
from tests.evaluation.test_matching import NACL


@pytest.fixture(scope="module")
def relatives(shared: Path) -> dict[str, list[Structure]]:
    """Real polymorphs of a few formulas, with disturbed copies among them."""
    crystals, formulas = some_structures(shared / "data" / "mp_polymorphs.jsonl.gz", 1, 5000)
    places = defaultdict(list)
    for i, formula in enumerate(formulas):
        places[formula].append(i)
    rng = np.random.default_rng(5)
    chosen = [rows for rows in places.values() if 4 <= len(rows) <= 8 and int(crystals.natoms[rows].max()) <= 16][:6]
    found = {}
    for rows in chosen:
        real = to_structures(crystals[rows])
        copies = [disturbed(s, noise, 0.01, rng) for s, noise in zip(real, (0.02, 0.1, 0.3, 0.5), strict=False)]
        for i, copy in enumerate(copies):
            copy.scale_lattice(copy.volume * (1 + 0.1 * i))  # the matcher brings both to one volume
        order = rng.permutation(len(real) + len(copies))
        found[formulas[rows[0]]] = [(real + copies)[i] for i in order]
    return found


def test_repeats_are_those_of_the_plain_loop(relatives: dict[str, list[Structure]]) -> None:
    some = 0
    for structures in relatives.values():
        kept: list[Structure] = []
        expected = []
        for structure in structures:
            expected.append(any(plain_distance(structure, k, "paper") is not None for k in kept))
            if not expected[-1]:
                kept.append(structure)
        family = Family()
        assert repeats(cells_of(from_structures(structures)), family) == expected
        assert len(family) == len(kept)
        some += sum(expected)
    assert some >= 10


@pytest.mark.slow
def test_processes_find_what_one_finds(relatives: dict[str, list[Structure]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "MANY", 1)
    cells = [c for s in list(relatives.values())[:2] for c in cells_of(from_structures(s))]
    alone = repeats(cells, Family())
    with MatchPool(2) as pool:
        assert repeats(cells, Family(), pool) == alone


def test_larger_cells_of_a_crystal_are_repeats() -> None:
    double = NACL.copy()
    double.make_supercell([2, 1, 1])
    assert repeats(cells_of(from_structures([NACL, NACL.get_primitive_structure(), double])), Family()) == [
        False,
        True,
        True,
    ]


def test_what_cannot_be_compared_is_in_no_family() -> None:
    sites = np.zeros((2, 3))
    numbers = np.array([11, 17])
    family = Family(cells_of(from_structures([NACL])))
    for matrix in (np.full((3, 3), np.nan), np.zeros((3, 3)), np.diag([1e7, 1e-3, 1e-3]), np.eye(3) * 1e-12):
        family.add(Cell(matrix, sites, numbers))
        assert not family.holds(Cell(matrix, sites, numbers))
    assert family.holds(*cells_of(from_structures([Structure(Lattice.cubic(6), NACL.species, NACL.frac_coords)])))


def test_screening_leaves_out_no_match(relatives: dict[str, list[Structure]]) -> None:
    """Of all pairs of a formula, those that the matcher finds pass; few others do."""
    tolerances = Tolerances(**TOLERANCES["paper"])
    passed = matched = pairs = 0
    for structures in relatives.values():
        cells = [reduce_cell(c) for c in cells_of(from_structures(structures))]
        for query in (c for c in cells if c is not None):
            others = [c for c in cells if c is not None and len(c.numbers) == len(query.numbers)]
            same = {i for i, other in enumerate(others) if least_rms(query, other, tolerances) is not None}
            found = set(plausible(Member.of(query), [Member.of(o) for o in others], tolerances))
            assert same <= found
            passed, matched, pairs = passed + len(found), matched + len(same), pairs + len(others)
    assert matched <= passed < 1.1 * matched < pairs
