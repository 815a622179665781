"""Of several crystals the best is kept: by a potential whose energies are known, and in an evaluation's report."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.crystals import Crystals, unpack_cells
from core.energy.load import load_potential
from core.energy.volume import relax_volume
from core.evaluation.report import Outcome, make_report, outcome_of, verdict_row
from core.workflows.chain import Chain, check_chain
from core.workflows.context import Context, UserError
from core.workflows.evaluate import EvaluateParams, evaluate
from core.workflows.generate import GenerateParams, candidates_of, generate
from core.workflows.method import About, Asked, Drawn, Origin, asked_of
from core.workflows.ranking import Judge, Ranked
from core.workflows.relax import RelaxParams
from tests.conftest import TestContext
from tests.workflows.test_chain import made
from tests.workflows.test_workflows import run_of

NUMBERS = [5, 73]
EDGES = (3.0, 3.6, 2.4, 3.3)  # Å, of sample 0, 1, …


class Edges:
    """Rocksalt-like cells; the sample says how large."""

    about = About("edges", energy_method="Well")

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        edge = torch.tensor([EDGES[k % 4] for k in asked.sample], dtype=torch.float64)
        lattice = torch.eye(3, dtype=torch.float64) * edge[:, None, None]
        frac = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5]], dtype=torch.float64).repeat(len(asked), 1, 1)
        frac[[k % 4 == 2 for k in asked.sample], 1] = 0.01  # closer than 0.5 Å
        crystals = Crystals(frac, lattice, asked.numbers, asked.group, asked.energy)
        return Drawn(crystals, list(range(len(asked))), [None] * len(asked))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Judge:
    """Its energies are (a − 3.4 Å)² eV/atom, and formation energies the same less 1."""

    def rest(crystals: Crystals, potential: object) -> Any:
        return crystals, SimpleNamespace(energy=2 * (crystals.lattice[:, 0, 0] - 3.4) ** 2)

    well = SimpleNamespace(name="Well")
    monkeypatch.setattr("core.workflows.ranking.relax_volume", rest)
    monkeypatch.setattr("core.workflows.ranking.potential_for", lambda *_: well)
    monkeypatch.setattr("core.workflows.ranking.load_references", lambda _: None)
    monkeypatch.setattr("core.workflows.ranking.formation_energy", lambda e, c, _: e / c.natoms - 1)
    return Judge("", 0, TestContext(tmp_path))


def edges(drawn: Drawn) -> list[float]:
    return drawn.crystals.lattice[:, 0, 0].tolist()


def test_the_lowest_of_the_draws_is_kept_and_what_is_not_valid_comes_last(judge: Judge, tmp_path: Path) -> None:
    context = TestContext(tmp_path)
    asked = asked_of([NUMBERS] * 2, [None] * 2, [None] * 2, [0, 1], [5, 6])
    assert edges(Ranked(Edges(), 2, judge).draw(asked, 1, context)) == [3.6, 3.3]  # type: ignore[arg-type]
    assert edges(Ranked(Edges(), 4, judge).draw(asked, 1, context)) == [3.3, 3.3]  # type: ignore[arg-type]
    wanted = asked_of([NUMBERS], [None], [0.16 - 1], [0], [5])  # what the edge of 3.0 Å has
    assert edges(Ranked(Edges(), 4, judge).draw(wanted, 1, context)) == [3.0]  # type: ignore[arg-type]
    other = Edges()
    other.about = About("edges", energy_method="AFLOW")
    assert edges(Ranked(other, 4, judge).draw(wanted, 1, context)) == [3.3], "another scale"  # type: ignore[arg-type]


def test_a_change_of_energy_is_one_from_the_start_by_the_potential(judge: Judge, tmp_path: Path) -> None:
    context, method = TestContext(tmp_path), Edges()
    method.about = About("edges", energy_method="AFLOW")  # of another scale: differences have none
    asked = asked_of([NUMBERS], [None], [None], [0], [5])
    start = method.draw(asked, 1, context).crystals  # 3.0 Å and 0.16 eV/atom
    for change, edge in ((0.0, 3.0), (-0.13, 3.6), (-0.2, 3.3)):
        below = replace(asked, energy=torch.tensor([change]), start=replace(start, energy=torch.tensor([math.nan])))
        assert edges(Ranked(method, 4, judge).draw(below, 1, context)) == [edge]  # type: ignore[arg-type]


def test_confidence_counts_beside_the_energy_that_is_asked_for(judge: Judge, tmp_path: Path) -> None:
    context = TestContext(tmp_path)
    asked = asked_of([NUMBERS] * 2, [None] * 2, [0.02 - 1] * 2, [1, 3], [5, 6])  # 3.6 Å is off by 0.02, 3.3 Å by 0.01
    drawn = Edges().draw(asked, 1, context)
    for first, second, best in ((0.5, 0.5, 1), (0.5, 0.2, 1), (0.5, 0.05, 0)):
        sure = replace(drawn, origins=[Origin("TaB", 1, first), Origin("TaB", 2, second)])
        (a, b), _ = judge.scores(sure, asked, "Well")
        assert (b < a) is bool(best)
    assert judge.scores(drawn, asked, "AFLOW")[0][1].cost == pytest.approx(0.01), "without a scale the energy alone"


def test_what_was_relaxed_to_be_compared_is_the_answer(
    judge: Judge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Cells come 0.1 Å nearer to the bottom of the well, within their symmetry; what is not valid is left as it is."""

    def nearer(crystals: Crystals, params: RelaxParams, _: object) -> Any:
        assert (params.steps, params.symmetry) == (7, True)
        edge = crystals.lattice[:, 0, 0]
        moved = edge + (3.4 - edge).clamp(-0.1, 0.1)
        values = [{"total_after": (e - 3.4) ** 2, "formation_after": (e - 3.4) ** 2 - 1} for e in moved.tolist()]
        lattice = torch.eye(3, dtype=torch.float64) * moved[:, None, None]
        return SimpleNamespace(crystals=replace(crystals, lattice=lattice)), values

    monkeypatch.setattr("core.workflows.ranking.relax_crystals", nearer)
    context = TestContext(tmp_path)
    stepping = Judge("", 7, context)
    asked = asked_of([NUMBERS], [None], [None], [0], [5])
    assert edges(Ranked(Edges(), 4, stepping).draw(asked, 1, context)) == pytest.approx([3.4])  # type: ignore[arg-type]
    drawn = Edges().draw(asked_of([NUMBERS] * 4, [None] * 4, [None] * 4, [0, 1, 2, 3], [5] * 4), 1, context)
    scores, compared = stepping.scores(drawn, asked_of([NUMBERS] * 4, [None] * 4, [None] * 4, [0] * 4, [5] * 4), "Well")
    assert edges(compared) == pytest.approx([3.1, 3.5, 2.4, 3.4])
    assert [s.bad for s in scores] == [False, False, True, False]


