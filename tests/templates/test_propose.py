"""Templates with known answers: which elements take whose sites, and orbits that are shared out anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures, to_structures
from core.data.symmetry import detect_group
from core.evaluation.matching import rms_distance
from core.templates.candidates import Asked, find_candidates
from core.templates.library import Library, build_library
from core.templates.propose import choose, propose, propose_parts


def half_heusler(names: str, edge: float) -> Structure:
    """The second element in the holes that the other two leave: each arrangement is another crystal."""
    lattice = Lattice(edge / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    return Structure(lattice, names.split(), [[0, 0, 0], [0.25] * 3, [0.5] * 3])


def spinel(a: str, b: str, anion: str, edge: float) -> Structure:
    lattice = Lattice.cubic(edge)
    sites = [[0.125] * 3, [0.5] * 3, [0.2624] * 3]
    whole = Structure.from_spacegroup("Fd-3m", lattice, [a, b, anion], sites)
    return whole.get_primitive_structure()


def library_of(structures: list[Structure], groups: list[int], energies: list[float] | None = None) -> Library:
    return build_library(from_structures(structures, groups, energies), torch.arange(len(structures)))


def test_every_arrangement_of_elements_of_one_count_is_proposed_once() -> None:
    library = library_of([half_heusler("Ti Ni Sn", 5.9)], [216])
    found = to_structures(propose(library, [22, 28, 50], 216, None, 9).crystals)
    assert len(found) == 3  # two of the sites change places by a shift
    assert rms_distance(found[0], half_heusler("Ti Ni Sn", 5.9)) == pytest.approx(0, abs=1e-4)
    for names in ("Ni Ti Sn", "Ti Sn Ni"):
        assert sum(rms_distance(f, half_heusler(names, 5.9)) is not None for f in found) == 1


def test_like_templates_come_after_others_and_are_sure_of_less() -> None:
    cesium = [Structure(Lattice.cubic(4.1), ["Cs", x], [[0, 0, 0], [0.5] * 3]) for x in ("Cl", "Br", "I")]
    rock = Lattice(3.3 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    library = library_of([*cesium, Structure(rock, ["Na", "F"], [[0, 0, 0], [0.5] * 3])], [221, 221, 221, 225])
    found = propose(library, [37, 17], None, None, 4)
    assert found.crystals.group.tolist()[:2] == [221, 225]
    assert (np.diff(found.confidence) <= 1e-12).all()
    assert found.confidence[2] < 0.01


def test_what_is_left_out_is_left_out() -> None:
    library = library_of([half_heusler("Ti Ni Sn", 5.9), half_heusler("Zr Ni Sn", 6.1)], [216, 216], [-0.5, -0.6])
    asked = Asked.of([22, 28, 50], 216, -0.5)
    candidates = find_candidates(library, asked, without=library.formulas[asked.key])
    assert set(candidates.places.tolist()) == {1}
    chosen, _ = choose(library, asked, candidates, 9, None)
    assert len(chosen) == 3


@pytest.mark.parametrize(("known", "wanted"), [("Fe Fe O", "Mg Al O"), ("Mg Al O", "Fe Fe O")])
def test_orbits_are_shared_out_where_no_structure_has_the_pattern(known: str, wanted: str) -> None:
    """Magnetite from spinel and spinel from magnetite: elements merge and part, the group stays."""
    library = library_of([spinel(*known.split(), 8.1)], [227])
    target = spinel(*wanted.split(), 8.2)
    found = propose(library, list(target.atomic_numbers), 227, None, 2)
    assert detect_group(found.crystals, 0) == 227
    assert rms_distance(to_structures(found.crystals)[0], target) == pytest.approx(0, abs=1e-4)
    assert found.rows.tolist()[0] == 0
    assert len(propose(library, list(target.atomic_numbers), 225, None)) == 0


def test_a_supercells_content_has_templates_of_its_parts_too() -> None:
    """Rb4Cl4 may be four cells of CsCl or one of a template of eight atoms: both are proposed, each in eight atoms."""
    cesium = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3])
    rock = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Br"], [[0, 0, 0], [0.5] * 3])
    library = library_of([cesium, rock], [221, 225])
    rubidium = [37] * 4 + [17] * 4
    assert set(propose(library, rubidium, None, None, 4).crystals.group.tolist()) == {225}
    found = propose_parts(library, rubidium, None, None, 4)
    assert set(found.crystals.group.tolist()) == {221, 225}
    assert found.crystals.natoms.tolist() == [8] * len(found)
    for structure, group in zip(to_structures(found.crystals), found.crystals.group.tolist(), strict=True):
        original = {221: cesium, 225: rock}[group].copy()
        original.replace_species({"Cs": "Rb", "Na": "Rb", "Br": "Cl"})
        assert rms_distance(structure, original) == pytest.approx(0, abs=1e-4)
    assert (np.diff(found.confidence) <= 0).all()
