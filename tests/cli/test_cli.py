"""The command line: what checks and scripts rely on."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.common import duration, pair
from core.cli.main import build_parser, main
from core.energy.trajectory import load_trajectory
from core.settings import ASSETS
from tests.conftest import ROOT
from tests.data.test_readers import BAD, GOOD


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def last_json(text: str) -> dict[str, object]:
    return dict(json.loads(text.strip().splitlines()[-1]))


def test_what_ships_is_listed_and_shown(starter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "dataset", "list")
    assert code == 0
    assert "starter" in out
    code, out, _ = run(capsys, "hull", "show", "W-Ta-B", "--method", "CHGNet-0.3.0", "--json")
    shown = last_json(out)
    shipped = json.loads(gzip.decompress((ASSETS / "hulls" / "B-Ta-W.CHGNet-0.3.0.json.gz").read_bytes()))
    assert shown["entries"] == len(shipped["entries"]) > 100
    assert {"formula", "formation", "label"} <= set(shown["stable"][0])  # type: ignore[index]
    assert last_json(run(capsys, "models", "list", "--json")[1])["models"] == [
        "modifier", "generator", "starter-modifier", "starter-generator", "perov_5", "carbon_24",
    ]  # fmt: skip
    assert last_json(run(capsys, "dataset", "show", "starter", "--json")[1])["formulas"] == 180
    assert last_json(run(capsys, "potentials", "list", "--json")[1])["potentials"]["chgnet"] == "ready"  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset", "show", "none"], "There is no dataset 'none'."),
        (["generate", "--model", "starter-generator", "--formula", "Xx"], "'Xx' is no element"),
        (["train", "--dataset", "starter", "--name", "x"], "Say how long to train"),
        (
            ["train", "--dataset", "starter", "--name", "x", "--preset", "paper", "--steps", "1"],
            "choose quick or small",
        ),
        (["hull", "show", "Fe-O"], "There is no hull of Fe-O"),
        (["hull", "place", "nowhere", "--system", "B-Ta-W"], "holds no candidates.csv"),
        (["models", "add", "nowhere"], "There is no folder"),
        (["jobs", "cancel", "99"], "There is no job 99."),
        (["relax", "nowhere.cif", "--out", "x"], "There is no file"),
        (["modify", "--model", "m", "nowhere.cif"], "There is no file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    starter: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert words in err
    assert out == ""
    assert len(err.strip().splitlines()) == 1


def test_a_bad_setting_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SUBHULL_DATABASE_URL", "oracle://x")
    code, _, err = run(capsys, "dataset", "list")
    assert code == 2
    assert "SUBHULL_DATABASE_URL" in err


def test_help_names_every_command() -> None:
    text = build_parser().format_help()
    for command in ("dataset", "train", "generate", "modify", "relax", "match", "hull", "models", "jobs", "potentials"):
        assert command in text


def test_durations_and_ranges() -> None:
    assert [duration(s) for s in (3, 100, 7300)] == ["3 s", "2 min", "2 h 2 min"]
    assert pair("4-20") == (4, 20)
    assert pair("8") == (8, 8)


def cli(var: Path, *arguments: str) -> dict[str, object]:
    """A command in a process of its own, as a user runs it; its JSON."""
    env = {**os.environ, "SUBHULL_VAR": str(var)}
    command = [sys.executable, "-W", "ignore", "-m", "core", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return last_json(done.stdout)


@pytest.mark.slow
def test_the_whole_way_without_a_browser(starter: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([json.dumps(GOOD), *BAD.values()]))
    imported = cli(starter, "dataset", "import", str(path), "--name", "mine", "--method", "M")
    assert (imported["structures"], imported["skipped"]) == (1, len(BAD))
    trained = cli(starter, "train", "--dataset", "starter", "--name", "t", "--preset", "quick", "--steps", "40")
    assert trained["model"] == "t"
    made = cli(
        starter, "generate", "--model", "starter-generator", "--formula", "Ta1B2", "--space-group", "191",
        "--energy", "-0.5", "--count", "4", "--steps", "20", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert made["candidates"] == 4
    with (tmp_path / "out" / "candidates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["formula"], r["group_asked"], float(r["energy_asked"])) for r in rows] == [("Ta1B2", "191", -0.5)] * 4
    assert all((tmp_path / "out" / r["file"]).is_file() for r in rows)
    relaxed = cli(
        starter, "relax", str(tmp_path / "out"), "--potential", "chgnet", "--steps", "20", "--out", str(tmp_path / "r"),
        "--trajectories", "--keep-symmetry",
    )  # fmt: skip
    assert relaxed["relaxed"] + relaxed["failed"] == 4  # type: ignore[operator]
    report = json.loads((tmp_path / "r" / "relaxed.json").read_text())
    assert all({"group_before", "group_found", "status"} <= set(row) for row in report)
    ended = [row for row in report if not row["status"].startswith("failed")]
    frames = [load_trajectory(tmp_path / "r" / row["trajectory"]) for row in report if row["trajectory"]]
    assert [f.about["status"] for f in frames] == [row["status"] for row in ended]
    placed = cli(starter, "hull", "place", str(tmp_path / "r"), "--system", "B-Ta-W")
    assert len(placed["placed"]) == relaxed["relaxed"]  # type: ignore[arg-type]
    assert placed["hull"] == "B-Ta-W CHGNet-0.3.0"
    files = [str(p) for p in sorted((tmp_path / "r").glob("*_relaxed.cif"))[:1]]
    assert cli(starter, "match", *files, *files)["match_rate"] == 1.0
    assert {j["status"] for j in cli(starter, "jobs", "list")["jobs"]} == {"done"}  # type: ignore[union-attr]


def test_a_store_goes_into_one_file_and_out_again(
    starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(capsys, "backup", str(tmp_path / "lab.tar"), "--json")
    assert code == 0
    made = last_json(out)
    code, _, error = run(capsys, "backup", str(tmp_path / "lab.tar"))
    assert (code, error.count("\n")) == (2, 1)
    assert "say --replace" in error
    code, out, _ = run(capsys, "backup", str(tmp_path / "lab.tar"), "--replace", "--json")
    assert (code, last_json(out)) == (0, made)
    monkeypatch.setenv("SUBHULL_VAR", str(tmp_path / "there"))
    code, out, _ = run(capsys, "restore", str(tmp_path / "lab.tar"), "--json")
    assert (code, last_json(out)) == (0, made)
    code, out, _ = run(capsys, "dataset", "list")
    assert "starter" in out
    code, _, error = run(capsys, "restore", str(tmp_path / "there" / "nothing.tar"))
    assert code == 2
    assert "There is no file" in error
