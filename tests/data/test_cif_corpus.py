"""Real CIFs, good and broken: read exactly as pymatgen reads them, or refused in one sentence that a chemist knows."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifParser

from core.data.readers import parsing
from core.data.readers.records import Record
from tests.conftest import ROOT
from tests.data.test_readers import TIB2, cif_of, read, structure_of

INDEX = Path(os.environ.get("SUBHULL_SHARED") or ROOT.parent / "shared") / "data" / "cif" / "INDEX.json"
CORPUS: list[dict[str, Any]] = json.loads(INDEX.read_text()) if INDEX.is_file() else []
DISORDERED = "disordered structures cannot be used here"
PYMATGEN_IS_WRONG = {  # it gives a structure, but not that of the compound: part of the name -> what is said
    "1000055-unrecognised-spacegroup": "P m 3 m is no space group that is known",  # LaB6 as LaB
    "2023-11-12__14335": "but its formula is Ca Mn As2 O10 H6",  # HOh1 as holmium
    "no-symops": "has hydrogen, but no H is placed",
    "2103919": "no symmetry operations",  # Na2CO3 as Na3CO2
    "cubic_as_slanted": "no symmetry operations",
    "Senegalite": "hydrogen atoms of its water or OH",
    "PF_sd_1002871": "the label NH3 names no single element",  # as nihonium
    "sn5033sup1": "modulated",
    "various-sg-number-sources": "block 15: it lists no symmetry operations",
}
INTERNALS = re.compile(r"'_|Error|Traceback|reshape|section|[{}<>\[\]]|None|object|pymatgen|0x|\n")


@pytest.mark.parametrize("known", CORPUS, ids=[entry["name"][-48:] for entry in CORPUS])
def test_a_real_cif_is_read_as_pymatgen_reads_it_or_refused_in_words(shared: Path, known: dict[str, Any]) -> None:
    path = shared / "data" / "cif" / known["name"]
    records, problems = read(path)
    for problem in problems:
        assert 20 < len(problem.detail) < 200
        assert not INTERNALS.search(problem.detail), problem.detail
        assert problem.place == path.name
    expected = [s for s in by_pymatgen(path) if s.is_ordered]
    for record in records:
        assert any(same(record, structure) for structure in expected), record.label
    wrong = [words for name, words in PYMATGEN_IS_WRONG.items() if name in known["name"]]
    if wrong:
        assert any(wrong[0] in p.detail for p in problems)
    elif known["ordered"] is False:
        assert not records
        assert DISORDERED in problems[0].detail
    elif expected:
        assert len(records) == len(expected)
        assert not problems
    else:
        assert problems


def by_pymatgen(path: Path) -> list[Structure]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(CifParser(path).parse_structures(primitive=False, on_error="ignore"))
        except (ValueError, ZeroDivisionError):
            return []


def same(record: Record, structure: Structure) -> bool:
    """The same cell and sites in the same order; of small cells also for pymatgen's matcher."""
    found = structure_of(record)
    plain = structure.copy()
    plain.remove_oxidation_states()
    if len(found) != len(plain) or [s.specie.Z for s in found] != [s.specie.Z for s in plain]:
        return False
    delta = found.frac_coords - plain.frac_coords
    close = np.allclose(found.lattice.parameters, plain.lattice.parameters, rtol=1e-6)
    equal = bool(close and np.abs(delta - np.rint(delta)).max() < 1e-6)
    return equal and (len(plain) > 40 or StructureMatcher(scale=False, primitive_cell=False).fit(found, plain))


PLAIN = cif_of(TIB2)


def without(*keys: str) -> str:
    return "\n".join(line for line in PLAIN.splitlines() if not any(key in line for key in keys))


