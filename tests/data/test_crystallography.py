"""Cells, sites and powder patterns against pymatgen and crystals that everybody knows."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from core.data.bonding import find_neighbours
from core.data.crystallography import cell_as, pair_distances, powder_pattern, problem_of, symmetry_of


def known() -> dict[str, Structure]:
    made = Structure.from_spacegroup
    return {
        "NaCl": made(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "Si": made(227, Lattice.cubic(5.431), ["Si"], [[0, 0, 0]]),
        "TiO2": made(136, Lattice.tetragonal(4.594, 2.958), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]),
        "Mg": made(194, Lattice.hexagonal(3.209, 5.211), ["Mg"], [[1 / 3, 2 / 3, 0.25]]),
        "BaTiO3": made(221, Lattice.cubic(4.0), ["Ba", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]),
        "TaB2": made(191, Lattice.hexagonal(3.1, 3.22), ["Ta", "B"], [[0, 0, 0], [1 / 3, 2 / 3, 0.5]]),
        "P2_1/c": made(
            14, Lattice.monoclinic(5.1, 5.2, 5.3, 99), ["Zr", "O"], [[0.27, 0.04, 0.21], [0.07, 0.33, 0.34]]
        ),
        "P-1": made(2, Lattice.from_parameters(4, 5, 6, 80, 95, 103), ["W", "B"], [[0.1, 0.2, 0.3], [0.6, 0.3, 0.8]]),
    }


KNOWN = known()
SITES = {
    "NaCl": ("Fm-3m", 225, "cubic", "m-3m", {("Na", "4a"), ("Cl", "4b")}),
    "Si": ("Fd-3m", 227, "cubic", "m-3m", {("Si", "8a")}),
    "TiO2": ("P4₂/mnm", 136, "tetragonal", "4/mmm", {("Ti", "2a"), ("O", "4f")}),
    "Mg": ("P6₃/mmc", 194, "hexagonal", "6/mmm", {("Mg", "2c")}),
    "TaB2": ("P6/mmm", 191, "hexagonal", "6/mmm", {("Ta", "1a"), ("B", "2d")}),
    "P2_1/c": ("P2₁/c", 14, "monoclinic", "2/m", {("Zr", "4e"), ("O", "4e")}),
}


@pytest.mark.parametrize("name", SITES)
def test_known_crystals_have_their_groups_and_sites(name: str) -> None:
    symbol, number, system, point_group, sites = SITES[name]
    found = symmetry_of(KNOWN[name], 0.01)
    assert (found.symbol, found.number, found.system, found.point_group) == (symbol, number, system, point_group)
    assert {(s.element, f"{s.multiplicity}{s.letter}") for s in found.sites} == sites
    small = symmetry_of(cell_as(KNOWN[name], "primitive", 0.01), 0.01)  # whose letters may be those of another origin
    assert sorted((s.element, s.multiplicity) for s in small.sites) == sorted((e, int(s[:-1])) for e, s in sites)


@pytest.mark.parametrize("name", KNOWN)
def test_sites_are_pymatgens(name: str) -> None:
    reference = SpacegroupAnalyzer(SpacegroupAnalyzer(KNOWN[name]).get_refined_structure()).get_symmetrized_structure()
    wanted = sorted(
        (w, str(sites[0].specie))
        for w, sites in zip(reference.wyckoff_symbols, reference.equivalent_sites, strict=True)
    )
    found = symmetry_of(KNOWN[name], 0.01)
    assert sorted((f"{s.multiplicity}{s.letter}", s.element) for s in found.sites) == wanted
    for site in found.sites:  # and each representative is one of the sites
        assert all(0 <= v < 1 for v in (site.x, site.y, site.z))


@pytest.mark.parametrize("name", KNOWN)
def test_cells_hold_the_same_crystal(name: str) -> None:
    structure = KNOWN[name].copy()
    structure.make_supercell([2, 1, 1])
    sizes = {"primitive": SpacegroupAnalyzer(structure).get_primitive_standard_structure(),
             "conventional": SpacegroupAnalyzer(structure).get_conventional_standard_structure()}  # fmt: skip
    for kind, reference in sizes.items():
        found = cell_as(structure, kind, 0.01)
        assert len(found) == len(reference)
        assert found.composition.reduced_formula == structure.composition.reduced_formula
        assert found.volume == pytest.approx(reference.volume)
        assert StructureMatcher(primitive_cell=True, scale=False).fit(found, structure)
    assert cell_as(structure, "stored", 0.01) is structure


def test_a_wider_tolerance_finds_more() -> None:
    bent = KNOWN["NaCl"].copy()
    bent.translate_sites([0], [0.004, 0.001, 0], frac_coords=True)
    assert symmetry_of(bent, 0.001).number < 225
    assert symmetry_of(bent, 0.1).number == 225


def test_silicon_diffracts_where_it_does() -> None:
    """(111) at 28.44°, (220) at 47.30°, (311) at 56.12° with Kα₁ (NIST SRM 640); Kα's mean lies 0.03 to 0.06 above."""
    peaks = powder_pattern(KNOWN["Si"], 0.01).peaks
    assert [p.planes for p in peaks[:3]] == ["111", "220", "311"]
    assert [p.two_theta for p in peaks[:3]] == pytest.approx([28.44, 47.30, 56.12], abs=0.07)
    assert peaks[0].intensity == pytest.approx(100)
    assert [p.multiplicity for p in peaks[:3]] == [8, 12, 24]
    assert peaks[0].d == pytest.approx(5.431 / np.sqrt(3), abs=1e-4)
    primitive = powder_pattern(cell_as(KNOWN["Si"], "primitive", 0.01), 0.01).peaks
    assert [(p.planes, round(p.two_theta, 4)) for p in primitive] == [(p.planes, round(p.two_theta, 4)) for p in peaks]


