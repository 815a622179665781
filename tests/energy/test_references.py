"""Elemental references: of every element, each a crystal that could be; errors against the Materials Project."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from benchmarks.elemental_references import TOLERANCE, compare, elemental_structures
from core.crystals import from_structures
from core.energy import formation
from core.energy.elemental_forms import PUBLISHED, form_of, implausible, known_volume, other_forms, published_forms
from core.energy.formation import compute_reference, load_references
from core.energy.load import load_potential
from core.energy.potential import Potential, shortest_distances
from core.settings import ASSETS
from tests.energy.test_guards import Springs

MOLECULES = {"H": 0.74, "N": 1.10, "O": 1.21, "F": 1.41, "Cl": 1.99, "Br": 2.27, "I": 2.72}  # Å


@pytest.fixture(params=["chgnet", "m3gnet"])
def potential(request: pytest.FixtureRequest) -> Potential:
    folder = request.getfixturevalue("m3gnet_folder") if request.param == "m3gnet" else None
    return load_potential(request.param, folder)


def test_every_element_a_potential_knows_has_a_reference_with_its_form(potential: Potential) -> None:
    from pymatgen.core import Element

    references = load_references(potential.name)
    symbols = {Element.from_Z(z).symbol for z in potential.elements}
    assert set(references.energies) == set(references.forms) == symbols
    assert len(symbols) == 89
    assert all(-15 < e < 0.1 for e in references.energies.values())
    assert references.weights_hash == potential.weights_hash


@pytest.mark.slow
@pytest.mark.parametrize("form", PUBLISHED, ids=lambda f: f.name)
def test_published_forms_have_their_group_their_bonds_and_their_volume(form) -> None:
    structure = form.build()
    symbol = form.sites[0][0]
    assert SpacegroupAnalyzer(structure, symprec=0.05).get_space_group_number() in (
        form.group,
        12,
    )  # a molecule upright
    crystals = from_structures([structure])
    assert implausible(symbol, crystals) == [""]
    if symbol in MOLECULES:
        assert float(shortest_distances(crystals)[0]) == pytest.approx(MOLECULES[symbol], rel=0.02)


def test_known_volumes_are_those_of_densities() -> None:
    """Per atom: 2.33 g/cm³ of silicon, 19.3 of tungsten; helium by its crystal."""
    assert known_volume("Si") == pytest.approx(20.0, rel=0.01)
    assert known_volume("W") == pytest.approx(15.8, rel=0.01)
    assert known_volume("He") == pytest.approx(32.2, rel=0.01)
    assert math.isnan(known_volume("Rn"))


def test_what_is_no_crystal_of_the_element_is_said() -> None:
    bcc = [Structure(Lattice.cubic(a), ["Nb", "Nb"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for a in (3.3, 2.6, 4.4)]
    assert implausible("Nb", from_structures(bcc)) == [
        "",
        "its atoms are 2.25 Å apart, less than 2.30",
        "it takes 42.6 Å³ per atom, where 18.0 is known",
    ]


@pytest.mark.slow
def test_metals_are_tried_close_packed_others_in_every_form() -> None:
    assert {label for label, _ in other_forms("W")} <= {
        "A_cF4_225_a", "A_cI2_229_a", "A_hP2_194_c", "A_hP4_194_ac", "A_hR3_166_ac",
    }  # fmt: skip
    assert len(other_forms("Ga")) > 30
    assert "A_cI58_217_ac2g" in {label for label, _ in published_forms("Mn")}
    assert published_forms("W") == []


def test_a_hole_of_a_potential_is_not_taken_for_a_crystal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Springs draws every cell to 20 Å³ per atom and puts all forms alike: a published one is taken, holes are not."""
    near = Structure(Lattice.cubic(2.714), ["Si"], [[0, 0, 0]])
    good = Structure(Lattice.cubic(3.42), ["Si", "Si"], [[0, 0, 0], [0.5, 0.5, 0.5]])

    class Deep(Springs):
        depth = 1.0

        def predict(self, crystals):
            energy, forces, stress = super().predict(crystals)
            return energy - self.depth * (crystals.natoms == 1), forces, stress

    monkeypatch.setattr(formation, "published_forms", lambda _: [("known", good)])
    monkeypatch.setattr(formation, "other_forms", lambda _: [("hole", near)])
    assert compute_reference("Si", Deep())[1] == "known"
    shallow = Deep()
    shallow.depth = 0.03
    assert compute_reference("Si", shallow)[1] == "hole"  # 30 meV/atom below: that may well be
    monkeypatch.setattr(formation, "published_forms", lambda _: [])
    assert compute_reference("Si", Deep())[1] == "hole"
    squeezed = near.copy()
    squeezed.scale_lattice(2.0)
    monkeypatch.setattr(formation, "other_forms", lambda _: [("hole", squeezed)])
    monkeypatch.setattr(formation, "relax_volume", lambda c, p: (c, p.evaluate(c)))
    value, why = compute_reference("Si", Deep())
    assert math.isnan(value)
    assert why == "no form of it is a crystal with this potential"


@pytest.mark.slow
@pytest.mark.parametrize("symbol", ["O", "S", "Ga", "Mn", "Te"])
def test_references_are_not_above_what_real_structures_relax_to(symbol: str, shared: Path, m3gnet_folder: Path) -> None:
    potential = load_potential("m3gnet", m3gnet_folder)
    crystals, dft = elemental_structures(shared / "data" / "mp_polymorphs.jsonl.gz", 12)[symbol]
    lowest, _ = compare(symbol, crystals, dft, potential)
    assert load_references(potential.name).energies[symbol] < lowest + TOLERANCE


def test_errors_are_of_the_potentials_that_ship() -> None:
    table = json.loads((ASSETS / "references" / "errors.json").read_text())
    assert set(table) == {"M3GNet-MP-2021.2.8", "CHGNet-0.3.0"}
    for row in table.values():
        assert row["structures"] == 1000
        assert 0 < row["median"] < row["p95"]
        assert row["mae"] < row["p95"]
        kinds = row["kinds"]
        assert sum(kind["structures"] for kind in kinds.values()) == 1000
        mean = sum(kind["mae"] * kind["structures"] for kind in kinds.values()) / 1000
        assert row["mae"] == pytest.approx(mean, abs=2e-4)


def test_errors_are_counted_as_they_are_described() -> None:
    from benchmarks.formation_energies import statistics

    found = statistics(torch.tensor([0.1, -0.3, 0.2, torch.nan], dtype=torch.float64))
    assert found["mae"] == pytest.approx(0.2)
    assert found["median"] == pytest.approx(0.2)
    assert found["mean"] == pytest.approx(0.0)
    assert (found["structures"], found["unknown"]) == (3, 1)


@pytest.mark.parametrize("method", ["M3GNet-MP-2021.2.8", "CHGNet-0.3.0"])
def test_every_form_that_is_named_can_be_built(method: str) -> None:
    for symbol, name in load_references(method).forms.items():
        cell = form_of(symbol, name)
        assert {s.specie.symbol for s in cell} == {symbol}, name
