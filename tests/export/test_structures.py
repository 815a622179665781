"""Structures in five formats: read back by pymatgen and ase they are the same crystals; names are safe."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from ase.io import read as ase_read
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

from core.export.structures import FORMATS, export_many, safe_name, structure_text
from tests.data.test_crystallography import KNOWN

NAMES = ["NaCl", "TiO2", "P-1", "P2_1/c"]


def read_back(text: str, format: str) -> list[Structure]:
    if format == "extxyz":
        frames = ase_read(io.StringIO(text), index=":", format="extxyz")
        return [AseAtomsAdaptor.get_structure(frame) for frame in frames]
    if format == "poscar":
        return [Poscar.from_str(text).structure]
    if format == "json":
        return [Structure.from_dict(json.loads(text))]
    return [Structure.from_str(text, fmt="cif")]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_every_format_comes_back_as_the_same_crystal(format: str, name: str) -> None:
    text = structure_text(KNOWN[name], format, name)
    (found,) = read_back(text, format)
    assert found.composition == KNOWN[name].composition
    _, longest = StructureMatcher(scale=False, primitive_cell=False).get_rms_dist(found, KNOWN[name])
    assert longest < 1e-5
    if format == "cif-symmetrised":
        assert ("P 1\n" in text) == (name == "P1")
        assert text.count("_symmetry_equiv_pos_site_id") == 1
    if format == "cif":
        assert len(found) == len(KNOWN[name])


def test_a_symmetrised_cif_names_the_group_within_the_tolerance() -> None:
    bent = KNOWN["NaCl"].copy()
    bent.translate_sites([0], [0.002, 0, 0])
    assert "_symmetry_Int_Tables_number   225" in structure_text(bent, "cif-symmetrised", symprec=0.1)
    assert "_symmetry_Int_Tables_number   225" not in structure_text(bent, "cif-symmetrised", symprec=0.001)
    on_top = Structure(Lattice.cubic(4), ["Na", "Na"], [[0, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match=r"No symmetry is found within 0\.01 Å"):
        structure_text(on_top, "cif-symmetrised")


@pytest.mark.parametrize("format", FORMATS)
def test_many_are_one_file_that_holds_them_all(format: str) -> None:
    wanted = [KNOWN[n] for n in NAMES]
    content, file, mime = export_many(wanted, NAMES, format)
    if format == "extxyz":
        assert (file, mime) == ("structures.extxyz", "text/plain")
        found = read_back(content.decode(), format)
    else:
        assert (file, mime) == (f"structures-{format}.zip", "application/zip")
        archive = zipfile.ZipFile(io.BytesIO(content))
        ending = FORMATS[format].mark + FORMATS[format].ending
        assert archive.namelist() == [n + ending for n in ("NaCl", "TiO2", "P-1", "P2_1-c")]
        found = [read_back(archive.read(n).decode(), format)[0] for n in archive.namelist()]
    assert [f.composition for f in found] == [w.composition for w in wanted]


def test_one_is_a_plain_file() -> None:
    content, file, mime = export_many([KNOWN["Si"]], ["my Si"], "cif")
    assert (file, mime) == ("my-Si.cif", "chemical/x-cif")
    assert b"_subhull_id   'my-Si'" in content
    files = [export_many([KNOWN["Si"]], ["my Si"], format)[1] for format in FORMATS]
    assert len(set(files)) == len(FORMATS), "one download does not take the place of another"


def test_names_are_safe_and_none_comes_twice() -> None:
    hostile = ["../../etc/passwd", "a\nb=c", "CON", "", "x", "X", "x-2", "<script>", ".hidden", "é" * 300]
    content, _, _ = export_many([KNOWN["Mg"]] * len(hostile), hostile, "poscar")
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert len({n.lower() for n in names}) == len(hostile)
    assert all(
        n[0].isalnum() and set(n) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
        for n in names
    )
    assert [safe_name(n) for n in ("../../etc/passwd", "CON", "con.txt", "")] == [
        "etc-passwd", "structure-CON", "structure-con.txt", "structure",
    ]  # fmt: skip
    frames, _, _ = export_many([KNOWN["Mg"]] * 2, ['a\nLattice="0"', "b"], "extxyz")
    assert len(ase_read(io.StringIO(frames.decode()), index=":", format="extxyz")) == 2


@pytest.mark.parametrize(
    ("structures", "names", "format"), [([], [], "cif"), ([KNOWN["Si"]], [], "cif"), ([KNOWN["Si"]], ["a"], "exe")]
)
def test_what_cannot_be_written_is_refused(structures: list[Structure], names: list[str], format: str) -> None:
    with pytest.raises(ValueError, match=r"nothing to download|no format"):
        export_many(structures, names, format)
