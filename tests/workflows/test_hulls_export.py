"""What is taken home comes back as the same hull."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.crystals import to_structures, unpack_cells
from core.evaluation.matching import rms_distance
from core.workflows.hulls import get_hull, import_hull
from core.workflows.hulls_export import hull_csv, hull_json


@pytest.fixture
def files(starter: Path, tmp_path: Path) -> dict[str, Path]:
    view = get_hull("B-Ta-W", "CHGNet-0.3.0")
    made = {"csv": tmp_path / "hull.csv", "json": tmp_path / "hull.json"}
    made["csv"].write_text(hull_csv(view))
    made["json"].write_text(hull_json(view))
    return made


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_hull_comes_back_with_every_energy_and_distance(files: dict[str, Path], kind: str) -> None:
    old, new = get_hull("B-Ta-W", "CHGNet-0.3.0"), import_hull(files[kind], name="again")
    assert (new.row.chemical_system, new.row.method) == ("B-Ta-W", "CHGNet-0.3.0")
    numbers = [
        sorted((e.formula, round(e.formation, 9), round(e.above_hull, 9)) for e in v.entries) for v in (old, new)
    ]
    assert numbers[0] == numbers[1]
    assert [p.formula for p in old.hull.stable()] == [p.formula for p in new.hull.stable()]


def test_structures_come_back_too(files: dict[str, Path]) -> None:
    old, new = get_hull("B-Ta-W", "CHGNet-0.3.0"), import_hull(files["json"], name="again")
    theirs = {e.label: e for e in new.entries}
    for entry in old.entries[:12]:
        assert entry.cell is not None
        again = theirs[entry.label].cell
        assert again is not None
        (a,), (b,) = to_structures(unpack_cells([entry.cell])), to_structures(unpack_cells([again]))
        assert rms_distance(a, b, "paper") == pytest.approx(0, abs=1e-5)
        assert theirs[entry.label].space_group == entry.space_group
