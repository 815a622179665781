"""`generate` on the command line: options become params, and what cannot be asked is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.cli.generating import _params
from core.cli.main import build_parser
from core.workflows.experiments import FORMULAS, PAPER_GROUPS
from core.workflows.generate import GenerateParams, count_of
from core.workflows.hulls import get_hull
from tests.cli.test_cli import run
from tests.workflows.test_ladders import aflow_hull

BASE = ["generate", "--model", "starter-generator"]


def params_of(*options: str) -> GenerateParams:
    return _params(build_parser().parse_args([*BASE, *options]))


def test_options_become_the_chain(starter: Path) -> None:
    plain = params_of("--formula", "Ta1B2", "--energy", "-0.5", "--space-group", "191")
    assert plain.hold_group
    assert not params_of("--formula", "Ta1B2", "--space-group", "191", "--free-group").hold_group
    assert (plain.potential, plain.count, plain.steps, plain.energies) == (None, 8, 50, (-0.5,))
    hull = aflow_hull()
    full = params_of(
        "--formula", "TaB2", "--units", "1", "2", "--space-group", "6-8", "Fm-3m", "--ladder", "3", "1", "--every",
        "10", "--hull-system", "B-Ta-W", "--hull-method", "AFLOW", "--relax", "chgnet", "--positions-only", "--hull",
        "W-Ta-B", "--symmetrise", "--compare", "starter", "--keep-symmetry", "--relax-steps", "7",
    )  # fmt: skip
    assert full.formulas == ("Ta1B2", "Ta2B4")
    assert full.space_groups == (6, 7, 8, 225)
    assert (full.ladders, full.every, full.ladder_hull) == ((1, 3), 10, hull)
    assert (full.potential, full.relax, full.relax_steps, full.keep_symmetry) == ("chgnet", "positions", 7, True)
    assert full.hull == get_hull("B-Ta-W", "CHGNet-0.3.0").row.id
    assert (full.symmetrise, full.compare) == (True, ("starter",))
    assert params_of("--formula", "TaB2", "--relax").potential == "", "the best one here"
    assert params_of("--formula", "TaB2", "--as-drawn").relax == "none"


def test_the_papers_experiments_by_name(starter: Path) -> None:
    whole = params_of("--experiment", "ta-w-b")
    assert (whole.formulas, whole.space_groups, whole.count) == (FORMULAS, PAPER_GROUPS, 1)
    assert count_of(whole) == 3591
    assert count_of(params_of("--experiment", "ta-w-b", "--space-group", "12", "--every", "10", "--count", "2")) == 54


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Name a composition with --formula"),
        (["--experiment", "ta-w-b", "--formula", "TaB2"], "leave --formula, --energy, --ladder out"),
        (["--formula", "TaB2", "--space-group", "Qq"], "'Qq' is no space group"),
        (["--formula", "TaB2", "--hull", "B-Ta-W"], "add --relax or --as-drawn"),
        (["--formula", "Fe2O3", "--ladder", "1"], "There is no hull of Fe-O by M3GNet-MP-2021.2.8"),
        (["--formula", "TaB2", "--relax", "chgnet", "--hull", "99"], "There is no hull 99"),
        (["--formula", "TaB2", "--compare", "nowhere"], "There is no dataset"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    starter: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    code, out, err = run(capsys, *BASE, *options)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
