"""What counts as a crystal: against pymatgen's distances, closed forms and real structures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import Crystals, from_structures, to_structures
from core.energy.potential import shortest_distances
from core.evaluation import validity
from core.evaluation.contacts import covalent_radii, distances, find_contacts, largest_gap
from core.evaluation.pool import cells_of
from core.evaluation.validity import group_reached, judge, published_verdicts
from tests.evaluation.real import some_structures
from tests.evaluation.test_matching import NACL, QUARTZ, TIO2


def rock_salt(a: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def tantalum_boride(distance: float) -> Structure:
    """Two atoms so far apart (Å) in a cell of a usual volume."""
    return Structure(Lattice.cubic(3.0), ["Ta", "B"], [[0, 0, 0], [0, 0, distance / 3]])


def verdict_on(structure: Structure) -> validity.Verdict:
    return judge(from_structures([structure]))[0]


def test_known_crystals_are_valid_and_have_their_groups() -> None:
    found = judge(from_structures([NACL, TIO2, QUARTZ]))
    assert [(v.problem, v.warning) for v in found] == [("", "")] * 3
    assert [set(v.groups.values()) for v in found] == [{225}, {136}, {154}]
    assert [t for t, _ in found[0].groups.items()] == [0.001, 0.01, 0.03, 0.1, 0.3]
    assert found[0].volume == pytest.approx(5.69**3 / 8)


def test_a_short_distance_is_told_with_its_share_of_the_radii() -> None:
    """Pyykkö's single-bond radii: Ta 1.46 Å, B 0.85 Å."""
    found = verdict_on(tantalum_boride(1.02))
    assert found.problem == (
        "Ta and B are 1.02 Å apart, 0.44 of the sum of their covalent radii; real crystals keep above 0.6"
    )
    assert published_verdicts(from_structures([tantalum_boride(1.02)]))[0].valid, "the field's criterion lets it pass"
    edge = 2.31 * validity.TIGHT
    assert not verdict_on(tantalum_boride(edge - 0.01)).valid
    assert verdict_on(tantalum_boride(edge + 0.01)).valid
    assert "few real crystals go below 0.75" in verdict_on(tantalum_boride(edge + 0.01)).warning


LARGE = rock_salt(11.0)
SLAB = Structure(Lattice.tetragonal(3.2, 22), ["Cs"] * 2, [[0, 0, 0], [0.5, 0.5, 0.15]])
ALONE = Structure(Lattice.cubic(3.0), ["H"], [[0, 0, 0]])


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (LARGE, "166.4 Å³ per atom, 6.31 times what its elements usually take; valid ones have 0.35 to 4"),
        (rock_salt(20.0), "1000.0 Å³ per atom, outside 2 to 200"),
        (rock_salt(2.0), "1.0 Å³ per atom, outside 2 to 200"),
        (SLAB, "a layer 18.7 Å thick holds no atom; real crystals have less than 16 Å"),
        (ALONE, "an atom has no neighbour: two H atoms are 3.00 Å apart, 4.69 of the sum of their covalent radii"),
    ],
    ids=["too large", "far too large", "too small", "a layer", "an atom alone"],
)
def test_space_that_no_crystal_leaves_is_told(structure: Structure, words: str) -> None:
    found = verdict_on(structure)
    assert not found.valid
    assert words in found.problem


def test_layers_in_vacuum_are_a_warning() -> None:
    """Graphite is a crystal; a sheet of it in 12 Å of vacuum is valid, and worth a look."""
    sheet = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.25], [1 / 3, 2 / 3, 0.75], [0, 0, 0.75]]
    graphite = verdict_on(Structure(Lattice.hexagonal(2.46, 6.7), ["C"] * 4, sheet))
    assert (graphite.problem, graphite.warning) == ("", "")
    slab = verdict_on(Structure(Lattice.hexagonal(2.46, 12.0), ["C"] * 2, sheet[:2]))
    assert slab.valid
    assert slab.warning


def test_broken_cells_get_their_reason_and_stop_nothing() -> None:
    """Not a number in the cell, in a place, an endless one, no volume, atoms on each other, a huge one: beside NaCl."""
    good = from_structures([rock_salt(5.69)] * 7)
    lattice, frac = good.lattice.clone(), good.frac.clone()
    lattice[0, 1, 1], frac[1, 3, 2], lattice[2, 0, 0] = math.nan, math.nan, math.inf
    lattice[3, 2] = lattice[3, 1]
    frac[4, 1] = frac[4, 0]
    lattice[5] *= 1e6
    broken = Crystals(frac, lattice, good.numbers, good.group, good.energy)
    for verdicts in (judge(broken), published_verdicts(broken)):
        assert [v.valid for v in verdicts] == [False] * 6 + [True]
        assert all(v.problem for v in verdicts[:6])
        assert [math.isnan(v.volume) for v in verdicts] == [True] * 3 + [False] * 4
    assert "not finite" in judge(broken)[0].problem
    assert judge(good[[0]])[0].valid
    assert judge(Crystals(frac[:0], lattice[:0], good.numbers[:0], good.group[:0], good.energy[:0])) == []


