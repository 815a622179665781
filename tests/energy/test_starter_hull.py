"""The shipped hulls of B-Ta-W: what they hold, that the potentials give it again, and how far DFT is."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from core.crystals import to_structures, unpack_cells
from core.data.readers.records import from_row
from core.energy.formation import formation_energy, load_references
from core.energy.hull import ConvexHull, Phase
from core.energy.known_phases import KNOWN_PHASES, Decorated, decorated_phases
from core.energy.load import load_potential
from core.energy.relaxation import CONVERGED
from core.energy.starter_hull import SAME_ENERGY
from core.settings import ASSETS

METHODS = {"m3gnet": "M3GNet-MP-2021.2.8", "chgnet": "CHGNet-0.3.0"}


def shipped(method: str) -> list[dict[str, Any]]:
    path = ASSETS / "hulls" / f"B-Ta-W.{method}.json.gz"
    hull = json.loads(gzip.decompress(path.read_bytes()))
    assert (hull["chemical_system"], hull["method"]) == ("B-Ta-W", method)
    assert "no discovery yet" in hull["about"]
    return list(hull["entries"])


def phase(row: dict[str, Any]) -> Phase:
    content = dict(zip(row["species"], map(float, row["composition"]), strict=True))
    return Phase(row["auid"], content, row["enthalpy_formation_atom"])


def structures(rows: list[dict[str, Any]]) -> list[Structure]:
    return to_structures(unpack_cells([from_row(row, "", "").cell for row in rows]))


@pytest.mark.parametrize("decorated", decorated_phases(), ids=lambda d: d.label)
def test_decorated_types_keep_the_published_symmetry(decorated: Decorated) -> None:
    published = next(p for p in KNOWN_PHASES if decorated.label.startswith(p.name))
    assert SpacegroupAnalyzer(decorated.structure).get_space_group_number() == published.group
    assert published.source in decorated.source


def test_every_order_of_the_metals_is_built_once() -> None:
    found = decorated_phases()
    assert len(found) == 4 + 2 + 2 + 4 + 4  # 2 metals on 2, 1, 1, 2, 2 metal sites
    assert len({d.label for d in found}) == len(found)
    ternaries = [d.structure.composition.reduced_formula for d in found if len(d.structure.composition) == 3]
    assert sorted(ternaries) == sorted(["Ta(B2W)2", "Ta2B4W", "TaB6W", "TaB6W", "TaB8W", "TaB8W"])


@pytest.mark.parametrize("method", METHODS.values())
def test_a_shipped_hull_holds_relaxed_distinct_phases_and_the_borides_that_exist(method: str) -> None:
    rows = shipped(method)
    assert {row["status"] for row in rows} == {CONVERGED}
    hull = ConvexHull("B-Ta-W", [phase(row) for row in rows])
    above = hull.above()
    assert min(above) > -1e-3  # elements relaxed twice agree with their references
    on_hull = {p.formula for p in hull.stable()}
    assert {"B", "Ta", "W", "TaB", "TaB2", "Ta3B4", "BW", "BW2"} <= on_hull  # made in experiments
    assert any(phase(row).formula == "TaB6W" for row in rows)
    groups = defaultdict(list)
    for row, structure in zip(rows, structures(rows), strict=True):
        groups[structure.composition.reduced_formula].append((row["enthalpy_formation_atom"], structure))
    same = StructureMatcher()
    for members in groups.values():
        for i, (energy, structure) in enumerate(members):
            near = [s for e, s in members[:i] if abs(e - energy) < SAME_ENERGY]
            assert not any(same.fit(structure, other) for other in near)


@pytest.mark.slow
@pytest.mark.parametrize("key", METHODS)
def test_the_potential_gives_the_shipped_energies_again(key: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("m3gnet_folder") if key == "m3gnet" else None
    potential = load_potential(key, folder)
    rows = shipped(potential.name)[::7]
    crystals = unpack_cells([from_row(row, "", "").cell for row in rows])
    found = potential.evaluate(crystals)
    again = formation_energy(found.energy, crystals, load_references(potential.name)).tolist()
    assert again == pytest.approx([row["enthalpy_formation_atom"] for row in rows], abs=1e-3)
    assert float(found.forces.norm(dim=2).max()) < 0.06


def test_near_the_hull_m3gnet_is_near_dft(shared: Path) -> None:
    """Formation energies of the Materials Project for the same crystals, all within 0.1 eV/atom."""
    published = json.loads((shared / "data" / "mp_B-Ta-W.json").read_text())
    known = [r for r in published if (r.get("enthalpy_formation_atom") or 0) < -0.2 and r["natoms"] <= 20]
    rows = shipped(METHODS["m3gnet"])
    ours = list(zip(rows, structures(rows), strict=True))
    same = StructureMatcher()
    differences = []
    for row, structure in zip(known, structures(known), strict=True):
        match = next((mine for mine, other in ours if same.fit(structure, other)), None)
        if match is not None:
            differences.append(match["enthalpy_formation_atom"] - row["enthalpy_formation_atom"])
    assert len(differences) >= 6
    assert max(map(abs, differences)) < 0.1
