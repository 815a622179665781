"""Every kind of file that people have structures in, against pymatgen and ase."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.io import write as write_ase
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

from core.data.readers import sources
from core.data.readers.export import write_parquet
from core.data.readers.records import Problem
from core.data.readers.sources import SourceError, kind_of
from core.data.readers.structures import parse_text
from core.data.readers.tables import parquet_rows
from tests.data.test_readers import GOOD, TIB2, cif_of, read, structure_of

SHEARED = Structure(Lattice.from_parameters(3.1, 4.2, 5.3, 70, 80, 100), ["Ti", "O", "O"], np.eye(3) * 0.31 + 0.07)


@pytest.mark.parametrize("name", ["POSCAR", "POSCAR_TiO2", "CONTCAR.relax.vasp", "x.poscar", "sub.vasp"])
@pytest.mark.parametrize("structure", [TIB2, SHEARED])
def test_poscars_are_read_as_pymatgen_reads_them(tmp_path: Path, name: str, structure: Structure) -> None:
    (tmp_path / name).write_text(Poscar(structure).get_str())
    (record,), problems = read(tmp_path / name)
    assert not problems
    assert structure_of(record).matches(structure, scale=False)
    assert record.natoms == 3


def test_a_poscar_without_names_is_refused(tmp_path: Path) -> None:
    lines = Poscar(TIB2, comment="no names").get_str().splitlines()
    lines = [*lines[:5], *lines[6:8], *(" ".join(line.split()[:3]) for line in lines[8:])]
    (tmp_path / "POSCAR").write_text("\n".join(lines) + "\n")
    _, (problem,) = read(tmp_path / "POSCAR")
    assert "VASP 4" in problem.detail
    (tmp_path / "POSCAR").write_text("nonsense\n1\n")
    _, (problem,) = read(tmp_path / "POSCAR")
    assert "no POSCAR" in problem.detail


def test_extended_xyz_gives_every_frame_with_its_energy(tmp_path: Path) -> None:
    frames = []
    for k, structure in enumerate((TIB2, SHEARED)):
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.info.update({"energy": -6.0 * (k + 1), "id": f"frame-{k}"})
        frames.append(atoms)
    write_ase(tmp_path / "x.extxyz", frames, format="extxyz")
    records, problems = read(tmp_path / "x.extxyz", "PBE")
    assert not problems
    assert [r.label for r in records] == ["frame-0", "frame-1"]
    assert [r.energies["PBE"][0] for r in records] == pytest.approx([-2.0, -4.0])
    for record, structure in zip(records, (TIB2, SHEARED), strict=True):
        assert structure_of(record).matches(structure, scale=False)


def test_a_molecule_is_no_crystal(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").write_text("2\nhydrogen\nH 0 0 0\nH 0 0 0.74\n")
    _, (problem,) = read(tmp_path / "x.xyz")
    assert problem.reason == "not periodic"
    (tmp_path / "y.xyz").write_text("no number\n")
    with pytest.raises(SourceError, match="number of atoms"):
        read(tmp_path / "y.xyz")


def test_pymatgen_json_in_its_shapes(tmp_path: Path) -> None:
    entry = ComputedStructureEntry(SHEARED, -12.0, correction=-0.6, entry_id="e-1", parameters={"run_type": "GGA"})
    shapes: dict[str, Any] = {
        "one": TIB2.as_dict(),
        "several": [TIB2.as_dict(), SHEARED.as_dict()],
        "named": {"a": TIB2.as_dict(), "b": SHEARED.as_dict()},
        "entries": [entry.as_dict()],
    }
    found = {}
    for name, value in shapes.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        found[name], problems = read(tmp_path / f"{name}.json", "")
        assert not problems
    assert [len(v) for v in found.values()] == [1, 2, 2, 1]
    assert structure_of(found["several"][1]).matches(SHEARED, scale=False)
    assert found["entries"][0].energies == {"GGA": (pytest.approx(-12.6 / 3), None)}
    assert found["entries"][0].label == "e-1"


def test_nothing_that_a_json_names_is_imported(tmp_path: Path) -> None:
    value = TIB2.as_dict()
    value["@module"], value["@class"] = "os", "system"
    value["sites"][0]["properties"] = {"x": {"@module": "subprocess", "@class": "Popen", "args": "touch /tmp/x"}}
    (tmp_path / "x.json").write_text(json.dumps(value))
    (record,), _ = read(tmp_path / "x.json")
    assert record.formula == "TiB2"
    (tmp_path / "bad.json").write_text(json.dumps({"lattice": 1, "sites": 2}))
    records, problems = read(tmp_path / "bad.json")
    assert not records
    assert [p.detail for p in problems] == ["it is no crystal: it has sites, but no lattice"]


@pytest.mark.parametrize("text", ["{", "[1, 2]", '"x"', "{}", "[]", "[[]]", '{"name": {"a": 1}}', "[" * 10_000])
def test_json_without_structures_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(SourceError, match=r"bad\.json (is no JSON|holds neither)"):
        read(tmp_path / "bad.json")


def changed(**site: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(TIB2.as_dict()))
    value["sites"][0] |= site
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"@class": "ComputedEntry", "composition": {"Ti": 1}, "energy": -1}, "an energy without a structure"),
        (Molecule(["O"], [[0, 0, 0]]).as_dict(), "it has sites, but no lattice"),
        (changed(species=[{"element": "Vac", "occu": 1}]), "Vac is no element"),
        (changed(species=[{"element": "D", "occu": 1}]), "is deuterium"),
        (changed(species=[{"element": "Ti", "occu": 2}]), "occupied 2 times"),
        (changed(species=[]), "occupied 0 times"),
        (changed(species=[{"element": "Ti", "occu": 0.5}]), "only 0.5 occupied by Ti"),
        (changed(abc=[0, 0, "x"]), "no pymatgen structure"),
        (changed(abc=[0, 0, float("nan")]), "not a finite number"),
        ({"lattice": {"matrix": [[0, 0, 0]] * 3}, "sites": TIB2.as_dict()["sites"]}, "its cell holds 0 Å³"),
        ({"lattice": {}, "sites": [{}] * 2000}, "it has 2000 atoms"),
    ],
)
def test_pymatgen_json_that_is_no_ordered_crystal_is_refused_in_words(value: Any, words: str) -> None:
    with pytest.raises(Problem) as said:
        parse_text("pymatgen", json.dumps(value), "", "", "M")
    assert words in said.value.detail


def test_of_a_list_what_is_good_is_taken(tmp_path: Path) -> None:
    value = {"version": 1, "entries": [TIB2.as_dict(), None, changed(species=[])]}
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(value).encode())
    records, problems = read(tmp_path / "x.json")
    assert [r.formula for r in records] == ["TiB2"]
    assert [p.place for p in problems] == ["entry 2", "entry 3"]
    records, problems = parse_text("pymatgen", json.dumps(value["entries"]), "", "x", "M")
    assert [r.label for r in records] == ["x-1"]
    assert len(problems) == 2


POSCAR = Poscar(TIB2).get_str()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (POSCAR.replace("\n1 2\n", "\n1 1000000000\n"), "more than 1000"),
        (POSCAR.replace("Ti", "Xx"), "Xx, which is no element"),
        (POSCAR.replace("Ti", "D"), "deuterium"),
        (POSCAR.replace("\n1.0\n", "\n0\n"), "its cell holds 0 Å³"),
        (POSCAR[:-60], "it is no POSCAR"),
        ("\n\n", "it is no POSCAR"),
    ],
)
def test_a_poscar_that_cannot_be_used_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(Problem) as said:
        parse_text("poscar", text, "", "", "M")
    assert words in said.value.detail


FRAME = '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 energy=-8.0\nMg 0 0 0\nO 2 2 2\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FRAME.replace("energy", 'pbc="T T F" energy'), "no cell that repeats"),
        (FRAME.replace("Mg", "X"), "X, which is no element"),
        (FRAME.replace("Mg", "Qq"), "Qq is no element"),
        (FRAME.replace("2 2 2", "nan 2 2"), "not a finite number"),
        (FRAME[:-8], "cut off: it has 1 of 2 atoms"),
        (FRAME.replace("0 4 0 0 0 4", "0 4"), "its Lattice is not nine numbers"),
        ("0\n\n", "no atoms"),
        ("99999999999999999999\n", "more than 1000"),
    ],
)
def test_a_frame_that_cannot_be_used_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(Problem) as said:
        parse_text("extxyz", text, "", "", "M")
    assert words in said.value.detail


@pytest.mark.parametrize("energy", ["nan", "abc", '"1 2 3"', "T"])
def test_an_energy_that_is_no_number_is_none(energy: str) -> None:
    (record,), _ = parse_text("extxyz", FRAME.replace("-8.0", energy), "", "", "M")
    assert record.energies == {}


def test_bad_frames_leave_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE", 2_000)
    huge = "3000\nmany\n" + "H 0 0 0\n" * 3000
    endless = "1\n" + "x" * 9_000 + "\nH 0 0 0\n"
    (tmp_path / "x.xyz").write_text(FRAME + huge + endless + "\n" + FRAME + "what?\n" + FRAME)
    records, problems = read(tmp_path / "x.xyz")
    assert [r.place for r in records] == ["frame 1", "frame 4"]
    assert [(p.place, p.reason) for p in problems] == [
        ("frame 2", "too large"),
        ("frame 3", "too large"),
        ("frame 5", "unreadable"),
    ]


def test_parquet_with_cifs_and_with_columns(tmp_path: Path) -> None:
    table = {"material_id": ["a", "b"], "cif": [cif_of(TIB2), "x"], "formation_energy_per_atom": [-1.5, None]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    (record,), (problem,) = read(tmp_path / "x.parquet", "PBE")
    assert record.energies == {"PBE": (None, -1.5)}
    assert structure_of(record).matches(TIB2)
    assert problem.place == "row 2"
    (tmp_path / "y.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:200])
    with pytest.raises(SourceError, match="cut off"):
        read(tmp_path / "y.parquet")
    pq.write_table(pa.table({"smiles": ["C"]}), tmp_path / "z.parquet")
    with pytest.raises(SourceError, match="needs a column"):
        read(tmp_path / "z.parquet")


def test_what_is_written_as_parquet_is_read_back(tmp_path: Path) -> None:
    rows = [
        {
            **GOOD,
            "auid": f"r{i}",
            "split": "val" if i % 3 else "train",
            "energies": {"M": {"total": -7.0, "formation": -0.5 - i}},
        }
        for i in range(40)
    ]
    assert write_parquet(tmp_path / "x.parquet", iter(rows)) == 40
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [row for _, row in parquet_rows(tmp_path / "x.parquet", "x.parquet", 10**6)] == rows
    back, problems = read(tmp_path / "x.parquet")
    straight, _ = read(tmp_path / "x.jsonl")
    assert not problems
    for a, b in zip(back, straight, strict=True):
        assert (a.label, a.cell, a.energies, a.split, a.space_group) == (
            b.label,
            b.cell,
            b.energies,
            b.split,
            b.space_group,
        )


def test_the_papers_csv_names_its_content_by_formula(tmp_path: Path) -> None:
    """Columns pretty_formula, enthalpy_formation_atom, geometry, positions_fractional, spacegroup_relax alone."""
    lines = [
        "pretty_formula,enthalpy_formation_atom,geometry,positions_fractional,spacegroup_relax",
        'TiB2,-1.0,"[3.03, 3.03, 3.23, 90, 90, 120]","[[0.333333,0.666667,0.5],[0.666667,0.333333,0.5],[0,0,0]]",191',
        'TiB2,-1.0,"3.03,3.03,6.46,90,90,120","0.333333,0.666667,0.25;0.666667,0.333333,0.25;0.333333,0.666667,0.75;'
        '0.666667,0.333333,0.75;0,0,0;0,0,0.5",191',
        'TiB2,-1.0,"3,3,3,90,90,90","[[0,0,0]]",1',
        'Qq2,-1.0,"3,3,3,90,90,90","[[0,0,0]]",1',
    ]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    records, problems = read(tmp_path / "x.csv", "AFLOW")
    assert [r.natoms for r in records] == [3, 6]
    assert all(structure_of(r).matches(TIB2) for r in records)
    assert records[0].energies == {"AFLOW": (None, -1.0)}
    assert [p.place for p in problems] == ["line 4", "line 5"]
    assert "do not fit" in problems[0].detail


def test_a_zip_may_hold_any_of_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/POSCAR", Poscar(TIB2).get_str())
        archive.writestr("b.json", json.dumps([TIB2.as_dict(), SHEARED.as_dict()]))
        archive.writestr("c.cif", cif_of(SHEARED))
        archive.writestr("d.json", "{")
        archive.writestr("readme.txt", "not a structure")
    records, problems = read(tmp_path / "x.zip")
    assert len(records) == 4
    assert [p.place for p in problems] == ["d.json"]
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("readme.txt", "not a structure")
    with pytest.raises(SourceError, match="holds no structure file"):
        read(tmp_path / "y.zip")


def test_a_zip_with_a_poscar_in_every_folder_and_with_aflows_text(tmp_path: Path, shared: Path) -> None:
    page = (shared / "data" / "aflow" / "rest_entry_AlCu2Mn.html").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("run/a/POSCAR", POSCAR)
        archive.writestr("run/b/POSCAR", Poscar(SHEARED).get_str())
        archive.writestr("aflowlib.out", ENTRY)
        archive.writestr("entry.html", page)
        archive.writestr("notes.txt", "no structure, and no problem")
        archive.writestr("frames.extxyz", FRAME + FRAME)
    records, problems = read(tmp_path / "x.zip")
    assert not problems
    assert [r.place for r in records] == [
        "run/a/POSCAR",
        "run/b/POSCAR",
        "aflowlib.out",
        "entry.html",
        "frames.extxyz, frame 1",
        "frames.extxyz, frame 2",
    ]
    assert records[0].label == "run/a/POSCAR"


def test_damaged_members_of_a_zip_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.cif", cif_of(TIB2))
        archive.writestr("b.cif", cif_of(TIB2))
    data = bytearray(path.read_bytes())
    data[60:70] = b"x" * 10  # in what a.cif is packed to
    for start in (data.find(b"PK\x03\x04", 10) + 6, data.rfind(b"PK\x01\x02") + 8):
        data[start] |= 1  # b.cif says that it is encrypted
    path.write_bytes(data)
    records, problems = read(path)
    assert not records
    assert [p.detail.split(":")[0] for p in problems] == ["it is damaged in the zip", "it is encrypted"]


ENTRY = (
    "aurl=aflowlib.duke.edu:AFLOWDATA/LIB2_RAW/BTi:PAW_PBE | auid=aflow:0123456789abcdef | compound=B2Ti1 | "
    "species=B,Ti | composition=2,1 | geometry=3.03,3.03,3.23,90,90,120 | spacegroup_relax=191 | "
    "positions_fractional=0.333333,0.666667,0.5;0.666667,0.333333,0.5;0,0,0 | enthalpy_formation_atom=-1.0"
)


@pytest.mark.parametrize("name", ["aflowlib.out", "entry.txt", "aflowlib.json", "page.json"])
def test_aflows_entries_as_text_and_json(tmp_path: Path, name: str) -> None:
    entry = dict(field.strip().split("=", 1) for field in ENTRY.split(" | "))
    text = {"aflowlib.json": json.dumps(entry), "page.json": json.dumps({"1 of 1": entry})}.get(name, ENTRY)
    (tmp_path / name).write_text(text)
    (record,), problems = read(tmp_path / name)
    assert not problems
    assert record.label == "aflow:0123456789abcdef"
    assert record.energies == {"AFLOW": (None, -1.0)}
    assert structure_of(record).matches(TIB2)
    (tmp_path / "other.txt").write_text("dear diary")
    _, (problem,) = read(tmp_path / "other.txt")
    assert "no AFLOW entry" in problem.detail


def test_names_say_what_a_file_is() -> None:
    expected = {
        "a.JSONL.GZ": "json lines",
        "x.csv.gz": "csv",
        "poscar": "",
        "a.mcif": "cif",
        "x.exe": "",
        "CONTCAR": "poscar",
        "POSCAR_a.txt": "poscar",
        "a/POSCAR.relax1": "poscar",
    }
    assert {name: kind_of(name) for name in expected} == expected


def test_packed_json_lines_hold_what_plain_ones_do(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress((json.dumps(GOOD) + "\n").encode()))
    (record,), _ = read(tmp_path / "x.jsonl.gz")
    assert record.label == "good"
