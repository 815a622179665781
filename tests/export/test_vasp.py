"""VASP's input against pymatgen's readers, and the job script in a real shell."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from pymatgen.core import Element, Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar
from pymatgen.io.vasp.sets import MPRelaxSet, VaspInputSet

from core.export.vasp import SETS, VaspItem, find_tag, has_potcars, inputs_of, tag_of, vasp_files, vasp_folder, vasp_zip
from tests.data.test_readers import TIB2

TAG = tag_of(12, 3, "0a1b2c3d")
TABW = Structure(
    Lattice.monoclinic(5.3, 3.1, 7.2, 101),
    ["B", "Ta", "B", "W", "B", "B"],
    [[0, 0, 0], [0.3, 0, 0.2], [0.5, 0.5, 0.1], [0.1, 0.5, 0.6], [0.7, 0, 0.7], [0.8, 0.5, 0.4]],
)
NIO = Structure(Lattice.cubic(4.18), ["Ni", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def files_of(structure: Structure, name: str = "paper") -> dict[str, str]:
    """The files of one crystal, without their folder."""
    every = dict(vasp_files([VaspItem(TAG, structure, {"candidate": "12-3"})], {"cells": "relaxed"}, name))
    return {key.split("/")[-1]: text for key, text in every.items()}


@pytest.mark.parametrize("name", list(SETS))
def test_the_input_comes_back_through_pymatgen(name: str) -> None:
    files = files_of(TABW, name)
    poscar = Poscar.from_str(files["POSCAR"])
    assert poscar.structure.matches(TABW, primitive_cell=False, attempt_supercell=False, scale=False)
    assert poscar.structure.lattice.parameters == pytest.approx(TABW.lattice.parameters, abs=1e-9)
    assert poscar.site_symbols == ["Ta", "B", "W"], "sites of an element stand together"
    assert find_tag(poscar.comment) == (12, 3, "0a1b2c3d")
    assert Incar.from_str(files["INCAR"])["SYSTEM"] == TAG
    (mesh,) = Kpoints.from_str(files["KPOINTS"]).kpts
    reciprocal = TABW.lattice.reciprocal_lattice.volume
    assert mesh[0] * mesh[1] * mesh[2] / reciprocal >= 32, "about 64 points per Å⁻³"
    assert len(files["POTCAR.spec"].split()) == 3


def test_the_papers_settings_are_the_papers() -> None:
    files = files_of(TABW)
    incar = Incar.from_str(files["INCAR"])
    assert (incar["ENCUT"], incar["EDIFF"], incar["EDIFFG"]) == (500, 1e-5, -1e-2)
    assert (incar["IBRION"], incar["ISIF"]) == (2, 3)
    assert incar["NSW"] > 0
    assert "ISPIN" not in incar
    assert "LDAU" not in incar
    assert files["POTCAR.spec"].split() == ["Ta_pv", "B", "W_sv"], "VASP's recommended ones of release 54"
    entry = json.loads(files["manifest.json"])["candidates"][0]
    assert entry["functional"] == "PBE_54"
    assert entry["potcar"] == "names only"
    assert "B: " not in files["README.txt"]
    assert TAG in files["README.txt"]


def test_the_projects_set_is_pymatgens_own() -> None:
    files = files_of(NIO, "mp")
    expected = MPRelaxSet(NIO)
    found = Incar.from_str(files["INCAR"])
    assert {k: v for k, v in found.items() if k != "SYSTEM"} == dict(Incar.from_str(str(expected.incar)))
    assert found["LDAU"]
    assert files["POTCAR.spec"].split() == expected.potcar_symbols
    assert Kpoints.from_str(files["KPOINTS"]).kpts == expected.kpoints.kpts  # type: ignore[union-attr]
    assert json.loads(files["manifest.json"])["candidates"][0]["functional"] == "PBE"


def test_elements_with_moments_are_computed_with_spin() -> None:
    assert Incar.from_str(files_of(NIO)["INCAR"])["ISPIN"] == 2


def test_warnings_of_pymatgen_are_kept_for_the_user() -> None:
    """ISMEAR -5 for a metal is pymatgen's own warning about MPRelaxSet."""
    files = files_of(Structure(Lattice.cubic(3.3), ["Ta", "W"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "mp")
    (entry,) = json.loads(files["manifest.json"])["candidates"]
    assert any("ISMEAR" in note for note in entry["notes"])
    assert "ISMEAR" in files["README.txt"]


def test_every_element_has_a_potential_that_pymatgen_knows() -> None:
    """Names of the paper's set among those of the 54 release that pymatgen keeps checksums of, for Z up to 83."""
    import bz2

    import pymatgen.io.vasp

    data = bz2.decompress((Path(pymatgen.io.vasp.__file__).parent / "potcar-summary-stats.json.bz2").read_bytes())
    titles = json.loads(data)["PBE_54"]
    table = SETS["paper"][0].CONFIG["POTCAR"]  # type: ignore[attr-defined]
    wanted = {table[Element.from_Z(z).symbol] for z in range(1, 84) if Element.from_Z(z).symbol in table}
    missing = {name for name in wanted if not any(t.startswith(f"PAW_PBE{name}") for t in titles)}
    assert len(wanted) > 75
    assert missing == set()


@pytest.mark.parametrize("structure", [TABW, TIB2, NIO])
def test_the_same_candidates_give_the_same_zip_with_safe_names(structure: Structure) -> None:
    items = [VaspItem(TAG, structure), VaspItem(tag_of(12, 4, "ffffffff"), structure)]
    packed = vasp_zip(vasp_files(items, {}))
    assert packed == vasp_zip(vasp_files(items, {}))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = archive.namelist()
        scripts = [i for i in archive.infolist() if i.filename.endswith("job.sh")]
    assert all(i.external_attr >> 16 & 0o111 for i in scripts), "scripts can be run"
    assert {find_tag(n) for n in names if "/" in n} == {(12, 3, "0a1b2c3d"), (12, 4, "ffffffff")}
    assert all(n.isascii() and n.count("/") <= 1 and " " not in n for n in names)


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(ValueError, match="choose paper or mp"):
        inputs_of(VaspItem(TAG, TIB2), "best")


def run_job(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "job.sh"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_job_script_builds_the_potcar_and_starts_vasp(tmp_path: Path) -> None:
    vasp_folder(vasp_files([VaspItem(TAG, TABW)], {}), tmp_path)
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    refused = run_job(folder, VASP="true")
    assert refused.returncode == 1
    assert "set VASP_POTENTIALS" in refused.stderr
    library = tmp_path / "potentials"
    for name in ("Ta_pv", "W_sv", "B"):
        (library / name).mkdir(parents=True)
        (library / name / "POTCAR").write_text(f"potential of {name}\n")
    done = run_job(folder, VASP="cp POTCAR seen", VASP_POTENTIALS=str(library))
    assert done.returncode == 0, done.stderr
    assert (folder / "seen").read_text().splitlines() == [f"potential of {n}" for n in ("Ta_pv", "B", "W_sv")]
    (library / "B" / "POTCAR").unlink()
    (folder / "POTCAR").unlink()
    assert run_job(folder, VASP="true", VASP_POTENTIALS=str(library)).returncode != 0, "a missing potential stops it"
    assert not (folder / "POTCAR").exists()


def test_the_real_potcar_is_written_where_pymatgen_is_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of stand-ins: what pymatgen's own Potcar makes of it is what is written."""
    from pymatgen.core import SETTINGS

    assert "POTCAR" not in files_of(TABW)
    library = tmp_path / "psp"
    for name in ("Ta_pv", "W_sv", "B"):
        place = library / "POT_GGA_PAW_PBE_54" / name
        place.mkdir(parents=True)
        text = f"  PAW_PBE {name} 07Sep2000\n   1.0\n parameters from PSCTR are:\n   VRHFIN ={name.split('_')[0]}: x\n"
        text += f"   LEXCH  = PE\n   TITEL  = PAW_PBE {name} 07Sep2000\n   ZVAL   =   3.0\n"
        (place / "POTCAR").write_text(
            text + "END of PSCTR-controll parameters\n  local part\n  0.1 0.2 0.3\nEnd of Dataset\n"
        )
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(library))
    assert has_potcars()
    files = files_of(TABW)
    titles = [line.split()[3] for line in files["POTCAR"].splitlines() if "TITEL" in line]
    assert titles == ["Ta_pv", "B", "W_sv"]
    assert json.loads(files["manifest.json"])["candidates"][0]["potcar"] == "written"
    (library / "POT_GGA_PAW_PBE_54" / "B" / "POTCAR").unlink()
    assert "POTCAR" not in files_of(TABW), "a potential that is missing leaves the names"


def test_sets_are_pymatgens_kind() -> None:
    assert all(issubclass(kind, VaspInputSet) for kind, _ in SETS.values())
