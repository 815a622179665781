"""Potentials, relaxation, formation energies and hulls against ASE, pymatgen, AFLOW and finite differences."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Lattice, Structure

from core.crystals import Crystals, from_structures, to_structures
from core.energy import load
from core.energy.ase_calculator import OneByOne
from core.energy.formation import References, formation_energy, load_references
from core.energy.hull import ConvexHull, HullError, Phase
from core.energy.known_phases import KNOWN_PHASES
from core.energy.load import choices, default_choice, load_potential, prove
from core.energy.potential import Potential, PotentialError, screen, shortest_distances
from core.energy.relaxation import CONVERGED, RelaxationConfig, relax, relax_volume


@pytest.fixture(params=["chgnet", "m3gnet"])
def potential(request: pytest.FixtureRequest) -> Iterator[Potential]:
    folder = request.getfixturevalue("m3gnet_folder") if request.param == "m3gnet" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield load_potential(request.param, folder)


def shaken(seed: int = 0) -> Crystals:
    """Four crystals off their minima."""
    rock = Structure.from_spacegroup(225, Lattice.cubic(4.3), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    tib2 = Structure(
        Lattice.hexagonal(3.1, 3.3), ["Ti", "B", "B"], [[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]
    )
    structures = [rock.get_primitive_structure(), tib2, tib2 * (2, 1, 1), rock]
    for i, structure in enumerate(structures):
        structure.perturb(0.06, seed=seed + i) if len(structure) > 2 else None
    return from_structures(structures)


def test_known_energies_come_out_and_a_wrong_potential_is_refused(potential: Potential) -> None:
    key = "m3gnet" if "M3GNet" in potential.name else "chgnet"
    prove(potential, load.PROOFS[key])
    with pytest.raises(PotentialError, match=r"does not reproduce .* NaCl"):
        prove(potential, {**load.PROOFS[key], "NaCl": -2.04})


def test_m3gnet_reproduces_the_original_software(m3gnet_folder: Path) -> None:
    """Values of the 2021 release for compounds; read the wrong way round they are eV off (MgO −2.04)."""
    found = load_potential("m3gnet", m3gnet_folder)
    cells = {
        ("Si", "C", 216, 4.36): -7.526,
        ("Ti", "C", 225, 4.33): -9.378,
    }
    for (a, b, group, edge), expected in cells.items():
        sites = [[0, 0, 0], [0.25] * 3 if group == 216 else [0.5] * 3]
        structure = Structure.from_spacegroup(group, Lattice.cubic(edge), [a, b], sites).get_primitive_structure()
        crystals = from_structures([structure])
        assert float(found.evaluate(crystals).energy[0]) / 2 == pytest.approx(expected, abs=0.004)


def test_forces_and_stress_are_derivatives_of_the_energy(potential: Potential) -> None:
    crystals = shaken()[[1]]
    found = potential.evaluate(crystals)
    step = 2e-3
    for strain in (torch.diag(torch.tensor([1.0, 0, 0])), torch.tensor([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0.0]])):
        energies = []
        for sign in (1, -1):
            deformed = crystals.lattice @ (torch.eye(3) + sign * step * strain).double()
            energies.append(float(potential.evaluate(replace(crystals, lattice=deformed)).energy[0]))
        slope = (energies[0] - energies[1]) / (2 * step) / float(crystals.volume[0])
        assert float((found.stress[0] * strain).sum()) == pytest.approx(slope, abs=2e-3)
    moved = []
    for sign in (1, -1):
        frac = crystals.frac.clone()
        frac[0, 1, 2] += sign * step / float(crystals.lattice[0, 2].norm())
        moved.append(float(potential.evaluate(replace(crystals, frac=frac)).energy[0]))
    direction = crystals.lattice[0, 2] / crystals.lattice[0, 2].norm()
    assert float(found.forces[0, 1] @ direction) == pytest.approx(-(moved[0] - moved[1]) / (2 * step), abs=5e-3)


def test_a_batch_gives_what_one_by_one_gives_and_a_bad_crystal_sinks_nobody(potential: Potential) -> None:
    good = shaken()
    structures = to_structures(good)
    bad = [
        Structure(Lattice.cubic(3), ["Ta", "Ta"], [[0, 0, 0], [0.01, 0, 0]]),
        Structure(Lattice.cubic(0.9), ["Ta"], [[0, 0, 0]]),
        Structure(Lattice.cubic(4), ["Lr"], [[0, 0, 0]]),
        Structure(Lattice.cubic(40), ["Ta"], [[0, 0, 0]]),
    ]
    mixed = from_structures([structures[0], *bad, *structures[1:]])
    found = potential.evaluate(mixed)
    assert found.ok.tolist() == [True, False, False, False, False, True, True, True]
    words = ["under 0.5 Å: two are 0.03", "under 1 Å³: it holds 0.73", "unknown element: ", "too far apart: 64000 Å³"]
    assert all(word in problem for word, problem in zip(words, found.problem[1:5], strict=True))
    alone = torch.stack([potential.evaluate(from_structures([s])).energy[0] for s in structures])
    torch.testing.assert_close(found.energy[found.ok], alone, atol=2e-4, rtol=1e-5)


def test_shortest_distances_are_those_of_pymatgen() -> None:
    rng = np.random.default_rng(0)
    structures = []
    for _ in range(25):
        n = int(rng.integers(1, 8))
        lattice = Lattice.from_parameters(*rng.uniform(3, 7, 3), *rng.uniform(75, 105, 3))
        structures.append(Structure(lattice, ["Ta"] * n, rng.random((n, 3))))
    for structure, found in zip(structures, shortest_distances(from_structures(structures)).tolist(), strict=True):
        neighbours = structure.get_all_neighbors(8.0)
        assert found == pytest.approx(min(n.nn_distance for site in neighbours for n in site), abs=1e-6)
    assert screen(from_structures([structures[0]]), frozenset({1}))[0]


def test_the_adapter_is_a_torch_sim_model(potential: Potential) -> None:
    """torch-sim's own validator, which compares batched with single evaluations."""
    from torch_sim.models.interface import validate_model_outputs

    from core.energy.torch_sim_model import TorchSimModel

    validate_model_outputs(TorchSimModel(potential), torch.device("cpu"), torch.float64)


