"""Every kind of file that people have structures in, against pymatgen and ase; and real CIFs, good and broken."""

from __future__ import annotations

import gzip
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.io import write as write_ase
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar

from core.data.readers.export import write_parquet
from core.data.readers.sources import SourceError, kind_of
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
    for text in ("{", "[1, 2]", '"x"', "{}", json.dumps({"lattice": 1, "sites": 2})):
        (tmp_path / "bad.json").write_text(text)
        try:
            records, problems = read(tmp_path / "bad.json")
            assert not records
            assert all(len(p.detail) > 8 for p in problems)
        except SourceError as error:
            assert "bad.json" in str(error)


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
        {**GOOD, "auid": f"r{i}", "split": "val" if i % 3 else "train", "energies": {"M": {"total": -7.0, "formation": -0.5 - i}}}
        for i in range(40)
    ]  # fmt: skip
    assert write_parquet(tmp_path / "x.parquet", iter(rows)) == 40
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
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


def test_names_say_what_a_file_is() -> None:
    expected = {
        "a.JSONL.GZ": "json lines",
        "x.csv.gz": "csv",
        "poscar": "",
        "a.mcif": "cif",
        "x.exe": "",
        "CONTCAR": "poscar",
    }
    assert {name: kind_of(name) for name in expected} == expected


def test_a_good_block_is_kept_and_a_bad_one_named(tmp_path: Path) -> None:
    (tmp_path / "x.cif").write_text(cif_of(TIB2) + "\ndata_bad\n_cell_length_a 3\nloop_\n_atom_site_label\nTi1\n")
    (record,), (problem,) = read(tmp_path / "x.cif")
    assert structure_of(record).matches(TIB2)
    assert problem.detail.startswith("block 2: ")


INTERNALS = ("'_", "Error", "Traceback", "reshape", "section", "{", "None", "object")


@pytest.mark.slow
def test_real_cifs_are_read_as_pymatgen_reads_them_or_refused_in_a_chemists_words(shared: Path) -> None:
    folder = shared / "data" / "cif"
    index = {entry["name"]: entry for entry in json.loads((folder / "INDEX.json").read_text())}
    refused = {}
    for name, known in index.items():
        records, problems = read(folder / name)
        assert records or problems, name
        for problem in problems:
            assert 8 < len(problem.detail) < 200, name
            assert not any(word in problem.detail for word in INTERNALS), (name, problem.detail)
        if problems:
            refused[name] = problems[0].detail
        if not known["ok"] or known["ordered"] is False:
            assert problems, f"{name} is {known['err'] or 'disordered'}"
        if not records:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = CifParser(folder / name).parse_structures(primitive=False, on_error="ignore")
        ordered = [s for s in expected if s.is_ordered]
        assert len(records) == len(ordered), name
        for record, structure in zip(records, ordered, strict=True):
            found = structure_of(record)
            assert found.composition.reduced_formula == structure.composition.reduced_formula
            np.testing.assert_allclose(found.lattice.parameters, structure.lattice.parameters, rtol=1e-6)
            delta = found.frac_coords - structure.frac_coords
            assert np.abs(delta - np.rint(delta)).max() < 1e-6, name
    disordered = {n for n, k in index.items() if k["ordered"] is False}
    assert all("disordered structures cannot be used here" in refused[n] for n in disordered)


def test_packed_json_lines_hold_what_plain_ones_do(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress((json.dumps(GOOD) + "\n").encode()))
    (record,), _ = read(tmp_path / "x.jsonl.gz")
    assert record.label == "good"