@pytest.mark.parametrize(
    ("name", "symprec"),
    [(name, symprec) for name in ("NaCl", "TiO2", "BaTiO3", "TaB2") for symprec in (0.1, 0.001)] + [("P2_1/c", 0.1)],
)
def test_a_shaken_crystal_diffracts_as_the_perfect_one(name: str, symprec: float) -> None:
    """Refined onto its group where the tolerance finds that, its split lines taken together where it does not."""
    perfect, shaken = powder_pattern(KNOWN[name], 0.01), KNOWN[name].copy()
    rng = np.random.default_rng(3)
    bent = shaken.lattice.matrix * (1 + rng.normal(0, 1e-4, (3, 1))) + rng.normal(0, 1e-3, (3, 3))
    moves = rng.normal(0, 0.002 / np.sqrt(3), (len(shaken), 3))
    shaken = Structure(Lattice(bent), shaken.species, shaken.frac_coords + moves @ np.linalg.inv(bent))
    found = powder_pattern(shaken, symprec)
    assert found.group == (perfect.group if symprec == 0.1 else "")
    strong = [p for p in perfect.peaks if p.intensity > 1]
    for peak in strong:
        (same,) = [p for p in found.peaks if abs(p.two_theta - peak.two_theta) < 0.08 and p.intensity > 0.5]
        assert same.intensity == pytest.approx(peak.intensity, abs=1.5)
    assert len([p for p in found.peaks if p.intensity > 1.2]) <= len(strong)


def test_the_lines_of_tab2_have_their_usual_names() -> None:
    found = powder_pattern(KNOWN["TaB2"], 0.01)
    assert found.group == "P6/mmm (191)"
    names = ["001", "100", "101", "002", "110", "111", "102", "200", "201", "112"]
    assert [p.planes for p in found.peaks] == names
    assert max(found.peaks, key=lambda p: p.intensity).planes == "101"
    assert [p.multiplicity for p in found.peaks] == [2, 6, 12, 2, 6, 12, 12, 6, 12, 12]


def test_planes_are_read_with_signs_and_gaps() -> None:
    planes = {p.planes for p in powder_pattern(KNOWN["P-1"], 0.01).peaks}
    assert "001" in planes
    assert any("−" in p and " " in p for p in planes)


def test_a_pattern_that_takes_too_long_is_refused_with_a_sentence() -> None:
    large = KNOWN["P-1"] * [5, 5, 5]
    large.perturb(0.05)
    with pytest.raises(ValueError, match="up to 400 atoms; this one has 500"):
        powder_pattern(large, 0.001)


def test_distances_are_by_pair_and_from_each_side() -> None:
    rows = {(r.centre, r.other): r for r in pair_distances(KNOWN["TiO2"], find_neighbours(KNOWN["TiO2"]))}
    assert set(rows) == {("Ti", "O"), ("O", "Ti")}
    assert (rows["Ti", "O"].fewest, rows["Ti", "O"].most) == (6, 6)
    assert (rows["O", "Ti"].fewest, rows["O", "Ti"].most) == (3, 3)
    assert rows["Ti", "O"].shortest == pytest.approx(1.946, abs=2e-3)
    assert rows["Ti", "O"].longest == pytest.approx(1.984, abs=2e-3)
    assert rows["Ti", "O"].mean == rows["O", "Ti"].mean


@pytest.mark.parametrize(
    ("lattice", "frac", "said"),
    [
        (np.eye(3) * np.nan, np.zeros((1, 3)), "not a finite number"),
        (np.eye(3) * 4, np.array([[0, np.inf, 0]]), "not a finite number"),
        (np.array([[4, 0, 0], [0, 4, 0], [4, 4, 0.0]]), np.zeros((1, 3)), "no volume"),
        (np.zeros((3, 3)), np.zeros((1, 3)), "no volume"),
        (np.eye(3) * 4, np.zeros((0, 3)), "no atom"),
        (np.eye(3) * 5000, np.zeros((1, 3)), "1000 Å"),
        (np.eye(3) * 4, np.zeros((2, 3)), ""),
    ],
)
def test_what_cannot_be_drawn_is_said(lattice: np.ndarray, frac: np.ndarray, said: str) -> None:
    problem = problem_of(lattice, frac)
    assert said in problem
    assert bool(problem) == bool(said)


def test_overlapping_atoms_have_no_symmetry_but_no_fault() -> None:
    overlapping = Structure(Lattice.cubic(4), ["Na", "Na"], [[0, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="no symmetry"):
        symmetry_of(overlapping, 0.01)
    with pytest.raises(ValueError, match="no symmetry"):
        cell_as(overlapping, "primitive", 0.01)
