"""Results of VASP against pymatgen's and ASE's readers, on written and real files, whole, cut and hostile."""

from __future__ import annotations

import gzip
import io
import resource
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import ase.test
import numpy as np
import pytest
from ase.io import read as ase_read
from pymatgen.core import Structure
from pymatgen.io.vasp import Outcar, Vasprun

from core.export import vasp_sources
from core.export.vasp_run import CONVERGED, ELECTRONS, STOPPED, RunError, method_name, read_run
from core.export.vasp_sources import unpacked
from tests.data.test_readers import TIB2
from tests.vasp_runs import Run, forces_of, outcar, vasprun

STEPS = [TIB2.copy().apply_strain(s, inplace=False) for s in (0.02, 0.01, 0.0)]
RUN = Run(STEPS, [-30.0, -30.4, -30.5], system="subhull-1-2-abcdef12", comment="subhull-1-2-abcdef12 Ti1 B2")
WRITERS = {"vasprun.xml": vasprun, "OUTCAR": outcar}
REAL = Path(ase.test.__file__).parent / "testdata" / "vasp"


def written(folder: Path, run: Run, kind: str) -> Path:
    path = folder / "result"
    path.write_text(WRITERS[kind](run))
    return path


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_relaxation_is_read_as_pymatgen_and_ase_read_it(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, RUN, kind)
    found = read_run(path)
    assert (found.kind, found.method, found.status, found.steps) == (kind, "VASP", CONVERGED, 3)
    assert "subhull-1-2-abcdef12" in found.system
    assert (found.energy, found.first_energy) == pytest.approx((-30.5 / 3, -10.0))
    if kind == "OUTCAR":
        assert found.energy * 3 == pytest.approx(Outcar(path).final_energy)
    else:
        theirs = Vasprun(path, parse_potcar_file=False, parse_dos=False, parse_eigen=False)
        assert found.energy * 3 == pytest.approx(float(theirs.final_energy))
        assert theirs.converged
        last = ase_read(path, index=-1, format="vasp-xml")
        assert last.get_potential_energy() == pytest.approx(-30.5)  # type: ignore[union-attr]
    for structure, expected in ((found.initial, STEPS[0]), (found.final, STEPS[-1])):
        assert structure.lattice.parameters == pytest.approx(expected.lattice.parameters, abs=1e-5)
        assert structure.matches(expected, scale=False)
    assert found.max_force == pytest.approx(np.linalg.norm(forces_of(STEPS[-1], 2), axis=1).max(), abs=1e-5)
    assert (found.encut, found.potcars) == (500.0, ("PAW_PBE Ti 06Sep2000", "PAW_PBE B 06Sep2000"))


@pytest.mark.parametrize(
    ("name", "method", "formula", "energy"),
    [
        ("OUTCAR_example_1", "VASP", "Ni18", -68.23102426),
        ("vasprun_dfpt.xml", "VASP", "Na1 Cl1", -6.74587304),
        ("vasprun_pstress.xml", "VASP-LDA", "C2", -20.24010135),
    ],
)
def test_real_files_are_read(name: str, method: str, formula: str, energy: float) -> None:
    """What VASP itself wrote, as ASE's own tests have it."""
    if not (REAL / name).is_file():
        pytest.skip("this build of ASE comes without its test data")
    found = read_run(REAL / name)
    assert (found.method, found.final.formula, found.static, found.status) == (method, formula, True, CONVERGED)
    assert found.energy * len(found.final) == pytest.approx(energy, abs=2e-6)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_what_did_not_converge_is_told_apart(tmp_path: Path, kind: str) -> None:
    assert read_run(written(tmp_path, replace(RUN, ionic=False), kind)).status == STOPPED
    assert read_run(written(tmp_path, replace(RUN, electronic=False), kind)).status == ELECTRONS
    static = read_run(written(tmp_path, replace(RUN, steps=STEPS[-1:], energies=[-30.5], nsw=0, ibrion=-1), kind))
    assert (static.status, static.static) == (CONVERGED, True)
    with pytest.raises(RunError, match="molecular dynamics"):
        read_run(written(tmp_path, replace(RUN, ibrion=0), kind))


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize(
    ("run", "method"),
    [
        (RUN, "VASP"),
        (replace(RUN, gga="PE"), "VASP"),
        (replace(RUN, gga="PS"), "VASP-PBEsol"),
        (replace(RUN, gga="RP"), "VASP-RPBE"),
        (replace(RUN, label="PAW"), "VASP-LDA"),
        (replace(RUN, incar={"METAGGA": "R2SCAN"}), "VASP-R2SCAN"),
        (replace(RUN, incar={"IVDW": "12"}), "VASP-PBE+D3-BJ"),
        (replace(RUN, incar={"LDAU": ".TRUE.", "LDAUU": "3.2 0.0"}), "VASP-PBE+U"),
        (replace(RUN, incar={"LDAU": ".TRUE.", "LDAUU": "0.0 0.0"}), "VASP"),
    ],
)
def test_the_method_names_the_functional_where_it_is_not_pbe(tmp_path: Path, kind: str, run: Run, method: str) -> None:
    assert read_run(written(tmp_path, run, kind)).method == method


