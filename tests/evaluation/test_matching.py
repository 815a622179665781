"""Matching: the verdicts of pymatgen's StructureMatcher, and no pair that stalls the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from pymatgen.core import Lattice, Structure

from benchmarks.match_pairs import disturbed, plain_distance, real_pairs
from core.crystals import from_structures
from core.evaluation import matching
from core.evaluation.matching import first_match, rms_distance
from core.evaluation.pool import MatchPool, match_pairs
from core.evaluation.reduction import cell_of, is_primitive, reduce_cell
from tests.conftest import ROOT

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TIO2 = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]
)
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.916, 5.405), ["Si", "O"], [[0.4697, 0, 2 / 3], [0.4135, 0.2669, 0.7858]]
)


def scattered(seed: int) -> Structure:
    """Sixty atoms of one element: every atom may be any other's partner, which takes the matcher long."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(4) / 4] * 3), -1).reshape(-1, 3)[:60]
    return Structure(Lattice.cubic(9.0), ["C"] * 60, grid + rng.normal(0, 0.03, (60, 3)))


def test_published_structures_match_their_disturbed_copies_and_no_others() -> None:
    rng = np.random.default_rng(0)
    for structure in (NACL, CSCL, TIO2, QUARTZ):
        assert rms_distance(structure, structure) == pytest.approx(0, abs=1e-5)
        moved = disturbed(structure, 0.05, 0.01, rng)
        for name in ("paper", "field"):
            assert rms_distance(moved, structure, name) == pytest.approx(plain_distance(moved, structure, name))
    anatase = Structure.from_spacegroup(
        "I4_1/amd", Lattice.tetragonal(3.785, 9.514), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]]
    )
    assert rms_distance(TIO2, anatase) is None
    assert rms_distance(NACL, CSCL) is None
    assert first_match(QUARTZ, [TIO2, QUARTZ]) == 1
    with pytest.raises(ValueError, match="choose paper or field"):
        rms_distance(NACL, NACL, "loose")


@pytest.mark.parametrize("structure", [NACL, TIO2, QUARTZ], ids=["NaCl", "rutile", "quartz"])
def test_the_choice_of_cell_origin_order_and_axes_changes_nothing(structure: Structure) -> None:
    rng = np.random.default_rng(1)
    drawn = disturbed(structure, 0.1, 0.01, rng)
    expected = rms_distance(drawn, structure)
    assert expected is not None
    assert expected > 0.005
    other = disturbed(drawn, 0.0, 0.0, rng)  # shifted, turned, in another order
    assert rms_distance(other, structure) == pytest.approx(expected, abs=1e-6)
    cell = Structure(
        Lattice(np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ drawn.lattice.matrix),
        drawn.species,
        drawn.cart_coords,
        coords_are_cartesian=True,
    )
    assert rms_distance(cell, structure) == pytest.approx(expected, abs=1e-6)
    twice = structure.copy()
    twice.make_supercell([[2, 0, 0], [0, 1, 0], [0, 1, 1]])
    assert rms_distance(twice, structure) == pytest.approx(0, abs=1e-5)
    bigger = structure.copy()
    bigger.scale_lattice(2 * structure.volume)
    assert rms_distance(bigger, structure) == pytest.approx(0, abs=1e-5)


