"""Hulls against pymatgen's PhaseDiagram, closed forms, and a real hull of AFLOW's."""

from __future__ import annotations

import gzip
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from core.energy.errors import method_error
from core.energy.hull import ConvexHull, HullError, Phase, normal_system
from core.energy.hull_checks import disagreement, outliers, warnings_of
from core.energy.hull_files import read_hull
from core.energy.hull_source import HullSource, SourcePhase


def nhull(shared: Path) -> bytes:
    return (shared / "data" / "aflow" / "nhull_MnPdPt.json.gz").read_bytes()


def random_phases(elements: str, count: int, seed: int) -> list[Phase]:
    """Phases of any number of these elements, most of them below 0, elements above their references."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        chosen = rng.sample(elements.split("-"), rng.randint(1, len(elements.split("-"))))
        content = {e: float(rng.randint(1, 6)) for e in chosen}
        found.append(Phase(str(i), content, rng.uniform(0, 0.3) if len(chosen) == 1 else rng.uniform(-1, 0.2)))
    return found


@pytest.mark.parametrize(("system", "count"), [("B-W", 40), ("B-Ta-W", 150), ("Al-B-Ta-W", 150), ("Al-B-C-Ta-W", 120)])
def test_distances_decompositions_and_facets_are_pymatgens(system: str, count: int) -> None:
    phases = random_phases(system, count, seed=count)
    hull = ConvexHull(system, phases)
    entries = [PDEntry(Composition(p.composition), p.formation * sum(p.composition.values())) for p in phases]
    diagram = PhaseDiagram([*entries, *(PDEntry(Composition(e), 0.0) for e in hull.elements)])
    assert hull.above() == pytest.approx([diagram.get_e_above_hull(e) for e in entries], abs=1e-9)
    stable = {e.composition.reduced_formula for e in diagram.stable_entries}
    assert {p.formula for p in hull.stable()} == stable
    assert {f for facet in hull.facets() for f, _ in facet} == stable
    assert len(hull.facets()) == len(diagram.facets)
    for phase in random_phases(system, 60, seed=1):
        place = hull.place(phase.composition, phase.formation)
        wanted, energy = diagram.get_decomp_and_hull_energy_per_atom(Composition(phase.composition))
        assert place.hull == pytest.approx(energy, abs=1e-9)
        assert place.above == pytest.approx(phase.formation - energy, abs=1e-9)
        assert dict(place.against) == pytest.approx({e.composition.reduced_formula: w for e, w in wanted.items()})


def test_a_reaction_is_balanced_and_its_energy_is_the_distance() -> None:
    phases = random_phases("Al-B-Ta-W", 100, seed=3)
    hull = ConvexHull("Al-B-Ta-W", phases)
    energies = {Composition(p.composition).reduced_formula: p.formation for p in hull.stable()}
    written = 0
    for phase in random_phases("Al-B-Ta-W", 80, seed=4):
        place = hull.place(phase.composition, phase.formation)
        if not place.reaction:
            assert [f for f, _ in place.against] == [phase.formula]
            continue
        sides = [[term.split(" ") for term in side.split(" + ")] for side in place.reaction.split(" → ")]
        (left, right) = [[(int(t[0]) if len(t) == 2 else 1, Composition(t[-1])) for t in side] for side in sides]
        assert sum((n * c for n, c in left), Composition()).almost_equals(sum((n * c for n, c in right), Composition()))
        (count, formed) = right[0]
        assert formed.reduced_formula == phase.formula
        paid = sum(n * c.num_atoms * energies[c.reduced_formula] for n, c in left)
        change = phase.formation - paid / (count * formed.num_atoms)
        assert place.reaction_energy == pytest.approx(change, abs=1e-9)
        written += 1
    assert written > 40


def test_closed_forms_of_a_binary_its_ends_and_its_sub_system() -> None:
    """TaB2 and TaB on the hull: on the line between them, beyond them, and on them."""
    hull = ConvexHull("B-Ta-W", [Phase("a", {"Ta": 1, "B": 2}, -0.6), Phase("b", {"Ta": 2, "B": 2}, -0.8)])
    between = hull.place({"Ta": 2, "B": 3}, -0.7)  # TaB + TaB2: 2/5 and 3/5 of the atoms
    assert between.hull == pytest.approx(-(0.4 * 0.8 + 0.6 * 0.6))
    assert between.against == [("TaB2", pytest.approx(0.6)), ("TaB", pytest.approx(0.4))]
    assert between.reaction == "TaB + TaB2 → Ta2B3"
    below = hull.place({"Ta": 3, "B": 4}, -0.80)
    assert below.above == pytest.approx(-0.80 + (4 * 0.8 + 3 * 0.6) / 7)
    assert below.reaction == "2 TaB + TaB2 → Ta3B4"
    assert below.reaction_energy < 0
    beyond = hull.place({"Ta": 3, "B": 1}, -0.1)
    assert beyond.hull == pytest.approx(-0.4)
    assert beyond.reaction == "2 Ta + TaB → Ta3B"
    with_tungsten = hull.place({"Ta": 4, "B": 4, "W": 8}, 0.0)
    assert with_tungsten.hull == pytest.approx(-0.4)
    assert with_tungsten.reaction == "TaB + 2 W → TaBW2"
    on_it = hull.place({"Ta": 3, "B": 6}, -0.65)
    assert (on_it.above, on_it.reaction) == (pytest.approx(-0.05), "")
    for element in ("B", "Ta", "W"):
        end = hull.place({element: 7}, 0.02)
        assert (end.above, end.hull, end.reaction) == (pytest.approx(0.02), 0.0, "")
    assert hull.place({"B": 3, "W": 1}, 0.1).above == pytest.approx(0.1), "nothing is known of B-W"


def test_what_cannot_be_placed_is_refused_in_words() -> None:
    phases = [Phase("a", {"Ta": 1, "B": 2}, -0.6)]
    hull = ConvexHull("B-Ta", phases)
    with pytest.raises(HullError, match="O, W is not in the hull B-Ta"):
        hull.place({"Ta": 1, "W": 1, "O": 2}, -1)
    with pytest.raises(HullError, match="is not known"):
        hull.place({"Ta": 1, "B": 2}, float("nan"))
    with pytest.raises(HullError, match="without atoms"):
        hull.place({}, -1)
    with pytest.raises(HullError, match="8 elements; a hull can hold 7"):
        ConvexHull("Al-B-C-Si-Ta-Ti-V-W", phases)


def test_a_system_is_written_in_many_ways() -> None:
    assert [normal_system(t) for t in ("W-Ta-B", "TaWB", "B, Ta, W", "Ta")] == ["B-Ta-W"] * 3 + ["Ta"]
    for bad in ("TaB2", "Xx-B", ""):
        with pytest.raises(HullError, match="no chemical system"):
            normal_system(bad)


def test_a_real_hull_of_aflow_comes_out(shared: Path) -> None:
    """All 20 hull points, and every distance within 0.01 meV/atom (AFLOW writes them without a sign)."""
    source = read_hull(nhull(shared), "upload-1f.json.gz")
    rows: list[dict[str, Any]] = json.loads(gzip.decompress(nhull(shared)))
    known = {r["auid"]: r for r in rows if r["enthalpy_formation_atom"] < 1e11 and r["auid"]}
    assert (source.chemical_system, source.method, source.rows) == ("Mn-Pd-Pt", "AFLOW", 3502)
    assert len(source.phases) == len(known) + 3 == 3378
    hull = ConvexHull(source.chemical_system, [Phase(p.label, p.composition, p.formation) for p in source.shaping])
    above = hull.above_of([p.composition for p in source.phases], [p.formation for p in source.phases])
    differences = [
        abs(1000 * abs(value) - known[p.label]["distance_hull_enthalpy_formation_atom"])
        for p, value in zip(source.phases, above, strict=True)
        if p.label in known
    ]
    assert max(differences) < 0.01
    assert disagreement(source, hull) == pytest.approx(max(differences) / 1000)
    points = {r["auid"] for r in rows if r["is_hull_point"] and r["auid"]}
    stable = hull.stable()
    assert {p.label for p in stable[3:]} == points
    assert (len(points), len(stable)) == (17, 20)


def test_a_real_hull_keeps_what_aflow_says_and_is_not_doubted_without_reason(shared: Path) -> None:
    source = read_hull(nhull(shared), "x.json.gz")
    flags = {p.flag for p in source.phases}
    assert flags == {"", "duplicate entry", "flagged without a reason"}
    assert sum(source.left_out.values()) == 124
    hull = ConvexHull(source.chemical_system, [Phase(p.label, p.composition, p.formation) for p in source.shaping])
    said = warnings_of(source, hull)
    assert not any(word in " ".join(said) for word in ("skewed", "unreliable", "Outliers", "differ"))
    assert "124 of 3,502 entries were left out" in said[-1]
    assert outliers(source.shaping) == [], "AFLOW flags none of them as outside the interquartile range"


def test_a_dense_hull_does_not_hang(shared: Path) -> None:
    source = read_hull(nhull(shared), "x.json.gz")
    phases = [Phase(p.label, p.composition, p.formation) for p in source.phases]
    started = time.process_time()
    hull = ConvexHull(source.chemical_system, phases)
    assert len(hull.above()) == 3378
    assert hull.stable()
    assert hull.facets()
    assert time.process_time() - started < 60, "pair by pair, it is minutes"


def source_of(phases: list[SourcePhase], system: str = "B-W", **more: Any) -> HullSource:
    return HullSource(system, "M", "n", "s", phases, len(phases), **more)


def doubts(source: HullSource) -> str:
    hull = ConvexHull(source.chemical_system, [Phase(p.label, p.composition, p.formation) for p in source.shaping])
    return " ".join(warnings_of(source, hull))


def test_doubts_are_said_as_aflow_says_them() -> None:
    rng = np.random.default_rng(0)
    many = [
        SourcePhase(f"p{i}", {"B": float(rng.integers(1, 5)), "W": 1.0}, float(rng.uniform(-0.4, -0.1)))
        for i in range(200)
    ]
    assert doubts(source_of(many)) == ""
    assert "B-W has 199" in doubts(source_of(many[1:]))
    assert "unreliable" not in doubts(source_of(many))
    for energy, skewed in ((0.0149, False), (0.0151, True), (-0.0151, True)):
        with_element = source_of([*many, SourcePhase("w", {"W": 2.0}, energy), SourcePhase("x", {"W": 1.0}, 0.5)])
        assert ("skewed" in doubts(with_element)) == skewed
    low, high = np.quantile([p.formation for p in many], [0.25, 0.75])
    fence = low - 3.25 * (high - low)
    for energy, outside in ((fence + 0.02, False), (fence - 0.02, True)):
        said = doubts(source_of([*many, SourcePhase("odd", {"B": 1.0, "W": 1.0}, float(energy))]))
        assert ("Outliers" in said and "(odd, " in said) == outside
    few = [*many[:30], SourcePhase("odd", {"B": 1.0, "W": 1.0}, -9.0)]
    assert "Outliers" not in doubts(source_of(few)), "too few for quartiles"
    flagged = source_of([*many, SourcePhase("f", {"B": 1.0, "W": 1.0}, -5.0, flag="duplicate entry")])
    assert "1 entry is listed but does not shape the hull (duplicate entry: 1)" in doubts(flagged)
    assert "differ from those computed here by up to" in doubts(source_of(many, distances={"p0": 3.0}))


def test_the_error_of_a_method_is_read_where_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    assert method_error("M", path=path) is None
    path.write_text(json.dumps({"M": {"mae": 0.031, "structures": 1000, "against": "DFT"}}))
    found = method_error("M", path=path)
    assert found is not None
    assert found.sentence == (
        "Formation energies by this method err by 31 meV/atom on average (1,000 structures, against DFT)."
    )
    assert method_error("N", path=path) is None


def test_the_error_is_that_of_compounds_like_the_hulls(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    kinds = {"uncorrected": {"mae": 0.03, "structures": 20}, "corrected": {"mae": 0.4, "structures": 80}}
    path.write_text(json.dumps({"M": {"mae": 0.3, "structures": 100, "against": "DFT", "kinds": kinds}}))
    found = {e: method_error("M", e, path) for e in (("B", "Ta"), ("B", "O"), ())}
    assert [f and f.mae for f in found.values()] == [0.03, 0.3, 0.3]
    assert "without H, N, O" in str(found["B", "Ta"] and found["B", "Ta"].sentence)