@pytest.mark.slow
def test_batched_relaxation_ends_where_ase_ends(potential: Potential) -> None:
    """Energies within 2 meV/atom of FIRE with a Fréchet cell filter in ASE, one by one."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    crystals = shaken()
    relaxed = relax(crystals, potential, RelaxationConfig(fmax=0.02, steps=300))
    assert relaxed.status == [CONVERGED] * 4
    assert bool((relaxed.energy_after <= relaxed.energy_before).all())
    assert bool((relaxed.max_force < 0.02).all())
    for i, structure in enumerate(to_structures(crystals)):
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = OneByOne(potential)
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=300)
        difference = abs(atoms.get_potential_energy() - float(relaxed.energy_after[i])) / len(atoms)
        assert difference < 0.002, structure.formula


@pytest.mark.slow
def test_real_structures_end_where_ase_ends(shared: Path, m3gnet_folder: Path) -> None:
    """12 real structures of up to 12 atoms, atoms moved by 0.1 Å: 100 of them are in benchmarks/relax_structures.py."""
    from benchmarks.relax_structures import TOLERANCE, one_by_one, real_crystals
    from benchmarks.relax_structures import shaken as moved

    m3gnet = load_potential("m3gnet", m3gnet_folder)
    crystals = moved(real_crystals(shared / "data" / "mp_polymorphs.jsonl.gz", 12, m3gnet, 12, 3), 0.1, 0)
    expected = one_by_one(to_structures(crystals), m3gnet, 0.05, 500)
    relaxed = relax(crystals, m3gnet)
    difference = (relaxed.energy_after / crystals.natoms - expected).abs()
    assert int((difference < TOLERANCE).sum()) >= 11
    assert float(difference.median()) < 1e-4


def test_m3gnets_spared_products_change_nothing(m3gnet_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer applied to atoms before they meet, against matgl's own order."""
    from core.energy import m3gnet

    found = load_potential("m3gnet", m3gnet_folder).evaluate(shaken())

    def plain(network, edge_index, nodes, edges):
        return network(torch.hstack([nodes[edge_index[0]], nodes[edge_index[1]], *edges]))

    monkeypatch.setattr(m3gnet, "_gated", plain)
    expected = load_potential("m3gnet", m3gnet_folder).evaluate(shaken())
    torch.testing.assert_close(found.energy, expected.energy, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.forces, expected.forces, atol=5e-5, rtol=0)
    torch.testing.assert_close(found.stress, expected.stress, atol=5e-6, rtol=0)


def test_positions_only_leaves_the_cell_and_failures_say_why() -> None:
    potential = load_potential("chgnet")
    crystals = shaken()[[1, 0]]
    config = RelaxationConfig(cell=False, steps=15)
    relaxed = relax(crystals, potential, config)
    assert torch.equal(relaxed.crystals.lattice, crystals.lattice)
    close = Structure(Lattice.cubic(3), ["Ta", "Ta"], [[0, 0, 0], [0.01, 0, 0]])
    mixed = from_structures([close, to_structures(crystals)[1]])
    found = relax(mixed, potential, config)
    assert found.status[0].startswith("failed: atoms under 0.5 Å: two are 0.03 Å apart")
    assert torch.isnan(found.energy_after[0])
    assert torch.equal(found.crystals.frac[0], mixed.frac[0])
    assert torch.isfinite(found.energy_after[1])


def test_a_relaxation_can_be_stopped() -> None:
    asked = iter([False, True])
    relaxed = relax(shaken(), load_potential("chgnet"), RelaxationConfig(fmax=1e-9), cancelled=lambda: next(asked))
    assert int(relaxed.steps.max()) <= 2


