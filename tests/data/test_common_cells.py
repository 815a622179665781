"""Start and target in common cells: known transformations, properties that must hold, pymatgen and scipy beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from scipy.optimize import linear_sum_assignment

from core.crystals import from_structures, to_structures
from core.data.assignment import assign
from core.data.common_cells import fit_to, fitted, in_basis, start_matrix
from core.data.fitted_pairs import Fits, PairCells, cells_of, fit_pair, fit_pairs, starts_of
from core.data.supercells import changed, filled, metric_of, reduced_bases, sublattices, supercells
from core.evaluation.matching import rms_distance

BCC = Structure(Lattice([[-1.43, 1.43, 1.43], [1.43, -1.43, 1.43], [1.43, 1.43, -1.43]]), ["Fe"], [[0, 0, 0]])
HCP = Structure(Lattice.hexagonal(2.46, 3.96), ["Fe"] * 2, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
ROCKSALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CAESIUM = Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
ANATASE = Structure.from_spacegroup(
    "I4_1/amd", Lattice.tetragonal(3.785, 9.514), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.208]]
)  # fmt: skip


def cell(structure: Structure) -> object:
    return cells_of(from_structures([structure]))[0]


def beside(first: Structure, second: Structure) -> tuple[Structure, Structure, float, float]:
    """Both in common cells, with strain and displacement."""
    start, target = cells_of(from_structures([first]))[0], cells_of(from_structures([second]))[0]
    matrix, fit = fit_pair(start, target)
    found = [Structure(c.lattice, c.numbers, c.frac) for c in (in_basis(start, matrix), fitted(target, fit))]
    return found[0], found[1], fit.strain, fit.moved


@pytest.mark.parametrize(
    ("first", "second", "sites"),
    [
        (RUTILE, ANATASE.get_primitive_structure(), 6),
        (RUTILE, ANATASE, 12),
        (BCC, HCP, 2),
        (HCP, BCC, 2),
        (ROCKSALT.get_primitive_structure(), CAESIUM, 2),
        (CAESIUM, ROCKSALT, 8),
    ],
)
def test_polymorphs_of_different_cells_meet_in_one_of_the_same_content(
    first: Structure, second: Structure, sites: int
) -> None:
    start, target, strain, moved = beside(first, second)
    assert len(start) == len(target) == sites
    assert [s.specie for s in start] == [s.specie for s in target], "site stands beside site"
    for given, found in ((first, start), (second, target)):
        assert rms_distance(given, found) == pytest.approx(0, abs=1e-6)
        assert found.volume / len(found) == pytest.approx(given.volume / len(given))
    assert strain < 0.7
    assert moved < 0.6


def test_rocksalt_becomes_caesium_chloride_by_strain_alone() -> None:
    """No atom moves in the cell, and it takes no more than Buerger's path, whose rhombohedron opens from 60° to 90°."""
    _, _, strain, moved = beside(ROCKSALT.get_primitive_structure(), CAESIUM)
    assert moved == pytest.approx(0, abs=1e-6)
    rhombohedron = metric_of(np.array(Lattice.rhombohedral(5.64 / 2**0.5, 60).matrix))
    buerger = np.log(np.linalg.eigvalsh(np.linalg.inv(rhombohedron) * 3.4**2))
    assert 0.1 < strain <= np.linalg.norm(buerger) / 2 + 1e-9


def test_a_copy_in_another_basis_comes_back_onto_its_start() -> None:
    """Turned, shifted, renumbered, in a skew cell and three times as large: no strain, no displacement."""
    rng = np.random.default_rng(0)
    start = in_basis(cell(RUTILE), start_matrix(cell(RUTILE), 3))
    turned = Structure(
        np.array([[1, 1, 0], [0, 1, 2], [0, 0, 1]]) @ RUTILE.lattice.matrix @ np.linalg.qr(rng.normal(size=(3, 3)))[0],
        RUTILE.species,
        RUTILE.frac_coords @ np.linalg.inv([[1, 1, 0], [0, 1, 2], [0, 0, 1]]) + rng.random(3),
    )
    target = cell(Structure.from_sites([turned[i] for i in rng.permutation(len(turned))]))
    fit = fit_to(start, target)
    assert fit.strain == pytest.approx(0, abs=1e-6)
    assert fit.moved == pytest.approx(0, abs=1e-5)
    found = fitted(target, fit)
    assert metric_of(found.lattice) == pytest.approx(metric_of(start.lattice), abs=1e-5)
    apart = found.frac - start.frac
    apart -= apart[0]
    assert np.abs(apart - np.rint(apart)).max() < 1e-6
    assert (found.numbers == start.numbers).all()


def test_contents_that_are_no_multiples_are_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        fit_to(cell(CAESIUM), cell(RUTILE))


@pytest.mark.parametrize("index", [1, 2, 3, 4, 6, 8])
def test_every_sublattice_is_there_once(index: int) -> None:
    """Their number is Σ d · σ(d) over divisors of the index (OEIS A001001): 1, 7, 13, 35, 91, 155."""
    forms = sublattices(index)
    divisors = [d for d in range(1, index + 1) if index % d == 0]
    assert len(forms) == sum(d * sum(e for e in range(1, d + 1) if d % e == 0) for d in divisors)
    assert (np.rint(np.linalg.det(forms)) == index).all()
    assert len({f.tobytes() for f in forms}) == len(forms)


def test_reduced_cells_are_niggli_cells_of_pymatgen() -> None:
    rng = np.random.default_rng(1)
    lattices = rng.normal(size=(40, 3, 3)) * 4
    metrics = metric_of(lattices)
    bases = reduced_bases(metrics)
    assert (np.rint(np.linalg.det(bases)) == np.sign(1)).all()
    for lattice, metric in zip(lattices, changed(metrics, bases), strict=True):
        niggli = np.array(Lattice(lattice).get_niggli_reduced_lattice().matrix)
        assert metric == pytest.approx(metric_of(niggli), abs=1e-6)