def test_distances_are_those_of_pymatgen_in_skewed_cells_too() -> None:
    rng = np.random.default_rng(3)
    for k in range(20):
        matrix = rng.normal(size=(3, 3)) * 4
        if k % 4 == 0:
            matrix[2] = matrix[0] * 3 + matrix[1] * 2 + matrix[2] * 0.2
        structure = Structure(Lattice(matrix), ["Ta"] * 2 + ["B"] * 4, rng.random((6, 3)))
        (cell,) = cells_of(from_structures([structure]))
        found = distances(cell)
        expected = structure.distance_matrix
        np.fill_diagonal(expected, found.diagonal())
        np.testing.assert_allclose(found, expected, atol=1e-9)
        shortest = float(shortest_distances(from_structures([structure]))[0])
        assert find_contacts(cell).closest == pytest.approx(shortest, abs=1e-9)
        images = structure.lattice.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], found[0, 0] + 0.01)
        assert min(d for _, d, *_ in images if d > 1e-8) == pytest.approx(found[0, 0])


def test_the_verdict_depends_on_no_choice_of_cell() -> None:
    for structure in (QUARTZ, TIO2):
        other = structure.copy()
        other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 2, 1]])
        first, second = (find_contacts(*cells_of(from_structures([s]))) for s in (structure, other))
        assert second.closest == pytest.approx(first.closest)
        assert second.gap == pytest.approx(first.gap)
        assert second.tight[2:] == pytest.approx(first.tight[2:])
        assert second.lonely[2:] == pytest.approx(first.lonely[2:])


def test_the_gap_of_a_sheet_is_its_height() -> None:
    (cell,) = cells_of(from_structures([Structure(Lattice.tetragonal(3, 10), ["C"] * 2, [[0, 0, 0], [0, 0, 0.1]])]))
    assert largest_gap(cell) == pytest.approx(9.0)


def test_radii_and_volumes_are_there_for_every_element() -> None:
    assert covalent_radii()[[1, 5, 6, 73, 74]].tolist() == [0.32, 0.85, 0.75, 1.46, 1.37]
    assert np.isfinite(covalent_radii()[1:]).all()
    volumes = validity.usual_volumes()
    assert ((volumes[1:] > 3) & (volumes[1:] < 80)).all()
    assert 9 < volumes[26] < 13, "bcc iron: 11.8 Å³"
    assert 14 < volumes[74] < 19, "bcc tungsten: 15.8 Å³"


def test_real_structures_are_valid(shared: Path) -> None:
    """At least 99.8 % of them; of perov_5 and carbon_24 all."""
    crystals, _ = some_structures(shared / "data" / "mp_polymorphs.jsonl.gz", 53)
    verdicts = judge(crystals, ())
    assert len(verdicts) > 1000
    assert sum(v.valid for v in verdicts) / len(verdicts) >= 0.998
    assert sum(v.valid and not v.warning for v in verdicts) / len(verdicts) > 0.97
    for name in ("perov_5", "carbon_24"):
        crystals, _ = some_structures(shared / "data" / f"{name}_train_val.jsonl.gz", 300)
        assert all(v.valid for v in judge(crystals, ()))


def test_real_structures_with_their_atoms_thrown_about_are_not(shared: Path) -> None:
    crystals, _ = some_structures(shared / "data" / "mp_polymorphs.jsonl.gz", 400)
    large = crystals[crystals.natoms > 8]
    generator = torch.Generator().manual_seed(0)
    frac = torch.rand(large.frac.shape, generator=generator, dtype=torch.float64) * large.mask[..., None]
    random = Crystals(frac, large.lattice, large.numbers, large.group, large.energy)
    chemist = sum(v.valid for v in judge(random, ())) / len(random)
    published = sum(v.valid for v in published_verdicts(random)) / len(random)
    assert chemist < 0.1 < 0.5 < published, "what the usual criterion calls valid"


def test_the_published_criterion_is_what_pymatgen_measures(shared: Path) -> None:
    crystals, _ = some_structures(shared / "data" / "mp_polymorphs.jsonl.gz", 1500)
    squeezed = Crystals(crystals.frac, crystals.lattice * 0.25, crystals.numbers, crystals.group, crystals.energy)
    for structure, verdict in zip(to_structures(squeezed), published_verdicts(squeezed), strict=True):
        distance = structure.distance_matrix[~np.eye(len(structure), dtype=bool)]
        closest = min([*distance.tolist(), *structure.lattice.get_niggli_reduced_lattice().abc])
        assert verdict.valid == (closest >= 0.5 and 2 <= structure.volume / len(structure) <= 200)


def test_the_group_reached_is_that_of_the_tightest_tolerance() -> None:
    groups = {0.001: 1, 0.01: 2, 0.03: 12, 0.1: 12, 0.3: 166}
    assert group_reached(groups, 12) == (12, 0.03)
    assert group_reached(groups, 166) == (12, 0.1), "what 0.3 Å would give is not reached"
    assert group_reached(groups, None) == (12, 0.1)
    assert group_reached({0.01: 0, 0.1: 0}, 5) == (None, 0.1)
    assert group_reached({}, 5) == (None, None)
