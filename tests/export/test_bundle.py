"""The bundle: CIFs come back as they went, the table is exact, hostile names are harmless."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from ase.io import read as ase_read
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

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
    assert " ".join(COLUMNS) == promised


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
