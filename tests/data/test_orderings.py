"""Orderings of disordered crystals, against pymatgen's transformation and its matcher."""

from __future__ import annotations

import time
from itertools import permutations

import numpy as np
import pytest
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.transformations.standard_transformations import OrderDisorderedStructureTransformation

from core.data.orderings import OrderingError, orderings, shares


def salt(shared: dict[str, float], repeat: tuple[int, int, int] = (1, 1, 1)) -> Structure:
    made = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.8), [shared, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return made * repeat


def by_hand(structure: Structure) -> list[Structure]:
    """Every way to fill the shared sites of a cell, copies by symmetry and all."""
    shared = [i for i, site in enumerate(structure) if not site.is_ordered]
    amounts = structure[shared[0]].species
    atoms = [e.symbol for e, share in amounts.items() for _ in range(round(share * len(shared)))]
    made = []
    for order in set(permutations(atoms)):
        one = structure.copy()
        for site, element in zip(shared, order, strict=True):
            one[site] = element
        made.append(one)
    return made


@pytest.mark.parametrize(
    "structure",
    [
        salt({"Na": 0.5, "K": 0.5}),
        salt({"Mg": 0.5, "Na": 0.25, "Li": 0.25}),
        salt({"Na": 0.75, "K": 0.25}, (2, 1, 1)),
        Structure.from_spacegroup(
            "P4/mmm", Lattice.tetragonal(3.9, 11), ["Sr", {"Na": 0.5, "Mg": 0.5}, "O"],
            [[0, 0, 0.2], [0, 0, 0.4], [0.5, 0.5, 0.1]],
        ) * (1, 1, 2),
    ],
)  # fmt: skip
def test_every_ordering_is_found_once(structure: Structure) -> None:
    found = orderings(structure, most=1000)
    fits = StructureMatcher(primitive_cell=False)
    listed = by_hand(structure)
    assert found.ways == len(listed)
    assert len(found.found) == found.distinct == len(fits.group_structures(listed))
    assert len(fits.group_structures([one.structure for one in found.found])) == found.distinct


def test_the_order_is_that_of_ewalds_sum() -> None:
    spinel = salt({"Li": 0.5, "Al": 0.5})
    spinel.replace_species({"Cl": "O"})
    found = orderings(spinel * (2, 1, 1), most=1000)
    assert found.charges == {"Li": 1, "Al": 3, "O": -2}
    energies = []
    for one in found.found:
        decorated = one.structure.copy()
        decorated.add_oxidation_state_by_element(found.charges)
        energies.append(EwaldSummation(decorated).total_energy / len(decorated))
    assert energies == sorted(energies)
    assert len(energies) > 3
    above = [one.electrostatic for one in found.found]
    assert above == pytest.approx([e - energies[0] for e in energies], abs=1e-6)
    decorated = spinel * (2, 1, 1)
    decorated.add_oxidation_state_by_element(found.charges)
    (lowest,) = OrderDisorderedStructureTransformation().apply_transformation(decorated, return_ranked_list=1)
    assert lowest["energy"] / len(decorated) == pytest.approx(energies[0], abs=1e-6)


def test_a_cell_is_repeated_until_shares_are_whole() -> None:
    alloy = Structure(Lattice.cubic(3.2), [{"Ta": 0.333, "W": 0.667}], [[0, 0, 0]])
    found = orderings(alloy)
    assert found.found[0].structure.composition.reduced_formula == "TaW2"
    assert found.charges == {}
    assert found.found[0].electrostatic is None
    assert "repeated" in found.notes[0]


def test_every_shape_of_the_supercell_is_looked_at() -> None:
    diboride = Structure.from_spacegroup(
        "P6/mmm", Lattice.hexagonal(3.03, 3.23), [{"Ti": 0.5, "V": 0.5}, "B"], [[0, 0, 0], [1 / 3, 2 / 3, 0.5]]
    )
    found = orderings(diboride)
    # layers along c; stripes within a layer; and stripes that change places from layer to layer
    assert len(found.found) == found.distinct == 3
    assert "1 × 1 × 2" in found.notes[0]
    assert "every supercell of 2 cells" in found.notes[0]
    groups = sorted(one.structure.get_space_group_info()[1] for one in found.found)
    assert groups == sorted(
        by_transformation(diboride * shape) for shape in ((1, 1, 2), (2, 1, 1), [[1, 0, 1], [0, 1, 0], [-1, 0, 1]])
    )


def by_transformation(cell: Structure) -> int:
    decorated = cell.copy()
    decorated.add_oxidation_state_by_element({"Ti": 2, "V": 2, "B": -1})
    group: int = OrderDisorderedStructureTransformation().apply_transformation(decorated).get_space_group_info()[1]
    return group


def test_empty_sites_stay_empty_and_rounding_is_said() -> None:
    carbide = salt({"V": 1})
    carbide.replace_species({"Cl": {"C": 0.875}})
    (one, *_) = orderings(carbide).found
    assert one.structure.composition.reduced_formula == "V8C7"
    odd = orderings(salt({"V": 0.8}), max_atoms=8)
    assert odd.found[0].structure.composition.reduced_formula == "V3Cl4"
    assert "rounded" in " ".join(odd.notes)
    assert shares(salt({"V": 0.87})) == ["4 sites: V 0.87, empty 0.13"]


def test_what_no_small_cell_holds_is_said() -> None:
    sites = np.random.default_rng(0).random((80, 3))
    large = Structure(Lattice.cubic(12), ["B"] * 79 + [{"B": 0.5, "C": 0.5}], sites)
    with pytest.raises(OrderingError, match="no cell of at most 64 atoms"):
        orderings(large)


def test_very_many_ways_end_in_time() -> None:
    started = time.monotonic()
    found = orderings(salt({"Na": 0.5, "K": 0.25, "Rb": 0.25}, (2, 2, 2)), max_atoms=64)
    assert found.ways > 10**9
    assert found.looked <= 5000
    assert len(found.found) == 12
    assert time.monotonic() - started < 20
