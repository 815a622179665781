"""Candidates as their page uses them: placed as the hull places them, noted, deleted and brought back, compared."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from core.workflows import candidates as workflow
from core.workflows.candidates import MAX_NOTE, Scope
from core.workflows.context import UserError
from core.workflows.hulls import delete_hull, get_hull_by_id, import_hull, list_hulls, place_candidates
from core.workflows.relax import trajectory_path
from core.workflows.store import folder, store
from db import candidates as rows
from db import jobs
from db.candidate_lists import CandidateFilter
from db.tables import Candidate
from tests.data.test_readers import TIB2
from tests.workflows.test_vasp import OTHER_TIB2, TIB, candidates_of_structures

TIW = Structure(Lattice.cubic(3.2), ["Ti", "W"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def hull_of(text: str, tmp_path: Path, name: str) -> int:
    path = tmp_path / f"{name}.csv"
    path.write_text("formula,formation_energy,method\n" + text)
    return import_hull(path, name).row.id


def relaxed(candidate: Candidate, energy: float | None, method: str = "M", **more: object) -> None:
    with store().session() as session:
        rows.put_relaxation(
            session, candidate_id=candidate.id, method=method, status="converged", steps=3, total_after=-6.0,
            formation_before=-0.1, formation_after=energy, cell=candidate.cell, **more,
        )  # fmt: skip


def test_above_hull_is_what_the_hull_says_of_each_candidate(var: Path, tmp_path: Path) -> None:
    made = candidates_of_structures([TIB2, TIB, OTHER_TIB2, TIW, TIB2])
    hull = hull_of("TiB2,-1.0,M\nTi2B,-0.3,M\n", tmp_path, "first")
    for candidate, energy in zip(made, (-0.9, -0.5, -1.2, -0.1, None), strict=True):
        relaxed(candidate, energy)
    relaxed(made[4], -3.0, "other")
    placing = workflow.placing_for("M")
    assert placing.hulls == (("B-Ti", hull),), "no hull holds Ti-W"
    scope = Scope(placing=placing, order="above")
    found = workflow.list_rows(scope, 50)
    placed = {p.candidate.id: p.place for p in place_candidates([c.id for c in made], get_hull_by_id(hull))}
    for row in found:
        place = placed[row.candidate.id]
        if row.candidate.chemical_system == "Ti-W" or place is None:
            assert row.above is None
        else:
            assert row.above == pytest.approx(place.above, abs=1e-12)
    assert [r.candidate.id for r in found[:3]] == [made[2].id, made[0].id, made[1].id]
    below = CandidateFilter(above=0.0)
    assert workflow.count(below, placing) == 1
    assert workflow.summary(below, placing).lowest == pytest.approx(-0.2)
    assert workflow.summary(CandidateFilter(), placing).placed == 3


def test_each_system_stands_on_its_own_hull_the_newest_by_the_method(var: Path, tmp_path: Path) -> None:
    made = candidates_of_structures([TIB2, TIW])
    for candidate in made:
        relaxed(candidate, -0.5)
    hull_of("TiB2,-1.0,M\n", tmp_path, "old")
    wide = hull_of("TiB2,-0.8,M\nTiW,-0.4,M\nTiWB,-0.7,M\n", tmp_path, "wide")
    new = hull_of("TiB2,-0.7,M\n", tmp_path, "new")
    other = hull_of("TiB2,-2.0,N\n", tmp_path, "other")
    assert dict(workflow.placing_for("M").hulls) == {"B-Ti": new, "Ti-W": wide}
    assert dict(workflow.placing_for("N").hulls) == {"B-Ti": other}
    on_wide = workflow.placing_for(hull_id=wide)
    assert (on_wide.method, dict(on_wide.hulls)) == ("M", {"B-Ti": wide, "Ti-W": wide})
    above = {r.candidate.id: r.above for r in workflow.get_rows([c.id for c in made], on_wide)}
    assert above[made[0].id] == pytest.approx(0.3)
    assert above[made[1].id] == pytest.approx(-0.1)
    delete_hull(new)
    (row,) = workflow.get_rows([made[0].id], workflow.placing_for("M"))
    assert row.above == pytest.approx(0.5), "the hull before it, whose level is found anew"
    with pytest.raises(UserError, match="There is no hull 99"):
        workflow.placing_for(hull_id=99)


def test_the_default_method_is_the_one_that_candidates_were_relaxed_with(starter: Path) -> None:
    assert workflow.energy_methods()[0] == "CHGNet-0.3.0"
    (candidate,) = candidates_of_structures([TIB2])
    relaxed(candidate, -0.2, "VASP")
    assert workflow.energy_methods()[0] == "VASP"
    relaxed(candidate, -0.2, "CHGNet-0.3.0")
    assert workflow.energy_methods()[0] == "CHGNet-0.3.0"
    assert list_hulls()


def test_a_deletion_is_undone_as_a_whole_and_the_bin_is_emptied_for_good(var: Path) -> None:
    made = candidates_of_structures([TIB2, TIB, TIW])
    with store().session() as session:
        job = jobs.add_job(session, kind="relax", title="r", params={}, device="cpu")
        place = folder("jobs") / str(job)
        jobs.update_job(session, job, folder=str(place))
    for candidate in made:
        relaxed(candidate, -0.2, job_id=job)
        trajectory_path(place, candidate.id).parent.mkdir(parents=True, exist_ok=True)
        trajectory_path(place, candidate.id).write_bytes(b"frames")
    first = workflow.delete(Scope(ids=(made[0].id, made[1].id)))
    second = workflow.delete(Scope(wanted=CandidateFilter(chemical_system="Ti-W")))
    assert (first[0], second[0], workflow.count(CandidateFilter())) == (2, 1, 0)
    assert workflow.still_deleted(first[1]) == 2
    assert workflow.restore(first[1]) == 2
    assert workflow.still_deleted(first[1]) == 0
    assert workflow.restore(first[1]) == 0, "twice is once"
    assert [c.id for c in (r.candidate for r in workflow.list_rows(Scope(), 9))] == [made[0].id, made[1].id]
    assert workflow.restore(10**17) == workflow.still_deleted(10**30) == 0
    workflow.delete(Scope(ids=(made[0].id,)))
    assert workflow.restore(Scope(ids=(made[0].id,), wanted=CandidateFilter(deleted=True))) == 1
    assert workflow.empty_bin() == 1
    assert workflow.get_rows([made[2].id], None) == []
    assert not trajectory_path(place, made[2].id).exists()
    assert trajectory_path(place, made[0].id).exists()
    with store().session() as session:
        assert len(rows.relaxations(session, [c.id for c in made])) == 2
    assert workflow.empty_bin() == 0


def test_notes_are_plain_text_of_bounded_length(var: Path) -> None:
    (candidate,) = candidates_of_structures([TIB2])
    scope = Scope(ids=(candidate.id,))
    workflow.put_note(scope, "  look\r\nagain\x00\x1b[31m \ud800<b>Å</b>  ")
    (row,) = workflow.get_rows(scope.ids, None)
    assert row.candidate.note == "look\nagain[31m <b>Å</b>"
    with pytest.raises(UserError, match="2,000 characters"):
        workflow.put_note(scope, "x" * (MAX_NOTE + 1))
    assert workflow.put_note(scope, "more", add=True) == 1
    (row,) = workflow.get_rows(scope.ids, None)
    assert row.candidate.note == "look\nagain[31m <b>Å</b>\nmore"
    with pytest.raises(UserError, match="no room"):
        workflow.put_note(scope, "x" * (MAX_NOTE - 3), add=True)
    assert workflow.put_note(scope, " ", add=True) == 0
    assert workflow.put_note(Scope(), "") == 1
    assert workflow.star(scope) == 1
    assert workflow.star(scope) == 0
    assert workflow.count(CandidateFilter(starred=True)) == 1


def test_two_are_compared_by_the_matchers_of_pymatgen(var: Path) -> None:
    moved = TIB2.copy()
    moved.perturb(0.08)
    made = candidates_of_structures([TIB2, moved, OTHER_TIB2, TIB])
    found = workflow.compare(made[0].id, made[1].id, None)
    expected = StructureMatcher().get_rms_dist(TIB2, moved)
    assert expected is not None
    assert found.rms_paper == pytest.approx(expected[0], abs=1e-4)
    assert found.left.volume == pytest.approx(TIB2.volume / 3, rel=1e-5)
    assert found.left.cell == pytest.approx((*TIB2.lattice.abc, *TIB2.lattice.angles), rel=1e-5)
    other = workflow.compare(made[0].id, made[2].id, None)
    assert (other.rms_paper is None) == (StructureMatcher().get_rms_dist(TIB2, OTHER_TIB2) is None)
    assert not workflow.compare(made[0].id, made[3].id, None).same_formula
    with pytest.raises(UserError, match="not there any more"):
        workflow.compare(made[0].id, 10**6, None)


def test_a_scope_is_bounded_in_its_order(var: Path) -> None:
    made = candidates_of_structures([TIB2] * 9)
    ids = [c.id for c in made]
    assert workflow.ids_of(Scope(), 4) == ids[:4]
    assert workflow.ids_of(Scope(descending=True), 4) == ids[:4], "one run: by number"
    assert workflow.ids_of(Scope(ids=tuple(ids[5:])), 2) == ids[5:7]
    with pytest.raises(UserError):
        workflow.formula_wanted("((")
    assert workflow.formula_wanted("Ti2B4") == "TiB2"


def test_structures_go_home_in_a_format_as_they_were_relaxed(var: Path) -> None:
    made = candidates_of_structures([TIB2, TIB])
    relaxed(made[0], -0.5)
    placing = workflow.placing_for("M")
    content, name, _ = workflow.files_of(Scope(placing=placing), "poscar", 10)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert name.endswith(".zip")
        assert sorted("relaxed" in n for n in names) == [False, True]
        for found, expected in zip(sorted(names), (TIB2, TIB), strict=True):
            assert StructureMatcher().fit(Poscar.from_str(archive.read(found).decode()).structure, expected)
    with pytest.raises(UserError, match="nothing to download"):
        workflow.files_of(Scope(wanted=CandidateFilter(starred=True)), "cif", 10)


def test_a_candidate_without_a_finite_cell_can_still_be_looked_at(var: Path) -> None:
    made = candidates_of_structures([TIB2, TIB2])
    from core.crystals import pack_cells, unpack_cells

    broken = unpack_cells([made[0].cell])
    broken.lattice[:] = math.nan
    with store().session() as session:
        session.get(Candidate, made[0].id).cell = pack_cells(broken)[0]  # type: ignore[union-attr]
    found = workflow.compare(made[0].id, made[1].id, None)
    assert found.rms_paper is None
    assert np.isnan(found.left.volume)