def test_hybrids_have_their_own_method() -> None:
    assert method_name({"LHFCALC": True, "HFSCREEN": 0.2, "GGA": "PE"}, ()) == "VASP-HSE06"
    assert method_name({"LHFCALC": True, "HFSCREEN": 0.0, "GGA": "PE"}, ()) == "VASP-hybrid"


def test_the_method_agrees_with_pymatgen_where_pymatgen_knows_it(tmp_path: Path) -> None:
    for gga in ("PE", "PS", "AM"):
        path = written(tmp_path, replace(RUN, gga=gga), "vasprun.xml")
        theirs = Vasprun(path, parse_potcar_file=False, parse_dos=False, parse_eigen=False).run_type
        assert read_run(path).method == ("VASP" if theirs == "PBE" else f"VASP-{theirs}")


@pytest.mark.parametrize("kind", list(WRITERS))
def test_wherever_a_file_is_cut_or_damaged_a_sentence_comes(tmp_path: Path, kind: str) -> None:
    whole = WRITERS[kind](RUN)
    path = tmp_path / "cut"
    rng = np.random.default_rng(0)
    for end in [0, 1, *range(40, len(whole) - 400, len(whole) // 60)]:
        path.write_text(whole[:end])
        with pytest.raises(RunError):
            read_run(path)
    for _ in range(60):  # a hole: refused, or read where nothing that matters was in it
        start = int(rng.integers(0, len(whole) - 300))
        path.write_text(whole[:start] + whole[start + int(rng.integers(1, 300)) :])
        with suppress(RunError):
            assert np.isfinite(read_run(path).final.lattice.matrix).all()


BOMB = '<!DOCTYPE modeling [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE modeling [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("declared", [BOMB, FILE, "<!DOCTYPE modeling SYSTEM 'http://127.0.0.1:1/x.dtd'>"])
def test_xml_with_declarations_never_reaches_a_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    monkeypatch.setattr("pymatgen.io.vasp.Vasprun.__init__", lambda *_, **__: pytest.fail("it was parsed"))
    text = vasprun(RUN).replace("<modeling>", f"{declared}<modeling>", 1).replace("Ti 06Sep2000", "&x;&b;")
    path = tmp_path / "vasprun.xml"
    path.write_text(text)
    with pytest.raises(RunError, match="neither declarations nor another root"):
        read_run(path)
    path.write_bytes(vasprun(RUN).replace("ISO-8859-1", "UTF-7").encode())
    with pytest.raises(RunError, match="encoding"):
        read_run(path)
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(RunError):
        read_run(path)


@pytest.mark.parametrize(
    "text",
    [
        outcar(RUN).replace("ions per type =            ", "ions per type =  999999999 "),
        " vasp.6.3.0\n"
        + "\n" * 9_000_000
        + outcar(RUN).replace("ions per type =            ", "ions per type =  999999999 "),
        outcar(RUN).replace("NBANDS=     14", "NBANDS= 99999999999"),
        vasprun(replace(RUN, incar={"MAGMOM": "999999999*5"})),
        vasprun(replace(RUN, incar={"MAGMOM": "99999*99999*5"})),
        "<?xml version='1.0'?>" + " " * 3_000_000 + "<html/>",
        "\n" * 3_000_000 + "<modeling/>",
        " vasp.6.3.0\n" + "\n" * 3_000_000 + outcar(RUN),
        " vasp.6.3.0\n SYSTEM = " + "a " * 1_500_000 + "\n General timing and accounting informations for this job",
    ],
    ids=["atoms", "late", "bands", "magmom", "nested", "blanks", "lines", "outcar-lines", "long-line"],
)
def test_hostile_numbers_and_blanks_cost_neither_memory_nor_time(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(RunError):
        assert read_run(path).steps == 3
    assert time.monotonic() - started < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000, "kB more than at any time before"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither"),
        ("hello", "neither"),
        ("<?xml version='1.0'?><html></html>", "another root"),
        (vasprun(RUN).replace("-30.50000000", "-9999.0000000"), "energy"),
        (vasprun(replace(RUN, energies=[-30.0, -30.4, float("nan")])), "energy"),
        (vasprun(RUN).replace("<c>Ti</c>", "<c>Qq</c>"), "cannot be read"),
        ("<modeling></modeling>", "no finished ionic step"),
        (vasprun(RUN).replace(" <incar>", " <!-- <calculation> --><incar>"), "comments"),
        (vasprun(RUN).replace("<modeling>", "<modeling xmlns='x'>"), "comments|another root"),
        (vasprun(replace(RUN, incar={"MAGMOM": "9999999&#42;5"})), "comments"),
    ],
)
def test_wrong_files_are_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(RunError, match=words):
        read_run(path)


def found_in(path: Path, name: str, place: Path) -> list[tuple[str, str]]:
    """(shown name, first characters or the problem) of what an upload holds."""
    place.mkdir(exist_ok=True)
    listed = [
        (f.name, f.path.read_text(errors="replace")[:9] if f.path else f.problem) for f in unpacked(path, name, place)
    ]
    assert list(place.iterdir()) == [], "nothing unpacked is left"
    return listed


def test_a_zip_of_folders_gives_its_results_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/vasprun.xml", "one")
        archive.writestr("a/OUTCAR.gz", gzip.compress(b"two"))
        archive.writestr("a/POSCAR", "no result")
        archive.writestr("__MACOSX/a/._OUTCAR", "no result")
        archive.writestr("references.json", "{}")
        archive.writestr("manifest.json", "{}")
        archive.writestr("../../outside/vasprun.xml", "evil")
        archive.writestr("/root/vasprun.xml", "evil")
        archive.writestr("C:\\vasprun.xml", "evil")
    found = found_in(path, "x.zip", tmp_path / "place")
    assert found[:3] == [
        ("x.zip: a/vasprun.xml", "one"),
        ("x.zip: a/OUTCAR.gz", "two"),
        ("x.zip: references.json", "{}"),
    ]
    assert all("leads out of the zip" in words for _, words in found[3:])
    assert len(found) == 6
    assert not (tmp_path.parent / "outside").exists()


def test_bombs_end_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vasp_sources, "MAX_RUN", 1_000_000)
    monkeypatch.setattr(vasp_sources, "MAX_TOTAL", 3_000_000)
    bomb = gzip.compress(b"\0" * 50_000_000)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(50):
            archive.writestr(f"{number}/OUTCAR.gz", bomb)
    found = found_in(path, "x.zip", tmp_path / "place")
    assert [words for _, words in found[:3]] == ["it is longer than 1 MB unpacked: it is not taken"] * 3
    assert "unpacks to more than" in found[3][1]
    assert len(found) == 4
    monkeypatch.setattr(vasp_sources, "MAX_RUNS", 10)
    assert "more than 10" in found_in(path, "x.zip", tmp_path / "place")[0][1]


def test_damaged_packing_is_said(tmp_path: Path) -> None:
    path, place = tmp_path / "x", tmp_path / "place"
    path.write_bytes(gzip.compress(b"text" * 1000)[:30])
    assert found_in(path, "OUTCAR.gz", place)[0][1] == "it is damaged or cut off: copy it again"
    path.write_bytes(b"PK no zip")
    assert "damaged" in found_in(path, "x.zip", place)[0][1]
    path.write_bytes(b"")
    assert found_in(path, "OUTCAR", place)[0][1] == "it is empty"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("OUTCAR", "text")
    sealed = bytearray(data.getvalue())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the bit that says "encrypted"
        sealed[sealed.index(mark) + offset] |= 1
    path.write_bytes(sealed)
    assert "encrypted" in found_in(path, "x.zip", place)[0][1]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("POSCAR", "x")
    assert found_in(path, "x.zip", place)[0][1] == "it holds no vasprun.xml and no OUTCAR"


def test_sites_of_the_written_runs_stand_by_element() -> None:
    assert isinstance(RUN.steps[0], Structure)
    assert RUN.elements == ["Ti", "B"]
