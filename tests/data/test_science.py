"""Formulas, symmetry, prototypes, encoding, tensors and pairs against their references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure

from core.crystals import Crystals, from_structures, lattice_parameters, to_structures
from core.data.encoding import decode, encode
from core.data.formulas import FormulaError, atomic_numbers, elements_of, parse_formula, pattern
from core.data.prototypes import atomic_volume, build, choose_formulas, decorate
from core.data.symmetry import detect_groups
from core.models.state import conditions_for


@pytest.mark.parametrize(
    "text", ["Ta1W1B6", "TaWB6", "Ta2 W2 B12", "B6TaW", "NaCl", "H2O", "BaTiO3", "CoCO", "Ca(OH)2", "Y(VMo)3"]
)
def test_formulas_are_read_as_pymatgen_reads_them(text: str) -> None:
    counts = parse_formula(text)
    assert Composition(counts) == Composition(text)
    assert len(atomic_numbers(counts)) == Composition(text).num_atoms
    assert set(elements_of(text)) == {e.symbol for e in Composition(text).elements}


@pytest.mark.parametrize(
    "text", ["", "  ", "Xx2", "ta1", "Ta0", "Ta-1", "Ta(B", "Ta(B0.5)3", "(", "Ta1.5", "<script>", "Ta99999", "2Ta"]
)
def test_what_is_no_formula_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(FormulaError, match=r"\w+ \w+ \w+"):
        parse_formula(text)


def test_a_pattern_forgets_elements_and_units() -> None:
    assert pattern("TaWB6") == pattern("V2Mo2C12") == "A1B1C6"
    assert pattern("TaB2") != pattern("Ta2B3")


def test_groups_are_found_where_they_were_put() -> None:
    cells = {225: Lattice.cubic(4.2), 227: Lattice.cubic(5.4), 194: Lattice.hexagonal(3, 5), 221: Lattice.cubic(4)}
    built = [Structure.from_spacegroup(g, cell, ["Si"], [[0.12, 0.21, 0.34]]) for g, cell in cells.items()]
    assert detect_groups(from_structures(built)).tolist() == list(cells)
    broken = from_structures([built[0]])
    assert detect_groups(Crystals(broken.frac, broken.lattice * 0, *broken._tensors()[2:])).tolist() == [0]


@pytest.mark.slow
def test_decorations_have_their_formula_and_are_distinct() -> None:
    formulas = decorate(["B", "Ta"])
    assert len(formulas["TaB2"]) >= 7
    for formula in ("TaB2", "TaB"):
        structures = [build(*d).structure for d in formulas[formula]]
        assert {s.composition.reduced_formula for s in structures} == {formula}
        assert all(4 <= len(s) <= 20 for s in structures)
        assert len(StructureMatcher().group_structures(structures[:14])) == 14
    first = build(*formulas["TaB2"][0]).structure
    expected = sum(atomic_volume(site.specie.symbol) for site in first)
    assert first.volume == pytest.approx(expected)


@pytest.mark.slow
def test_formulas_are_drawn_by_seed_and_whole_systems_are_kept() -> None:
    formulas = list(decorate(["B", "C", "Ta", "W"]))
    chosen = choose_formulas(formulas, 60, ["B-Ta-W"], seed=3)
    assert len(chosen) == 60
    assert {f for f in formulas if set(Composition(f).chemical_system.split("-")) <= {"B", "Ta", "W"}} <= set(chosen)
    assert (
        chosen == choose_formulas(formulas, 60, ["B-Ta-W"], seed=3) != choose_formulas(formulas, 60, ["B-Ta-W"], seed=4)
    )
    with pytest.raises(ValueError, match="no element"):
        decorate(["B", "Xy"])


def random_crystals(count: int, seed: int = 0) -> Crystals:
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(count):
        lattice = Lattice.from_parameters(*rng.uniform(2, 15, 3), *rng.uniform(65, 115, 3))
        n = int(rng.integers(1, 20))
        structures.append(Structure(lattice, rng.integers(1, 95, n), rng.random((n, 3))))
    return from_structures(structures)


def conditions_of(crystals: Crystals):
    numbers = [n[n > 0].tolist() for n in crystals.numbers]
    return conditions_for(numbers, [None] * len(numbers), [None] * len(numbers))


def assert_same_crystals(found: Crystals, expected: Crystals) -> None:
    torch.testing.assert_close(
        lattice_parameters(found.lattice), lattice_parameters(expected.lattice), atol=2e-4, rtol=1e-5
    )
    delta = found.frac - expected.frac
    assert float((delta - delta.round()).abs().max()) < 1e-6
    assert torch.equal(found.numbers, expected.numbers)


def test_encoding_gives_back_the_crystal_whichever_way_it_is_turned() -> None:
    crystals = random_crystals(60)
    assert_same_crystals(decode(encode(crystals), conditions_of(crystals)), crystals)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    turned = Crystals(crystals.frac, crystals.lattice @ turn, *crystals._tensors()[2:])
    torch.testing.assert_close(encode(turned).lattice, encode(crystals).lattice, atol=1e-5, rtol=1e-5)


def test_every_state_is_a_cell_of_positive_volume() -> None:
    crystals = random_crystals(20)
    state = encode(crystals)
    wild = type(state)(state.frac * 9 - 4, torch.randn(20, 3, 3) * 3, state.mask)
    decoded = decode(wild, conditions_of(crystals))
    assert (torch.linalg.det(decoded.lattice) > 0).all()
    assert bool(((decoded.frac >= 0) & (decoded.frac < 1)).all())


@pytest.mark.slow
def test_real_structures_survive_the_encoding(shared: Path) -> None:
    from core.data.readers.parsing import parse_rows
    from core.data.readers.sources import raw_rows

    cells = []
    for records, _ in parse_rows(raw_rows(shared / "data" / "mp_polymorphs.jsonl.gz"), "M", processes=1):
        cells += [r.cell for r in records if r.natoms <= 60]
        if len(cells) > 2000:
            break
    from core.crystals import unpack_cells

    crystals = unpack_cells(cells[:2000])
    decoded = decode(encode(crystals), conditions_of(crystals))
    assert_same_crystals(decoded, crystals)
    for before, after in zip(to_structures(crystals[:60]), to_structures(decoded[:60]), strict=True):
        assert StructureMatcher().fit(before, after)
