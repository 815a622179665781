"""Relaxed crystals that are one, as StructureMatcher says, and those that the hull knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from core.crystals import from_structures, pack_cells
from core.ui.candidate_words import badges, twins_words
from core.workflows import candidates as workflow
from core.workflows.store import store
from core.workflows.twins import with_twins
from db import hulls as hull_rows
from db.tables import HullEntry
from tests.data.test_readers import TIB2
from tests.workflows.test_candidates import hull_of, relaxed
from tests.workflows.test_vasp import OTHER_TIB2, TIB, candidates_of_structures


def put_cell(hull: int, formula: str) -> None:
    with store().session() as session:
        (entry,) = hull_rows.phases_at(session, hull, [formula])
        kept = session.get(HullEntry, entry.id)
        assert kept is not None
        kept.cell = pack_cells(from_structures([TIB2]))[0]


def test_one_crystal_drawn_thrice_is_the_hull_phase_and_its_repeats(var: Path, tmp_path: Path) -> None:
    strained = TIB2.copy().apply_strain(0.01, inplace=False)
    double = TIB2.make_supercell([1, 1, 2], in_place=False)
    made = candidates_of_structures([OTHER_TIB2, strained, double, TIB2, TIB, TIB2])
    assert StructureMatcher().fit(TIB2, strained)
    assert not StructureMatcher().fit(TIB2, OTHER_TIB2)
    for candidate, energy in zip(made, (-1.0, -0.9998, -1.0, -1.004, -0.3, -0.8), strict=True):
        relaxed(candidate, energy)
    hull = hull_of("TiB2,-1.0,M\n", tmp_path, "hull")
    placing = workflow.placing_for("M")
    ids = [c.id for c in made]
    before = with_twins(workflow.get_rows(ids, placing), placing)[3].twins
    assert before is not None
    assert (before.phase, before.on_hull) == ("", False), "the hull's phase has no cell yet"
    put_cell(hull, "TiB2")
    other, second, third, lowest, alone, far = with_twins(workflow.get_rows(ids, placing), placing)
    assert [badges(r)[1:] for r in (lowest, second, third, other, alone, far)] == [
        ["hull phase"], ["hull phase", "repeat"], ["hull phase", "repeat"], [], [], [],
    ]  # fmt: skip
    assert lowest.twins is not None
    assert set(lowest.twins.same) == {second.name, third.name}
    assert second.twins is not None
    assert twins_words(second.twins).startswith("the hull's TiB2")
    assert other.twins is not None
    assert twins_words(other.twins) == "different from the others listed and from the hull's phases"


def test_a_page_of_one_crystal_is_one_and_its_repeats(var: Path) -> None:
    made = candidates_of_structures([TIB2.copy().apply_strain(0.0002 * i, inplace=False) for i in range(24)])
    for candidate in made:
        relaxed(candidate, -1.0)
    placing = workflow.placing_for("M")
    rows = workflow.get_rows([c.id for c in made], placing)
    found = with_twins(rows, placing)
    assert sum(bool(r.twins and r.twins.repeat) for r in found) == 23
    assert [r.twins for r in with_twins(rows, placing)] == [r.twins for r in found]


def test_rows_that_are_not_relaxed_keep_what_was_said_of_the_drawing(var: Path) -> None:
    (made,) = candidates_of_structures([TIB2])
    (row,) = with_twins(workflow.get_rows([made.id], workflow.placing_for("M")), None)
    assert row.twins is None
    assert badges(row) == ["valid"]


@pytest.mark.parametrize(("energies", "repeats"), [((-1.0, -1.0), [False, True]), ((-1.0, -1.0003), [True, False])])
def test_the_lowest_is_first_and_of_equal_ones_the_lower_id(
    var: Path, energies: tuple[float, float], repeats: list[bool]
) -> None:
    made = candidates_of_structures([TIB2, TIB2])
    for candidate, energy in zip(made, energies, strict=True):
        relaxed(candidate, energy)
    placing = workflow.placing_for("M")
    rows = with_twins(workflow.get_rows([c.id for c in made], placing), placing)
    assert [bool(r.twins and r.twins.repeat) for r in rows] == repeats
