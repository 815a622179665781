"""The table of quality: cells that are kept, what meets an aim and what misses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import quality
from benchmarks.quality import Asked, append_result, filled, markdown, measure, read_results
from benchmarks.quality_rows import LINES, MEASURED
from core.workflows.context import UserError

REPORT = {
    "targets": 300, "matched": 244, "match_rate": 0.8133, "ci95": (0.765, 0.853), "rms": 0.05,
    "match_rate_at_k": 0.84, "ci95_at_k": (0.794, 0.877), "also": {}, "date": "2026-11-21", "machine": "2 cores",
    "in_group": {"asked": 296, "reached": 283, "share": 0.956, "ci95": (0.926, 0.974)}, "in_group_p1": None,
}  # fmt: skip


def test_aims_that_are_met_and_missed_are_marked() -> None:
    cells = {("mp", "substitution"): REPORT, ("mp", "paper"): {"problem": "There is no model 'paper-generator'."}}
    rows = [line for line in markdown(cells, ["substitution", "paper"], "choosing").splitlines() if "| all |" in line]
    assert rows == [
        "| MP, 4–20 atoms, paper matcher | all | above 80 % | 300 | **81.3 %** (76.5–85.3) | – |",
        "| the same, any of 5 | all | above 85 % | 300 | 84.0 % (79.4–87.7) *miss* | – |",
        "| space group reached, MP, 4–20 atoms | all | above 95 % | 296 | **95.6 %** (92.6–97.4) | – |",
        "| the same, P1 asked for | all |  | 0 | – | – |",
    ]
    table = markdown(cells, ["substitution", "paper"], "last")
    assert "- paper: There is no model 'paper-generator'." in table
    assert "The last part (of odd number)" in table
    assert {line.of for line in LINES} <= set(MEASURED)


def test_rms_is_better_when_it_is_smaller() -> None:
    row = next(line for line in LINES if line.metric == "RMS")
    assert quality.entry(row, REPORT) == "**0.0500**"
    assert quality.entry(row, REPORT | {"rms": 0.08}) == "0.0800 *miss*"


def test_methods_are_filled_in_row_by_row() -> None:
    assert filled("best", MEASURED["mp"]) == "best:generator:mp+"
    assert filled("best", MEASURED["modification"]) == "best:modifier:mp@", "modifiers hold no group"
    assert filled("held", MEASURED["perov-5"]) == "perov_5", "no group is given"
    assert filled("substitution:{data}", MEASURED["perov-5"]) == "substitution:perov_5"
    assert filled("mine", MEASURED["mp"]) == "mine"
    assert filled("held", MEASURED["mp"]) == "generator+"
    assert filled("ranked", MEASURED["mp"]) == "substitution:mp", "its energies are on another scale"
    assert filled("ranked", MEASURED["modification"]) == "substitution:mp@"
    with pytest.raises(UserError, match="no method"):
        filled("{model}", MEASURED["mp"])


def test_what_a_potential_puts_first_counts() -> None:
    row = next(line for line in LINES if line.of == "decorated" and line.metric == "match")
    assert quality.entry(row, REPORT) == "81.3 % (76.5–85.3) *miss*"
    ranked = REPORT | {"ranked": {"match_rate": 0.97, "ci95": (0.94, 0.985)}}
    assert quality.entry(row, ranked) == "**97.0 %** (94.0–98.5)"


@pytest.mark.slow
def test_a_group_is_held_where_one_is_given(starter: Path, tmp_path: Path) -> None:
    asked = Asked(tmp_path, "choosing", ("starter", "starter-modification"), ("network", "held"), limit=8)
    cells = measure(asked)
    free, held = (cells["starter", method]["in_group"]["share"] for method in ("network", "held"))
    assert free < 0.5 < held
    assert cells["starter-modification", "held"] == cells["starter-modification", "network"]


def test_a_cell_is_measured_once_and_a_missing_model_is_said(starter: Path, tmp_path: Path) -> None:
    asked = Asked(tmp_path, "choosing", ("starter-modification",), ("start", "missing"), limit=12)
    cells = measure(asked)
    assert cells["starter-modification", "start"]["targets"] == 6
    assert "missing" in cells["starter-modification", "missing"]["problem"]
    kept = read_results(tmp_path / "quality.jsonl")
    assert len(kept) == 1
    (key,) = kept
    append_result(tmp_path / "quality.jsonl", key, REPORT)
    with (tmp_path / "quality.jsonl").open("a") as file:
        file.write('{"key": "cut o')
    assert measure(asked)["starter-modification", "start"]["targets"] == 300
