"""`vasp write` and `vasp read`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from core.export.vasp import find_tag
from tests.cli.test_cli import last_json, run
from tests.data.test_readers import TIB2
from tests.vasp_runs import outcar, vasprun
from tests.workflows.test_vasp import REFERENCES, TIB, candidates_of_structures, relaxation_of, run_for


def test_candidates_go_out_and_results_come_back(
    starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tib2, tib = candidates_of_structures([TIB2, TIB])
    names = [f"{c.job_id}-{c.index}" for c in (tib2, tib)]
    code, out, _ = run(
        capsys, "vasp", "write", "--candidates", *names, "--set", "mp", "--out", str(tmp_path / "out"), "--json"
    )
    assert (code, last_json(out)["candidates"]) == (0, 2)
    folders = sorted(p for p in (tmp_path / "out").iterdir() if p.is_dir())
    assert {find_tag(p.name)[:2] for p in folders} == {(c.job_id, c.index) for c in (tib2, tib)}  # type: ignore[index]
    assert (folders[0] / "job.sh").stat().st_mode & 0o111
    assert "ENCUT = 520" in (folders[0] / "INCAR").read_text()
    packed = tmp_path / "out.zip"
    code, out, _ = run(capsys, "vasp", "write", "--candidates", str(tib2.job_id), "--elements", "--out", str(packed))
    assert code == 0
    assert "2 candidates for VASP in" in out
    with zipfile.ZipFile(packed) as archive:
        assert sum(n.endswith("POSCAR") for n in archive.namelist()) == 4
    (tmp_path / "vasprun.xml").write_text(vasprun(run_for(tib2, TIB2, -24.0)))
    (tmp_path / "OUTCAR").write_text(outcar(run_for(tib, TIB, -14.6)))
    (tmp_path / "broken").write_text("x")
    (tmp_path / "r.json").write_text(json.dumps(REFERENCES))
    files = [str(tmp_path / n) for n in ("vasprun.xml", "OUTCAR", "broken")]
    code, out, _ = run(capsys, "vasp", "read", *files, "--references", str(tmp_path / "r.json"), "--json")
    result = last_json(out)
    assert (code, result["stored"]) == (0, 2)
    assert result["problems"] == [["broken", "It is neither a vasprun.xml nor an OUTCAR."]]
    assert relaxation_of(tib).formation_after == pytest.approx(-7.3 + 7.25)  # type: ignore[union-attr]
    code, out, _ = run(capsys, "vasp", "read", files[0])
    assert "1 results kept" in out
    assert names[0] in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["write", "--candidates", "77-1", "--out", "x"], "There is no candidate 77-1."),
        (["write", "--candidates", "a", "--out", "x"], "'a' is no candidate"),
        (["read", "nowhere"], "There is no file nowhere."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    starter: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, "vasp", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