def test_volumes_are_relaxed_to_the_minimum_of_a_scan(potential: Potential) -> None:
    crystals = shaken()[[0, 1]]
    start = replace(crystals, lattice=crystals.lattice * torch.tensor([1.06, 0.95])[:, None, None])
    relaxed, found = relax_volume(start, potential)
    assert found.problem == ["", ""]
    for i in range(2):
        scales = torch.linspace(0.985, 1.015, 7, dtype=torch.float64)
        scan = replace(relaxed[[i] * 7], lattice=relaxed.lattice[[i] * 7] * scales[:, None, None])
        energies = potential.evaluate(scan).energy
        assert int(energies.argmin()) in (2, 3, 4)


def test_formation_energies_are_counted_from_the_references() -> None:
    crystals = from_structures([Structure(Lattice.cubic(3), ["Ta", "B"], [[0, 0, 0], [0.5, 0.5, 0.5]])] * 2)
    references = References("M", "h", {"Ta": -11.0, "B": -6.0}, {})
    found = formation_energy(torch.tensor([-18.0, torch.nan]), crystals, references)
    assert float(found[0]) == pytest.approx(-0.5)
    assert torch.isnan(found[1])
    assert torch.isnan(
        formation_energy(torch.tensor([-18.0] * 2), crystals, References("M", "h", {"Ta": -11.0}, {}))
    ).all()


def test_shipped_references_are_of_the_potentials_that_are_loaded(potential: Potential) -> None:
    references = load_references(potential.name)
    assert references.weights_hash == potential.weights_hash
    bcc = Structure(Lattice.cubic(3.18), ["W", "W"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    relaxed, found = relax_volume(from_structures([bcc]), potential)
    assert float(formation_energy(found.energy, relaxed, references)[0]) == pytest.approx(0.0, abs=0.01)


def test_the_default_is_m3gnet_where_it_is_and_chgnet_elsewhere(m3gnet_folder: Path) -> None:
    assert default_choice(m3gnet_folder).key == "m3gnet"
    assert default_choice(None).key == "chgnet"
    missing = next(c for c in choices(None) if c.problem)
    assert "SUBHULL_M3GNET" in missing.problem
    with pytest.raises(PotentialError, match="M3GNet cannot be used"):
        load_potential("m3gnet", None)


def nhull(shared: Path) -> list[dict[str, object]]:
    return list(json.loads(gzip.decompress((shared / "data" / "aflow" / "nhull_MnPdPt.json.gz").read_bytes())))


PHASES = [
    Phase("TaB2", {"Ta": 1, "B": 2}, -0.7),
    Phase("TaB2 high", {"Ta": 2, "B": 4}, -0.5),
    Phase("TaB", {"Ta": 1, "B": 1}, -0.8),
    Phase("WB", {"W": 1, "B": 1}, -0.4),
    Phase("bad", {"Ta": 1, "W": 3}, 0.2),
]


def test_a_hull_agrees_with_pymatgens_phase_diagram() -> None:
    hull = ConvexHull("B-Ta-W", PHASES)
    entries = [PDEntry(Composition(p.composition), p.formation * sum(p.composition.values())) for p in PHASES]
    diagram = PhaseDiagram(entries + [PDEntry(Composition(e), 0.0) for e in ("B", "Ta", "W")])
    expected = [diagram.get_e_above_hull(e) for e in entries]
    assert hull.above() == pytest.approx(expected)
    assert {p.formula for p in hull.stable()} == {"B", "Ta", "W", "TaB2", "TaB", "BW"}


def test_places_below_above_and_at_the_ends() -> None:
    hull = ConvexHull("B-Ta-W", PHASES)
    assert hull.place({"Ta": 1, "B": 2}, -0.75).above == pytest.approx(-0.05)
    assert hull.place({"Ta": 3}, 0.1).above == pytest.approx(0.1)
    halfway = hull.place({"Ta": 1, "B": 6}, 0.0)  # between TaB2 and B: 3/7 of the atoms are TaB2
    assert halfway.hull == pytest.approx(-0.7 * 3 / 7)
    assert halfway.against == [("B", pytest.approx(4 / 7)), ("TaB2", pytest.approx(3 / 7))]
    with pytest.raises(HullError, match="O is not in the hull"):
        hull.place({"Ta": 1, "O": 2}, -1)
    with pytest.raises(HullError, match="no element of the hull"):
        ConvexHull("B-Ta", PHASES)


@pytest.mark.parametrize("phase", KNOWN_PHASES, ids=lambda p: p.name)
def test_published_phases_have_their_group_and_sensible_distances(phase) -> None:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    structure = phase.build()
    assert SpacegroupAnalyzer(structure).get_space_group_number() == phase.group
    assert 1.5 < float(shortest_distances(from_structures([structure]))[0]) < 2.6
    assert phase.name.startswith(structure.composition.reduced_formula.replace("B2W", "WB2")) or "W" in phase.name


def test_fetching_without_the_internet_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PotentialError, match="set SUBHULL_M3GNET"):
        load.fetch_m3gnet(timeout_s=2)
