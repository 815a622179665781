"""A few hundred hostile inputs into everything that reads from outside, and what longer runs have found."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import pytest

from core.data.formulas import FormulaError, parse_formula
from core.data.readers.cif import cif_blocks, cif_structure
from core.data.readers.records import Problem
from core.data.readers.sources import SourceError, raw_rows
from core.data.readers.structures import parse_extxyz
from core.export.vasp_sources import unpacked
from core.workflows.context import UserError
from core.workflows.model_files import add_upload
from core.workflows.store import store
from tests.faults.fuzzing import fuzz
from tests.faults.parsers import CIF, parsers, zipped
from tests.ui.test_pages import open_page

COUNT = 25
KNOWN = parsers()


@pytest.mark.parametrize("name", [n for n, p in KNOWN.items() if not p.installed])
def test_hostile_inputs_are_taken_or_refused_in_words(name: str) -> None:
    if KNOWN[name].store:
        store()
    outcome = fuzz(KNOWN[name], COUNT, start=7)
    assert outcome.findings == {}
    assert outcome.inputs > COUNT // 2
    assert outcome.taken + outcome.refused == outcome.inputs


@pytest.mark.slow
def test_hostile_queries_open_every_page(starter: Path) -> None:
    assert fuzz(KNOWN["queries"], 8, start=7).findings == {}


def test_a_zip_that_lost_its_first_byte_is_damaged(tmp_path: Path) -> None:
    """Its first member would begin before the file: `zipfile` answers with a plain ValueError or OSError."""
    data = zipped({"model.safetensors": b"x" * 100, "config.json": b"{}"})[1:]
    with pytest.raises(ValueError, match="negative seek"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.open("model.safetensors")
    with pytest.raises(UserError, match="damaged"):
        add_upload([("x.zip", io.BytesIO(data))], "x")
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"a.cif": CIF.encode(), "vasprun.xml": b"x"})[1:])
    assert [(r.kind, r.text) for r in raw_rows(path)] == [("unreadable", "it is damaged in the zip: pack it again")]
    path.write_bytes(zipped({"vasprun.xml": b"x"})[1:])
    assert all(f.problem.startswith("it cannot be read") for f in unpacked(path, "x.zip", tmp_path))
    path.write_bytes(data[:-30])
    with pytest.raises(SourceError, match=r"x\.zip is no zip, or it is damaged"):
        list(raw_rows(path))


def test_a_carriage_return_in_the_columns_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"material_id,ci\rf\nm,x\n")
    with pytest.raises(SourceError, match="first line cannot be read"):
        list(raw_rows(path))


def test_a_space_group_of_thousands_of_digits_in_the_url(starter: Path) -> None:
    assert not open_page("datasets", dataset="starter", group="0000" + "9" * 5000).error


def test_numbers_that_take_minutes_or_gigabytes_are_refused_at_once() -> None:
    """Found by 10,000 inputs: an operation of thousands of digits, and columns for which ASE made room."""
    began = time.monotonic()
    operation = CIF.replace("x, y, z", "x, y, z" + "9" * 5000)
    with pytest.raises(Problem, match="200 digits"):
        cif_structure(cif_blocks(operation)[0])
    frame = '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:99999999999 pbc="T T T"\nTi 0 0 0\n'
    with pytest.raises(Problem, match="more than 1000 columns"):
        parse_extxyz(frame, "x", "x", "")
    with pytest.raises(FormulaError, match=r"^Ta999999999999 is not a number of atoms"):
        parse_formula("Ta" + "9" * 5000)
    assert time.monotonic() - began < 5
