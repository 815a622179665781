"""`modify` from the command line: files of three formats, orderings, primitive cells, and the same sentences."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from ase.io import write
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from tests.cli.test_cli import cli, run

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), ["Ti", "C"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ALLOY = Structure(Lattice.cubic(3.2), [{"Ta": 0.5, "W": 0.5}], [[0, 0, 0]]) * (2, 2, 2)
MODEL = ("modify", "--model", "starter-modifier")


@pytest.mark.parametrize(
    ("structure", "arguments", "words"),
    [
        (SALT * (3, 3, 1), [], "64 can be modified. Its primitive cell has 2: take it by --primitive"),
        (ALLOY, [], "Choose one of its 6 orderings by --ordering N."),
        (ALLOY, ["--ordering", "9"], "has the orderings 1 to 6"),
        (SALT, ["--structure", "2"], "holds 1 structures"),
        (SALT, ["--space-group", "300"], "300"),
        (SALT, ["--count", "0"], "must be 1 or more"),
        (SALT, ["--cells", "1", "9"], "9 times that is 72; 64 can be drawn"),
        (SALT, ["--compare", "gone", "--count", "1", "--relax"], "There is no dataset 'gone'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_with_the_way_out(
    starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], structure: Structure, arguments: list[str],
    words: str,
) -> None:  # fmt: skip
    path = tmp_path / "x.cif"
    structure.to(str(path), fmt="cif")
    code, out, err = run(capsys, *MODEL, str(path), *arguments, "--json")
    assert code == 2
    assert words in err
    assert out == ""


def test_the_orderings_are_listed(starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ALLOY.to(str(tmp_path / "x.cif"), fmt="cif")
    _, out, _ = run(capsys, *MODEL, str(tmp_path / "x.cif"))
    assert len(out.strip().splitlines()) == 7
    assert "Ta4 W4" in out


@pytest.mark.slow
def test_a_structure_of_any_format_is_modified(starter: Path, tmp_path: Path) -> None:
    files = {"x.cif": "cif", "POSCAR": "poscar"}
    for name, form in files.items():
        SALT.to(str(tmp_path / name), fmt=form)
    write(tmp_path / "x.xyz", AseAtomsAdaptor.get_atoms(SALT), format="extxyz")
    made = cli(
        starter, *MODEL, str(tmp_path / "x.xyz"), "--primitive", "--space-group", "225", "--energy-change", "-0.1",
        "--count", "2", "--steps", "4", "--relax", "chgnet", "--as-drawn", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert made["candidates"] == 2
    assert made["start"]["method"] == "CHGNet-0.3.0"  # type: ignore[index]
    with (tmp_path / "out" / "candidates.csv").open(newline="") as file:
        assert [(r["formula"], r["natoms"]) for r in csv.DictReader(file)] == [("Ti1C1", "2")] * 2
    again = cli(starter, *MODEL, str(tmp_path / "POSCAR"), "--count", "1", "--steps", "2", "--cells", "1", "3")
    assert again["candidates"] == 2
