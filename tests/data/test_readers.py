"""Every kind of bad row is named with its place and its reason; good rows beside it are kept."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from core.crystals import to_structures, unpack_cells
from core.data.readers import parsing, sources
from core.data.readers.parsing import parse_rows
from core.data.readers.records import Problem, Record, from_structure
from core.data.readers.sources import SourceError, raw_rows

GOOD: dict[str, Any] = {
    "auid": "good",
    "species": ["B", "Ta"],
    "composition": [2, 1],
    "geometry": [3.1, 3.1, 3.3, 90.0, 90.0, 120.0],
    "positions_fractional": [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5], [0.0, 0.0, -1e-18]],
    "spacegroup_relax": 191,
    "enthalpy_formation_atom": -0.6,
}
BAD = {
    "malformed": '{"auid": "x", ',
    "missing keys": json.dumps({k: v for k, v in GOOD.items() if k != "geometry"}),
    "unknown element": json.dumps({**GOOD, "species": ["B", "Xx"]}),
    "not a number": json.dumps({**GOOD, "positions_fractional": [[float("nan"), 0, 0], [0.3, 0.3, 0.3], [0, 0, 0.5]]}),
    "impossible cell": json.dumps({**GOOD, "geometry": [3, 3, 3, 10, 100, 150]}),
    "same place": json.dumps({**GOOD, "positions_fractional": [[0, 0, 0], [1, 0, 0], [0.5, 0.5, 0.5]]}),
}


def read(path: Path, method: str = "M") -> tuple[list[Record], list[Problem]]:
    records: list[Record] = []
    problems: list[Problem] = []
    for some, bad in parse_rows(raw_rows(path), method, processes=1):
        records += some
        problems += bad
    return records, problems


def structure_of(record: Record) -> Structure:
    return to_structures(unpack_cells([record.cell]))[0]


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_line_is_named_and_its_neighbours_are_kept(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([json.dumps(GOOD), "", BAD[reason], json.dumps({**GOOD, "auid": "other"})]) + "\n")
    records, problems = read(path)
    assert [(r.label, r.place) for r in records] == [("good", "line 1"), ("other", "line 4")]
    assert [(p.reason, p.place) for p in problems] == [(reason, "line 3")]
    assert problems[0].detail


@pytest.mark.parametrize(
    "line",
    [
        "[1, 2]",
        '"text"',
        "null",
        json.dumps({**GOOD, "species": "B Ta"}),
        json.dumps({**GOOD, "composition": [2, "x"]}),
        json.dumps({**GOOD, "composition": [2, 0]}),
        json.dumps({**GOOD, "composition": [10**9, 1]}),
        json.dumps({**GOOD, "positions_fractional": [[0, 0, 0]]}),
        json.dumps({**GOOD, "geometry": "a"}),
        json.dumps({**GOOD, "geometry": {"a": 1}}),
        "[" * 100_000,
        "\x00\x00",
    ],
)
def test_nonsense_is_refused_in_words(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(line + "\n")
    records, problems = read(path)
    assert records == []
    assert len(problems) == 1
    assert len(problems[0].detail) > 8


def test_a_row_is_read_as_pymatgen_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(
        gzip.compress(json.dumps({**GOOD, "energies": {"N": {"total": -7.0, "formation": -0.5}}}).encode())
    )
    (record,), _ = read(path)
    expected = Structure(Lattice.from_parameters(*GOOD["geometry"]), ["B", "B", "Ta"], GOOD["positions_fractional"])
    found = structure_of(record)
    np.testing.assert_allclose(found.distance_matrix, expected.distance_matrix, atol=1e-6)
    assert (record.formula, record.chemical_system, record.natoms, record.space_group) == ("TaB2", "B-Ta", 3, 191)
    assert record.energies == {"M": (None, -0.6), "N": (-7.0, -0.5)}


def test_a_missing_space_group_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({k: v for k, v in GOOD.items() if k != "spacegroup_relax"}))
    (record,), _ = read(path)
    assert record.space_group == SpacegroupAnalyzer(structure_of(record)).get_space_group_number() == 191


def test_rows_without_a_name_are_named_by_content(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    row = {k: v for k, v in GOOD.items() if k != "auid"}
    path.write_text("\n".join(json.dumps(r) for r in (row, row, {**row, "geometry": [3.2, 3.2, 3.3, 90, 90, 120]})))
    records, _ = read(path)
    assert records[0].label == records[1].label != records[2].label


def cif_of(structure: Structure) -> str:
    return str(CifWriter(structure))


TIB2 = Structure(Lattice.hexagonal(3.03, 3.23), ["Ti", "B", "B"], [[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])


def test_csv_with_cifs_and_csv_with_columns_give_the_same(tmp_path: Path) -> None:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerows([["material_id", "cif"], ["m-1", cif_of(TIB2)], ["m-2", "not a cif"]])
    (tmp_path / "a.csv").write_text(table.getvalue())
    records, problems = read(tmp_path / "a.csv")
    assert [r.label for r in records] == ["m-1"]
    assert problems[0].reason == "unreadable"
    assert structure_of(records[0]).matches(TIB2)

    columns = ["auid", "species", "composition", "geometry", "positions_fractional", "enthalpy_formation_atom"]
    values = [
        ["a", "B,Ti", "2,1", "3.03,3.03,3.23,90,90,120", "0.333333,0.666667,0.5;0.666667,0.333333,0.5;0,0,0", "-1.0"],
        ["b", "['B', 'Ti']", "[2, 1]", "(3.03, 3.03, 3.23, 90, 90, 120)",
         "[[0.333333,0.666667,0.5],[0.666667,0.333333,0.5],[0,0,0]]", "-1.0"],
        ["c", "B,Ti", "2,1", "3.03,3.03", "0,0,0", ""],
    ]  # fmt: skip
    table = io.StringIO()
    csv.writer(table).writerows([columns, *values])
    (tmp_path / "b.csv").write_text(table.getvalue())
    records, problems = read(tmp_path / "b.csv")
    assert [r.label for r in records] == ["a", "b"]
    assert all(structure_of(r).matches(TIB2) for r in records)
    assert [p.place for p in problems] == ["line 4"]


def test_a_zip_of_cifs_is_read_without_unpacking_it(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escape.cif", cif_of(TIB2))
        archive.writestr("broken.cif", "data_x\n_cell_length_a 3\n")
        archive.writestr("note.txt", "not read")
        archive.writestr("__MACOSX/._x.cif", "")
        archive.writestr("sub/empty.cif", "")
    records, problems = read(path)
    assert [r.label for r in records] == ["escape"]
    assert {p.place for p in problems} == {"broken.cif", "empty.cif"}
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]
    assert not (tmp_path.parent.parent / "escape.cif").exists()


def test_a_zip_bomb_is_stopped_by_what_it_unpacks_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_CIF", 1_000_000)
    monkeypatch.setattr(sources, "MAX_ZIP", 3_000_000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(6):
            archive.writestr(f"{i}.cif", b"#" * 10_000_000)
    with pytest.raises(SourceError, match="unpacks to more"):
        read(path)


def test_disorder_is_said_in_a_chemists_words(tmp_path: Path) -> None:
    alloy = Structure(Lattice.cubic(2.9), [{"Fe": 0.5, "Co": 0.5}, "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "alloy.cif").write_text(cif_of(alloy))
    _, (problem,) = read(tmp_path / "alloy.cif")
    assert problem.detail == "site 2 is occupied by Fe 0.5 / Co 0.5: disordered structures cannot be used here"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.jsonl", b"", "is empty"),
        ("x.foo", b"hello", "ends in none of"),
        ("x.jsonl.gz", b"not gzip", "damaged or cut off"),
        ("x.jsonl.gz", gzip.compress(json.dumps(GOOD).encode() * 50)[:-9], "damaged or cut off"),
        ("x.zip", b"PK not a zip", "damaged or cut off"),
        ("x.csv", b"a,b\n1,2\n", "a CSV needs a column"),
    ],
)
def test_files_that_are_no_such_file_are_refused(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=words):
        read(tmp_path / name)


def test_an_endless_line_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE", 10_000)
    (tmp_path / "x.jsonl").write_bytes(b"x" * 55_000 + b"\n" + json.dumps(GOOD).encode() + b"\n")
    records, problems = read(tmp_path / "x.jsonl")
    assert [r.place for r in records] == ["line 2"]
    assert [(p.reason, p.place) for p in problems] == [("too large", "line 1")]


def test_a_cif_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> parsing.Parsed:
        while True:
            pass

    monkeypatch.setattr(parsing, "parse_cif", hang)
    monkeypatch.setattr(parsing, "SECONDS_PER_ROW", 0.3)
    (tmp_path / "x.cif").write_text(cif_of(TIB2))
    _, (problem,) = read(tmp_path / "x.cif")
    assert problem.reason == "too slow"


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "ALONE", 300)
    path = tmp_path / "x.jsonl"
    rows = [json.dumps({**GOOD, "auid": f"r{i}"}) if i % 7 else "{" for i in range(1300)]
    path.write_text("\n".join(rows))
    alone, beside = ([p for part in parse_rows(raw_rows(path), "M", processes=n) for p in part[0]] for n in (1, 2))
    assert [r.label for r in beside] == [r.label for r in alone]
    assert len(alone) == sum(1 for i in range(1300) if i % 7)


def test_a_structure_without_atoms_is_refused_in_words() -> None:
    with pytest.raises(Problem, match="it holds no atom"):
        from_structure(Structure(Lattice.cubic(4), [], []), "x", "x", {})
