"""The bundle: CIFs come back as they went, the table is exact, hostile names are harmless."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from ase.io import read as ase_read
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifFile

from core.export import readme
from core.export.bundle import COLUMNS, BundleItem, BundleRow, bundle_files, cif_text, write_folder, zip_bytes
from tests.data.test_readers import TIB2

ROW = BundleRow(
    id="3-1", formula="Ti1B2", natoms=3, group_asked=191, group_found=191, symprec=0.1, energy_asked=-0.4,
    energy=-1.0123456, energy_method="M", e_above_hull=-0.0012, hull="B-Ti M", min_distance=1.7, valid=True,
    novel=None, unique=True,
)  # fmt: skip
STRETCHED = TIB2.copy().apply_strain(0.02, inplace=False)


def test_columns_are_those_that_users_were_promised() -> None:
    promised = (
        "id formula natoms group_asked group_found symprec energy_asked energy energy_method e_above_hull hull "
        "min_distance valid novel unique file"
    )
    assert " ".join(COLUMNS[:16]) == promised
    assert list(readme.COLUMNS) == COLUMNS  # each is explained, in the same order


def test_everything_comes_back(tmp_path: Path) -> None:
    items = [BundleItem(ROW, STRETCHED, TIB2), BundleItem(replace(ROW, id="3-2", energy=None), STRETCHED)]
    write_folder(tmp_path, items, {"seed": 7})
    first, second = csv.DictReader((tmp_path / "candidates.csv").open(newline=""))
    assert (first["file"], second["file"]) == ("3-1_Ti1B2_relaxed.cif", "3-2_Ti1B2.cif")
    assert (first["energy"], first["novel"], first["unique"]) == ("-1.012346", "", "True")
    for name, expected in {
        first["file"]: TIB2,
        second["file"]: STRETCHED,
        "3-1_Ti1B2_generated.cif": STRETCHED,
    }.items():
        found = Structure.from_file(tmp_path / name)
        assert found.lattice.parameters == pytest.approx(expected.lattice.parameters, abs=1e-5)
        assert found.matches(expected)
    frames = ase_read(tmp_path / "candidates.extxyz", ":")
    assert AseAtomsAdaptor.get_structure(frames[0]).matches(TIB2)
    assert frames[0].info["formation_energy_per_atom"] == pytest.approx(-1.0123456)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"seed": 7}
    assert "COLUMNS OF candidates.csv" in (tmp_path / "README.txt").read_text()


def test_other_programs_read_the_cifs(tmp_path: Path) -> None:
    row = replace(ROW, relaxation="converged", total_energy=-8.5, energy_generated=-0.9)
    write_folder(tmp_path, [BundleItem(row, STRETCHED, TIB2)], {})
    for name, expected, energy in (("relaxed", TIB2, "-1.012346"), ("generated", STRETCHED, "-0.900000")):
        path = tmp_path / f"3-1_Ti1B2_{name}.cif"
        assert AseAtomsAdaptor.get_structure(ase_read(path)).matches(expected)
        ((key, block),) = CifFile.from_file(path).data.items()
        assert key == f"3-1_Ti1B2_{name}"
        assert block["_subhull_formation_energy_eV_per_atom"] == energy
        assert block["_subhull_state"] == name
        assert path.read_text().isascii()
    (frame,) = ase_read(tmp_path / "candidates.extxyz", ":")
    assert frame.get_potential_energy() == pytest.approx(3 * -8.5)


def test_names_that_come_out_the_same_lose_no_file(tmp_path: Path) -> None:
    items = [BundleItem(replace(ROW, id=i), TIB2) for i in ("a b", "a-b", "A?b")]
    items.append(BundleItem(replace(ROW, id="a-b", formula="Ti1B2_relaxed"), TIB2))
    items.append(BundleItem(replace(ROW, id="a-b"), None, TIB2))
    write_folder(tmp_path, items, {})
    files = [row["file"] for row in csv.DictReader((tmp_path / "candidates.csv").open(newline=""))]
    assert len({f.lower() for f in files}) == 5
    assert {p.name for p in tmp_path.glob("*.cif")} == set(files)


def test_a_candidate_without_a_crystal_keeps_its_line(tmp_path: Path) -> None:
    write_folder(tmp_path, [BundleItem(replace(ROW, valid=False, problem="its cell is not finite"), None)], {})
    (line,) = csv.DictReader((tmp_path / "candidates.csv").open(newline=""))
    assert (line["file"], line["file_generated"], line["problem"]) == ("", "", "its cell is not finite")
    assert list(tmp_path.glob("*.cif")) == []


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "  =1", "x;=1", "x\n=1", "x\r\n=1", "＝1", "\0=1"],
)
def test_no_text_is_a_formula(text: str) -> None:
    row = replace(ROW, note=text, novelty={text: True}, hull=text)
    files = dict(bundle_files([BundleItem(row, TIB2)], {}))
    (line,) = csv.DictReader(io.StringIO(files["candidates.csv"], newline=""))
    for column in ("note", "novelty", "hull"):
        cells = re.split(r"[;\t\r\n]", line[column])
        assert not any(c.strip().startswith(tuple("=+-@＝")) for c in cells)
    assert "\x00" not in files["candidates.csv"]


def test_energies_stand_in_the_cif_and_an_energy_that_is_not_known_does_not() -> None:
    files = dict(bundle_files([BundleItem(ROW, STRETCHED, TIB2)], {}))
    relaxed, generated = files["3-1_Ti1B2_relaxed.cif"], files["3-1_Ti1B2_generated.cif"]
    assert "_subhull_formation_energy_eV_per_atom   '-1.012346'" in relaxed
    assert "_subhull_energy_method   'M'" in relaxed
    assert "_subhull_formation_energy_eV_per_atom " not in generated


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b\\c", "=cmd()", "", "...", "x\n_loop_", "<script>", "é" * 300]
)
def test_hostile_names_are_harmless(name: str) -> None:
    row = replace(ROW, id=name, formula=name, hull=name)
    with zipfile.ZipFile(io.BytesIO(zip_bytes([BundleItem(row, TIB2)], {}))) as archive:
        names = archive.namelist()
        table = archive.read("candidates.csv").decode()
        cif = archive.read(next(n for n in names if n.endswith(".cif"))).decode()
    assert all(n.count("/") <= 1 and ".." not in n and len(n) < 200 and n.isascii() for n in names)
    (line,) = csv.DictReader(io.StringIO(table))
    assert not line["id"].startswith("=")
    assert Structure.from_str(cif, fmt="cif").matches(TIB2)


def test_quotes_in_tags_do_not_end_them() -> None:
    text = cif_text(TIB2, {"note": "it's '\n_cell_length_a 1\n"})
    assert Structure.from_str(text, fmt="cif").matches(TIB2)


def test_labels_of_a_cif_are_unique_whatever_the_structure_calls_its_sites() -> None:
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), ["Ti", "C"], [[0, 0, 0], [0.5] * 3])
    named = Structure(salt.lattice, salt.species, salt.frac_coords, labels=["A"] * len(salt))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert cif_text(named, {}) == cif_text(salt, {})
    assert set(named.labels) == {"A"}