OWN = {
    "no unit cell": without("_cell_length", "_cell_angle"),
    "no complete unit cell": without("_cell_angle_beta"),
    "_cell_length_a has no value": re.sub(r"(_cell_length_a\s+)\S+", r"\1?", PLAIN),
    "'three' stands where a number should be": re.sub(r"(_cell_length_a\s+)\S+", r"\1three", PLAIN),
    "its cell has no volume": re.sub(r"(_cell_length_a\s+)\S+", r"\g<1>0", PLAIN),
    "no list of atoms": without("_atom_site", "  B ", "  Ti "),
    "the atom Ti0 has no coordinates": PLAIN.replace("0.00000000  0.00000000  0.00000000", "?  ?  ?"),
    "Cartesian coordinates only": PLAIN.replace("_atom_site_fract", "_atom_site_Cartn"),
    "a loop_ in it is broken": PLAIN.rstrip()[:-2],
    "no data_ line": without("data_"),
    "the atom D0 is deuterium": cif_of(TIB2).replace("  Ti  Ti0", "  D  D0").replace("Ti1 B2", "D1 B2"),
    "the atom Ti0 is Xx, which is no element": cif_of(TIB2).replace("  Ti  ", "  Xx  "),
    "site 1 is only 0.8 occupied by Ti": PLAIN.replace("0.00000000  1\n", "0.00000000  0.8\n"),
    "but its formula is Ti1 B6": PLAIN.replace("Ti1 B2", "Ti1 B6"),
    "has hydrogen, but no H is placed": PLAIN.replace("Ti1 B2", "Ti1 B2 H4"),
    "F m m m x is no space group": without("x, y, z").replace(
        "loop_\n _symmetry_equiv_pos_site_id\n _symmetry_equiv_pos_as_xyz\n", ""
    ).replace("'P 1'", "'F m m m x'").replace("_symmetry_Int_Tables_number   1", ""),
    "no symmetry operations": without("x, y, z", "_symmetry_equiv", "_symmetry_space", "_symmetry_Int").replace(
        "loop_\nloop_", "loop_"
    ),
    "more than 1000": cif_of(TIB2 * (7, 7, 7)),
}  # fmt: skip


@pytest.mark.parametrize("words", OWN)
def test_what_is_wrong_with_a_cif_is_one_sentence(tmp_path: Path, words: str) -> None:
    (tmp_path / "x.cif").write_text(OWN[words])
    records, problems = read(tmp_path / "x.cif")
    assert not records
    assert [words in p.detail for p in problems] == [True], problems
    assert not INTERNALS.search(problems[0].detail)


def test_blocks_are_taken_one_by_one(tmp_path: Path) -> None:
    """Publication data is no structure, two blocks may share a name, and the bad ones are all named."""
    larger = cif_of(Structure(Lattice.hexagonal(3.1, 3.3), ["Ti", "B", "B"], TIB2.frac_coords))
    text = "\n".join(["data_global\n_publ_section_title 'x'", PLAIN, OWN["no unit cell"], larger])
    broken = "data_z\nloop_\n_atom_site_label\n_atom_site_fract_x\nTi\n"
    (tmp_path / "x.cif").write_text(text + broken)
    records, problems = read(tmp_path / "x.cif")
    assert [r.label for r in records] == ["x#2", "x#4"]
    assert structure_of(records[1]).lattice.a == pytest.approx(3.1)
    assert [p.detail.split(":")[0] for p in problems] == ["block 3", "block 5"]
    (tmp_path / "y.cif").write_text(OWN["no unit cell"] + "\n" + broken)
    records, problems = read(tmp_path / "y.cif")
    assert not records
    assert len(problems) == 2


def test_mixed_valence_is_no_disorder(tmp_path: Path) -> None:
    mixed = Structure(Lattice.cubic(4.3), [{"Fe2+": 0.5, "Fe3+": 0.5}, "O2-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "x.cif").write_text(cif_of(mixed))
    (record,), problems = read(tmp_path / "x.cif")
    assert not problems
    assert record.formula == "FeO"


@pytest.mark.parametrize(("label", "reads"), [("OH1", ""), ("Ow1", ""), ("NH4", ""), ("Ti_a", "Ti"), ("TI", "Ti")])
def test_a_label_that_is_no_element_is_not_guessed(tmp_path: Path, label: str, reads: str) -> None:
    """Without a formula to compare with, as pymatgen drops OH, and takes NH4 for nihonium."""
    text = re.sub(r"  Ti  Ti\d  ", f"  {label}  {label}  ", without("_chemical_formula"))
    (tmp_path / "x.cif").write_text(text)
    records, problems = read(tmp_path / "x.cif")
    assert [r.formula for r in records] == ([f"{reads}B2"] if reads else [])
    assert len(problems) == (0 if reads else 1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_a_cif_from_windows_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.cif").write_bytes(("# Ångström\n" + PLAIN).replace("\n", "\r\n").encode(encoding))
    (record,), problems = read(tmp_path / "x.cif")
    assert not problems
    assert structure_of(record).matches(TIB2)


def test_pymatgen_hanging_is_given_up_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr(CifParser, "parse_structures", hang)
    monkeypatch.setattr(parsing, "SECONDS_PER_ROW", 0.3)
    (tmp_path / "x.cif").write_text(PLAIN)
    _, (problem,) = read(tmp_path / "x.cif")
    assert problem.reason == "too slow"