def test_a_ranking_takes_a_potential() -> None:
    with pytest.raises(UserError, match="A potential says"):
        check_chain(Chain(draws=2))
    with pytest.raises(UserError, match="1 to 100 crystals"):
        check_chain(Chain(draws=0, potential=""))


@pytest.mark.slow
def test_a_run_keeps_one_of_several(starter: Path) -> None:
    params = GenerateParams("substitution:starter", ("Ta2B4",), count=2, draws=3, potential="chgnet", relax="none")
    run = run_of("generate", params)
    result = generate(params, run)
    assert result["candidates"] == 2
    plain = run_of("generate", params)
    generate(replace(params, count=6, draws=1, potential=None), plain)
    every, kept = made(plain.job_id)[0], made(run.job_id)[0]
    potential = load_potential("chgnet")
    for i, best in enumerate(kept):
        three = [c for c in every if c.index // 3 == i]
        _, found = relax_volume(unpack_cells([c.cell for c in three]), potential)
        assert best.cell == three[int(found.energy.argmin())].cell
    assert generate(params, run)["candidates"] == len(candidates_of(run.job_id)) == 2, "gone on with, it is the same"


def test_the_report_says_how_often_the_first_of_a_ranking_is_right() -> None:
    outcomes = [
        Outcome(0, "a", 4, 2, 225, (True, True), (None, 0.1), also={"field": (0.2, 0.1)}, ranked=1),
        Outcome(1, "b", 4, 2, 225, (True, True), (0.2, None), also={"field": (0.2, None)}, ranked=1),
        Outcome(2, "c", 4, 2, 225, (False, False), (None, None), also={"field": (None, None)}, ranked=None),
    ]
    assert [outcome_of(verdict_row(o)) for o in outcomes] == outcomes
    report = make_report(outcomes, 2)
    assert report.ranked is not None
    assert (report.ranked.matched, report.ranked.rms, report.ranked.also) == (1, 0.1, {"field": pytest.approx(1 / 3)})
    assert (report.match_rate, report.match_rate_at_k) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert make_report([replace(o, ranked=None) for o in outcomes], 2).ranked is None


@pytest.mark.slow
def test_an_evaluation_ranks(starter: Path, tmp_path: Path) -> None:
    params = EvaluateParams(
        "substitution:starter", dataset="starter", split="val", limit=6, samples=2, atoms=(4, 5), rank_by="chgnet"
    )
    result = evaluate(params, TestContext(tmp_path))
    assert result["rank_by"].startswith("CHGNet")
    assert result["ranked"]["match_rate"] <= result["match_rate_at_k"]
