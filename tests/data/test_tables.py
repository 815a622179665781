"""Tables that unpack to more than a computer holds, or hold what no reader expects, are stopped in words."""

from __future__ import annotations

import gzip
import resource
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.readers import sources, tables
from core.data.readers.sources import SourceError, raw_rows
from tests.data.test_readers import GOOD, TIB2, cif_of, read, structure_of

HEAD = "species,composition,geometry,positions_fractional\n"
LINE = '"B,Ti","2,1","3.03,3.03,3.23,90,90,120","0.333333,0.666667,0.5;0.666667,0.333333,0.5;0,0,0"\n'


def test_a_line_of_a_csv_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE", 1_000)
    (tmp_path / "x.csv").write_text(HEAD + LINE + "," * 50_000 + "\n" + LINE + '"' + "[" * 5_000)
    records, problems = read(tmp_path / "x.csv")
    assert [r.place for r in records] == ["line 2", "line 4"]
    assert [(p.place, p.reason) for p in problems] == [("line 3", "too large"), ("line 5", "too large")]


def test_a_packed_csv_is_stopped_by_what_it_unpacks_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_TOTAL", 10_000_000)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress((HEAD + "x" * 60_000_000).encode()))
    with pytest.raises(SourceError, match="holds more than"):
        read(tmp_path / "x.csv.gz")


@pytest.mark.parametrize("value", ["[" * 100_000, "[" + "9" * 400 + "]", "nan", "]", "1e999,1"])
def test_a_value_that_is_no_list_is_refused_in_its_row(tmp_path: Path, value: str) -> None:
    (tmp_path / "x.csv").write_text(HEAD + LINE + f'"B,Ti","2,1","{value}","0,0,0"\n' + LINE)
    records, (problem,) = read(tmp_path / "x.csv")
    assert [r.place for r in records] == ["line 2", "line 4"]
    assert problem.place == "line 3"


def test_a_csv_from_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" + (HEAD + LINE).replace("\n", "\r\n").encode())
    (record,), _ = read(tmp_path / "x.csv")
    assert structure_of(record).matches(TIB2)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_parquet_bomb_of_text_takes_no_memory(tmp_path: Path, kind: pa.DataType) -> None:
    """One text of 20 MB that stands in 5,000 rows is 100 GB unpacked, and 20 MB in the file's dictionary."""
    known = pa.array(["#" * 20_000_000, cif_of(TIB2)], kind)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 5_000 + [1], pa.int32()), known)
    pq.write_table(pa.table({"cif": texts}), tmp_path / "x.parquet", dictionary_pagesize_limit=10**9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = list(raw_rows(tmp_path / "x.parquet"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB
    assert [r.kind for r in rows[-2:]] == ["too long", "cif"]


def test_a_parquet_bomb_of_lists_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_GROUP_VALUES", 50_000)
    table = {"geometry": [[0.0] * 1000] * 100, "positions_fractional": [[[0.0]]] * 100, "species": [["B"]] * 100}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="unpacks to too much"):
        read(tmp_path / "x.parquet")


def test_parquet_columns_of_other_kinds(tmp_path: Path) -> None:
    """Lists as text, integers as floats, bytes and dates beside them."""
    table: dict[str, Any] = {key: [GOOD[key]] for key in ("composition", "spacegroup_relax")}
    table |= {"species": ["['B', 'Ta']"], "geometry": [str(GOOD["geometry"])], "auid": [b"\xff\x00"]}
    table |= {"positions_fractional": [str(GOOD["positions_fractional"])], "when": pa.array([0], pa.date32())}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    (record,), problems = read(tmp_path / "x.parquet")
    assert not problems
    assert record.formula == "TaB2"


def test_a_parquet_damaged_in_its_middle_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"cif": [cif_of(TIB2) + str(i) for i in range(2_000)]}), tmp_path / "x.parquet")
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[100:4_000] = b"\xff" * 3_900
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(SourceError, match="copy it again"):
        list(raw_rows(tmp_path / "x.parquet"))