def test_supercells_hold_the_crystal_and_begin_with_the_most_compact() -> None:
    metric = metric_of(np.array(RUTILE.lattice.matrix))
    matrices = supercells(metric, 4)
    assert (np.rint(np.linalg.det(matrices)) == 4).all()
    longest = [np.linalg.norm(m @ RUTILE.lattice.matrix, axis=1).max() for m in matrices]
    assert longest[0] == pytest.approx(min(longest))
    for matrix in matrices[::9]:
        frac = filled(np.array(RUTILE.frac_coords), matrix)
        grown = Structure(matrix @ RUTILE.lattice.matrix, np.repeat(RUTILE.atomic_numbers, 4), frac)
        assert StructureMatcher(primitive_cell=False, attempt_supercell=False).fit(grown, grown)
        assert rms_distance(RUTILE, grown) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_the_cheapest_pairing_is_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    for cost in (rng.random((n, n)), np.round(rng.random((n, n)) * 3), np.zeros((n, n))):
        columns = assign(cost)
        assert sorted(columns.tolist()) == list(range(n))
        rows, best = linear_sum_assignment(cost)
        assert cost[np.arange(n), columns].sum() == pytest.approx(cost[rows, best].sum())


def test_no_basis_nearby_is_closer() -> None:
    """Of all bases with entries up to 2 none has less strain than the one chosen for a crystal of one atom."""
    import itertools

    entries = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    rng = np.random.default_rng(3)
    for _ in range(3):
        start, target = (Structure(np.eye(3) * 3 + rng.normal(0, 0.5, (3, 3)), ["Fe"], [[0, 0, 0]]) for _ in range(2))
        first, second, strain, _ = beside(start, target)
        root = np.linalg.inv(np.linalg.cholesky(metric_of(first.lattice.matrix)))
        edges = entries @ second.lattice.matrix
        near = edges[np.linalg.norm(edges, axis=1) < 6.5]
        a, b = (i.ravel() for i in np.triu_indices(len(near), 1))
        least = np.inf
        for c in near:
            triples = np.stack([near[a], near[b], np.broadcast_to(c, near[a].shape)], 1)
            volumes = np.abs(np.linalg.det(triples))
            triples = triples[np.abs(volumes - second.volume) < 1e-3]
            for order in itertools.permutations(range(3)):
                values = np.linalg.eigvalsh(root @ metric_of(triples[:, order]) @ root.T)
                if len(values):
                    least = min(least, float(np.sqrt((np.log(values) ** 2).sum(1)).min() / 2))
        assert strain <= least + 1e-6


def test_what_is_fitted_ahead_is_what_is_fitted_on_the_way() -> None:
    crystals = from_structures(
        [RUTILE, ANATASE, ANATASE.get_primitive_structure()], [136, 141, 141], [-3.4, -3.5, -3.6]
    )
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2], [0, 2]])
    fits = fit_pairs(crystals, pairs[:3])
    known, fresh = PairCells(crystals, fits), PairCells(crystals)
    assert known.sizes(pairs).tolist() == [12, 6, 12, 6]
    for ahead, found in zip(known(pairs), fresh(pairs), strict=True):
        torch.testing.assert_close(ahead.frac, found.frac)
        torch.testing.assert_close(ahead.lattice, found.lattice)
        assert torch.equal(ahead.numbers, found.numbers)
    start, target = fresh(pairs)
    assert torch.equal(start.numbers, target.numbers)
    assert start.frac.dtype == torch.float32
    assert target.energy.tolist() == pytest.approx([-3.5, -3.6, -3.6, -3.6]), "eV/atom is the same in every cell"
    assert [len(f) for f in (fits, Fits(*(getattr(fits, n)[:0] for n in vars(fits))))] == [3, 0]


def test_a_start_is_grown_without_a_look_at_its_target() -> None:
    crystals = from_structures([RUTILE, ANATASE.get_primitive_structure()])
    pairs = torch.tensor([[1, 0], [1, 1]])
    start, _ = PairCells(crystals)(pairs)
    torch.testing.assert_close(start.lattice[0], start.lattice[1])
    grown = starts_of(crystals[[1]], [2])
    assert int(grown.natoms[0]) == 12
    assert rms_distance(*to_structures(crystals)[1:], *to_structures(grown)) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_real_pairs_are_the_same_crystals_in_common_cells(shared: Path) -> None:
    """300 random pairs of mp_polymorphs: the paper's matcher finds both again, and atoms stand element by element."""
    from core.crystals import unpack_cells
    from core.data.readers.parsing import parse_rows
    from core.data.readers.sources import raw_rows

    cells: dict[str, list[bytes]] = {}
    for records, _ in parse_rows(raw_rows(shared / "data" / "mp_polymorphs.jsonl.gz"), "M", processes=1):
        for record in records:
            cells.setdefault(record.formula, []).append(record.cell)
    rng = np.random.default_rng(0)
    several = [found for found in cells.values() if len(found) > 1]
    looked = 0
    while looked < 300:
        chosen = several[rng.integers(len(several))]
        first, second = (chosen[i] for i in rng.choice(len(chosen), 2, replace=False))
        crystals = unpack_cells([first, second])
        if np.lcm(*crystals.natoms.tolist()) > 64:
            continue
        start, target = PairCells(crystals)(torch.tensor([[0, 1]]))
        assert torch.equal(start.numbers, target.numbers)
        for given, found in zip(to_structures(crystals), to_structures(start) + to_structures(target), strict=True):
            distance = rms_distance(given, found)
            assert distance is not None
            assert distance < 0.01
        looked += 1
