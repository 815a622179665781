"""Modification in the store: starts that are kept and read in time, a run with its start, and what it reached."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from core.crystals import pack_cells, to_structures, unpack_cells
from core.data.starts import crystals_of
from core.energy.load import load_potential
from core.evaluation.displacement import change
from core.export.bundle import cif_text
from core.workflows import starts
from core.workflows.context import Cancelled, UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.generate import candidates_of
from core.workflows.modified import distinct, reached_of
from core.workflows.modify import ModifyParams, cells_asked, modify, parse_start, start_of
from core.workflows.store import store
from db import candidates as rows
from tests.conftest import TestContext
from tests.data.test_readers import TIB2, cif_of
from tests.data.test_starts import bare
from tests.workflows.test_workflows import run_of

CARBIDE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), ["Ti", "C"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PARAMS = ModifyParams(
    "starter-modifier", cif_text(CARBIDE, {}), "TiC.cif", (225,), (-0.1,), count=2, steps=4,
    potential="chgnet", relax="none",
)  # fmt: skip


def test_a_text_is_kept_under_a_hash_and_found_by_it_alone(var: Path) -> None:
    token = starts.keep_text("data_x", "../../etc/passwd")
    assert starts.kept_text(token) == ("data_x", "passwd")
    assert token == starts.keep_text("data_x", "passwd")
    assert [p.parent for p in (var / "uploads").iterdir()] == [var / "uploads"]
    for bad in ("0" * 16, "../secret", "", token.upper() + "x"):
        with pytest.raises(UserError, match="not kept here"):
            starts.kept_text(bad)


@pytest.mark.slow
def test_what_would_take_minutes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    text = bare(Structure(Lattice.cubic(40), ["B"] * 300, rng.random((300, 3))))
    text = text.replace("loop_", "_symmetry_space_group_name_H-M 'F m -3 m'\nloop_", 1)
    monkeypatch.setattr(starts, "SECONDS", 3.0)
    started = time.monotonic()
    with pytest.raises(UserError, match="given up after 3 s"):
        starts.read_text(text, "hostile.cif")
    assert time.monotonic() - started < 20


@pytest.mark.slow
def test_a_large_cell_is_read_in_a_process_of_its_own() -> None:
    large = CARBIDE * (3, 3, 2)
    (found,) = starts.read_text(bare(large), "large.cif")
    assert found.structure is not None
    assert found.structure.composition == large.composition
    with pytest.raises(UserError, match="144 atoms in its cell; 64 can be modified"):
        parse_start(cif_text(large, {}), "large.cif")


def test_structures_and_candidates_of_the_store_can_be_starts(starter: Path) -> None:
    data = load_tensors(get_dataset("starter"))
    found = starts.of_dataset("starter", int(data.ids[5]))
    assert found.structure is not None
    assert crystals_of(found.structure).lattice.numpy() == pytest.approx(data.crystals[[5]].lattice.numpy(), abs=1e-4)
    for gone in (lambda: starts.of_dataset("starter", 10**8), lambda: starts.of_candidate(10**8)):
        with pytest.raises(UserError, match="There is no"):
            gone()


def test_the_energy_of_a_start_is_the_potentials(starter: Path) -> None:
    (found,) = starts.energies_of([CARBIDE], "chgnet")
    evaluated = load_potential("chgnet").evaluate(crystals_of(CARBIDE))
    assert found.total == pytest.approx(float(evaluated.energy[0]) / 8, abs=1e-6)
    assert found.formation is not None
    assert found.above is None, "no hull of the store holds Ti and C"
    boride = Structure.from_spacegroup("P6/mmm", Lattice.hexagonal(3.1, 3.3), ["Ta", "B"],
                                       [[0, 0, 0], [1 / 3, 2 / 3, 0.5]])  # fmt: skip
    (placed,) = starts.energies_of([boride], "chgnet")
    assert placed.above is not None
    assert placed.above > -0.01
    odd = Structure(Lattice.cubic(4), ["Og"], [[0, 0, 0]])
    (unknown,) = starts.energies_of([odd], "chgnet")
    assert unknown.total is None
    assert "does not know Og" in unknown.problem


def test_a_run_compares_with_its_start_and_says_how_far_it_moved(starter: Path) -> None:
    run = run_of("modify", PARAMS)
    result = modify(PARAMS, run)
    assert result["candidates"] == 2
    state = start_of(run.folder)
    assert state is not None
    assert state.drawn == pytest.approx(result["start"]["drawn"])
    (alone,) = starts.energies_of([CARBIDE], "chgnet")
    assert state.drawn == pytest.approx(alone.total, abs=1e-4)
    with store().session() as session:
        made = rows.get_candidates(session, candidates_of(run.job_id))
        known = {r.candidate_id: r for r in rows.relaxations(session, [c.id for c in made])}
    assert all(c.displacement is not None and c.volume_change is not None for c in made)
    for one, candidate in zip(reached_of(run.job_id, state, "CHGNet-0.3.0"), made, strict=True):
        assert one.relaxed is None
        if candidate.id in known and known[candidate.id].total_before is not None:
            assert one.drawn == pytest.approx(known[candidate.id].total_before - state.drawn)


@pytest.mark.slow
def test_start_and_candidates_are_relaxed_alike_and_an_interruption_loses_nothing(starter: Path) -> None:
    params = replace(PARAMS, relax="positions", relax_steps=5)
    run = run_of("modify", params)
    run.stop_after = 4
    with pytest.raises(Cancelled):
        modify(params, run)
    run.stop_after = None
    modify(replace(params, count=1), run)
    state = start_of(run.folder)
    result = modify(params, run)
    kept = start_of(run.folder)
    assert kept is not None
    assert state == kept, "the start is not relaxed again"
    assert kept.relaxed is not None
    assert kept.drawn is not None
    assert kept.relaxed <= kept.drawn + 1e-6
    moved = unpack_cells([kept.cell or b""])
    assert moved.lattice.numpy() == pytest.approx(crystals_of(CARBIDE).lattice.numpy(), abs=1e-4), "positions alone"
    assert result["candidates"] == 2


def test_drawing_alone_takes_no_energies(starter: Path) -> None:
    params = replace(PARAMS, potential=None)
    run = run_of("modify", params)
    assert "start" not in modify(params, run)
    assert start_of(run.folder) is None
    assert [r.drawn for r in reached_of(run.job_id, None, "")] == [None, None]


def test_results_of_several_cell_sizes_are_drawn_and_compared_with_the_start(starter: Path) -> None:
    params = replace(PARAMS, potential=None, cells=(2, 1), count=1)
    run = run_of("modify", params)
    assert modify(params, run)["candidates"] == 2
    with store().session() as session:
        made = rows.get_candidates(session, candidates_of(run.job_id))
    assert [(c.formula, c.natoms) for c in made] == [("Ti8C8", 16), ("Ti4C4", 8)]
    assert all(c.displacement is not None and c.same_as_start is not None for c in made)
    start = crystals_of(CARBIDE)
    for cell in cells_asked(start, (1, 2, 3)):
        found = change(start, cell)
        assert (found.displacement, found.volume, found.same) == pytest.approx((0, 0, True), abs=1e-5)
    for cells, words in (
        ((9,), "9 times that is 72; 64 can be drawn"),
        ((1, 1), "each asked for once"),
        ((0,), "1, 2"),
    ):
        with pytest.raises(UserError, match=words):
            modify(replace(params, cells=cells), run)


def test_a_damaged_note_of_the_start_is_written_anew(starter: Path, tmp_path: Path) -> None:
    run = TestContext(tmp_path / "job")
    (tmp_path / "job" / "start.json").write_text('{"method": ')
    assert start_of(run.folder) is None


def test_a_candidate_starts_from_its_relaxed_cell(starter: Path) -> None:
    run = run_of("modify", PARAMS)
    modify(replace(PARAMS, potential=None), run)
    (first, *_) = candidates_of(run.job_id)
    assert "as drawn" in starts.of_candidate(first).notes[0]
    with store().session() as session:
        rows.put_relaxation(
            session, candidate_id=first, method="M", status="converged", steps=1, total_before=-8.0, total_after=-9.0,
            formation_before=None, formation_after=None, cell=pack_cells(crystals_of(CARBIDE))[0],
        )  # fmt: skip
    found = starts.of_candidate(first)
    assert "relaxed with M" in found.notes[0]
    assert found.structure == to_structures(crystals_of(CARBIDE))[0]


def test_a_disordered_text_is_refused_with_its_way_out() -> None:
    alloy = Structure(Lattice.cubic(3), [{"Ta": 0.5, "W": 0.5}], [[0, 0, 0]])
    with pytest.raises(UserError, match=r"occupied by Ta 0\.5 / W 0\.5"):
        parse_start(alloy.to(fmt="cif"), "x.cif")
    found = starts.order(alloy, 64)
    assert len(found.found[0].structure) == 2
    assert parse_start(cif_of(TIB2), "TiB2.cif").formula == "TiB2"


def test_one_crystal_in_several_cells_is_one_and_only_at_its_energy() -> None:
    small = Structure(Lattice.cubic(2.7), ["Ti", "C"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    large = small * (2, 1, 1)
    cells = [pack_cells(crystals_of(s))[0] for s in (small, large, CARBIDE, small)]
    first = distinct([(-1.0, cells[0]), (-0.998, cells[1]), None, (-1.0, cells[2]), (-0.5, cells[3])])
    assert first == [0, 0, None, 3, 4]