def test_broken_cells_match_nothing_and_stop_nothing() -> None:
    nan = Structure(Lattice(np.full((3, 3), np.nan)), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    lost = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [np.nan, 0.5, 0.5]])
    plane = Structure(Lattice([[4, 0, 0], [0, 4, 0], [4, 4, 0]]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    flat = Structure(Lattice.orthorhombic(1e-4, 1, 1e8), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    needle = Structure(Lattice.orthorhombic(1e-3, 1e-3, 1e7), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    once = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0]])
    broken = [nan, lost, plane, flat, needle, once]
    started = time.monotonic()
    assert match_pairs([*broken, NACL], [NACL] * 7) == [*[None] * 6, pytest.approx(0, abs=1e-5)]
    assert match_pairs([NACL] * 6, broken) == [None] * 6
    assert time.monotonic() - started < 10


def test_what_holds_more_than_elements_goes_to_pymatgen_itself() -> None:
    ions = NACL.copy()
    ions.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    assert match_pairs([ions, ions], [ions, NACL]) == [pytest.approx(0, abs=1e-5), None]
    assert plain_distance(ions, NACL, "paper") is None


@pytest.mark.slow
def test_a_cell_is_called_primitive_only_where_pymatgen_finds_none_smaller() -> None:
    for structure in (NACL, CSCL, TIO2, QUARTZ, scattered(0)):
        for scale in (1, [2, 1, 1], [[1, 1, 0], [0, 2, 0], [0, 0, 1]]):
            larger = structure.copy()
            larger.make_supercell(scale)
            larger.perturb(0.05)
            cell = cell_of(larger)
            assert cell is not None
            smaller = larger.get_primitive_structure()
            if is_primitive(cell.matrix, cell.frac, cell.numbers):
                assert len(smaller) == len(larger)
            reduced = reduce_cell(cell)
            assert reduced is not None
            assert len(reduced.numbers) == len(larger.get_reduced_structure().get_primitive_structure())


def test_a_pair_over_its_time_is_given_up_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = matching.least_rms

    def stuck(first: object, second: object, tolerances: object) -> float | None:
        while len(first.numbers) == 60:  # type: ignore[attr-defined]
            time.sleep(0.001)
        return slow(first, second, tolerances)  # type: ignore[arg-type]

    monkeypatch.setattr(matching, "least_rms", stuck)
    before = signal.getsignal(signal.SIGALRM)
    started = time.monotonic()
    hard, easy = scattered(0), NACL
    found = match_pairs([hard, easy, hard, easy], [scattered(1), easy, scattered(1), easy], limit_s=0.5)
    assert [d is None for d in found] == [True, False, True, False]
    assert time.monotonic() - started < 5
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.slow
def test_the_limit_interrupts_in_the_processes_too() -> None:
    hard = from_structures([scattered(0), NACL, scattered(1)])
    other = from_structures([scattered(2), NACL, scattered(3)])
    with MatchPool(1, limit_s=1e-4) as pool:
        assert pool.submit(hard[[0, 2]], other[[0, 2]]).result(60)["paper"] == [None, None]
    with MatchPool(1) as pool:
        found = pool.submit(hard, other, ("paper", "field")).result(60)
    assert found["paper"][1] == pytest.approx(0, abs=1e-5)
    assert found["field"][0] is not None


def test_pairs_are_pairs() -> None:
    with pytest.raises(ValueError, match="1 and 2 structures"):
        match_pairs([NACL], [NACL, NACL])
    with MatchPool(1) as pool:
        assert pool.submit(from_structures([]), from_structures([])).result(1) == {"paper": []}
        with pytest.raises(ValueError, match="choose paper or field"):
            pool.submit(from_structures([NACL]), from_structures([NACL]), ("loose",))


SCRIPT = """
import time
from pymatgen.core import Lattice, Structure
from core.crystals import from_structures
from core.evaluation.pool import MatchPool
import psutil

if __name__ == "__main__":
    crystals = from_structures([Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]])] * 60)
    pool = MatchPool(2)
    pool.submit(crystals, crystals).result()
    print(*[p.pid for p in psutil.Process().children(recursive=True)], flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) >= 2
        parent.kill()
    _, left = psutil.wait_procs(children, timeout=10)
    for process in left:
        process.kill()
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("paper", 500), ("field", 300)])
def test_verdicts_on_real_pairs_are_those_of_the_plain_loop(shared: Path, name: str, count: int) -> None:
    first, second = real_pairs(shared / "data" / "mp_polymorphs.jsonl.gz", count, seed=7)
    expected = [plain_distance(a, b, name) for a, b in zip(first, second, strict=True)]
    found = match_pairs(first, second, name)
    assert [d is None for d in found] == [d is None for d in expected]
    assert 0.4 < sum(d is not None for d in found) / count < 0.8
    known = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None]
    assert np.allclose(*zip(*known, strict=True), atol=1e-5)
