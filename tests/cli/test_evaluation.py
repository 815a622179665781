"""`evaluate` and `match` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.cli.evaluation import share, show
from core.cli.main import build_parser
from tests.cli.test_cli import cli, last_json, run
from tests.data.test_readers import GOOD


def test_help_names_them() -> None:
    assert {"evaluate", "match"} <= set(build_parser().format_help().split())


def test_match_pairs_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sites = GOOD["positions_fractional"]
    moved = {**GOOD, "positions_fractional": [[(x + 0.2) % 1 for x in site] for site in sites]}  # type: ignore[attr-defined]
    other = {**GOOD, "geometry": [3.1, 3.1, 9.0, 90, 90, 120]}
    for name, rows in {"a": [GOOD, GOOD], "b": [moved, other], "c": [GOOD, {}]}.items():
        (tmp_path / f"{name}.jsonl").write_text(
            "\n".join(json.dumps({**r, "auid": str(i)} if r else r) for i, r in enumerate(rows))
        )
    first, second, third = (str(tmp_path / f"{name}.jsonl") for name in "abc")
    code, out, _ = run(capsys, "match", first, second, "--json")
    assert code == 0
    found = last_json(out)
    assert (found["pairs"], found["matched"], found["match_rate"]) == (2, 1, 0.5)
    assert found["rms"] == pytest.approx(0, abs=1e-4)
    code, out, err = run(capsys, "match", first, third)
    assert (code, out) == (2, "")
    assert "leave no pairs" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "starter", "--condition", "colour", "--condition", "energy"], "There is no condition 'colour'"),
        (["--data", "nowhere.jsonl"], "There is no file"),
        (["--dataset", "starter", "--samples", "0"], "must be 1 to 100"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_a_job_starts(
    starter: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, "evaluate", "--model", "starter-generator", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_a_report_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "5-8", "targets": 4, "match_rate": 0.25, "ci95": [0.0456, 0.6994]}
    assert share(row) == "25.00 % (4.56-69.94)"
    show(
        {
            **row, "model": "m", "data": "d", "split": "val", "matcher": "paper", "rms": 0.1234, "samples": 2,
            "match_rate_at_k": 0.5, "valid": 0.75, "conditions": ["composition"], "problems": {"more than 60 atoms": 1},
            "task": "modification", "structures": 1234,
            "by_size": [row], "by_elements": [], "by_system": [], "seconds_sampling": 3.0, "seconds_matching": 1.0,
        }
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "m on d val: 25.00 % (4.56-69.94) of 4 structures match (paper), RMS 0.1234" in out
    assert "with 2 samples, any of them: 50.00 %" in out
    assert "1 were not drawn: more than 60 atoms" in out
    assert "of 1,234 structures the lowest of each formula is the target" in out


@pytest.mark.slow
def test_a_model_is_evaluated_as_a_job(starter: Path) -> None:
    result = cli(
        starter, "evaluate", "--model", "starter-generator", "--dataset", "starter", "--limit", "4", "--steps", "4"
    )
    assert (result["status"], result["targets"]) == ("done", 4)
    assert {"match_rate", "rms", "ci95", "valid", "match_rate_at_k", "by_size", "by_elements", "by_system"} <= set(
        result
    )
