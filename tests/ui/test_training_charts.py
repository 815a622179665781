"""Charts of trainings and evaluations, a model's card in words, and the estimate of cost: without a browser."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import pytest
import torch

from core.crystals import Crystals, from_structures
from core.evaluation.report import Outcome, make_report
from core.ui import evaluation_charts, model_card, training_charts
from core.ui.train_cost import passes_in
from core.ui.viewer import grid_html
from core.workflows.train import Estimate, TrainParams
from tests.ui.test_charts import TA, values

RUN = {
    "loss": [(1, 4.0), (2, 2.0), (3, 0.0)],
    "validation_loss": [(2, 3.0), (3, 2.5), (4, 2.75)],
    "match_rate_field": [(2, 0.5)],
    "match_rate_paper": [(2, 0.25)],
    "valid": [(2, 1.0)],
    "learning_rate": [(1, 1e-4)],
}
OTHER = {"loss": [(1, 5.0)], "validation_loss": [(1, 4.0), (2, 3.5)], "match_rate_field": [(1, 0.1)]}


def layers(chart: Any) -> list[list[dict[str, Any]]]:
    """The rows of data of every layer."""
    drawn = chart.to_dict()
    return [drawn["datasets"][layer["data"]["name"]] for layer in drawn["layer"] if "data" in layer]


def test_losses_of_one_run_are_told_apart_and_the_lowest_is_marked() -> None:
    chart = training_charts.losses({"a": RUN})
    lines, dots = layers(chart)
    assert {(r["kind"], r["step"]): r["value"] for r in lines} == {
        ("training", 1): 4.0, ("training", 2): 2.0, ("validation", 2): 3.0, ("validation", 3): 2.5,
        ("validation", 4): 2.75,
    }, "what a logarithm does not take is left out"  # fmt: skip
    assert [(r["step"], r["value"]) for r in dots] == [(3, 2.5)]
    encoding = chart.to_dict()["layer"][0]["encoding"]
    assert encoding["color"]["field"] == "kind"
    assert encoding["y"]["scale"]["type"] == "log"


def test_runs_are_overlaid_by_steps_or_by_structures() -> None:
    chart = training_charts.losses({"a": RUN, "b": OTHER}, scale={"a": 64.0, "b": 10.0})
    lines, dots = layers(chart)
    assert {(r["run"], r["step"]): r["x"] for r in lines}[("a", 2)] == 128
    assert {(r["run"], r["step"]): r["x"] for r in lines}[("b", 2)] == 20
    assert {r["run"]: r["step"] for r in dots} == {"a": 3, "b": 2}
    encoding = chart.to_dict()["layer"][0]["encoding"]
    assert encoding["color"]["field"] == "run"
    assert encoding["color"]["scale"]["domain"] == ["a", "b"]
    assert encoding["x"]["title"] == "structures seen"
    assert {r["x"] for r in values(training_charts.losses({"a": RUN}, "loss"))} == {1, 2, 3, 4}


def test_rates_of_several_runs_leave_the_valid_share_out() -> None:
    assert {r["kind"] for r in values(training_charts.rates({"a": RUN}))} == set(training_charts.RATES.values())
    both = values(training_charts.rates({"a": RUN, "b": OTHER}))
    assert {(r["run"], r["kind"], r["value"]) for r in both} == {
        ("a", "match rate, field", 0.5), ("a", "match rate, paper", 0.25), ("b", "match rate, field", 0.1),
    }  # fmt: skip


@pytest.mark.parametrize("runs", [{}, {"a": {}}, {"a": {"loss": [(1, -1.0)]}}])
def test_nothing_is_drawn_of_nothing(runs: Any) -> None:
    for chart in (
        training_charts.losses(runs),
        training_charts.rates(runs),
        training_charts.pace(runs, "learning_rate", "learning rate", ".1e"),
    ):
        assert values(chart) == []


def test_match_rates_have_the_intervals_of_the_report() -> None:
    outcomes = [Outcome(i, "x", 4 + 8 * (i % 2), 2, 225, (True,), (0.1 if i < 3 else None,)) for i in range(10)]
    report = asdict(make_report(outcomes))
    groups = evaluation_charts.groups_of(report["by_size"])
    assert [(g["name"], g["targets"]) for g in groups] == [("1-4", 5), ("9-12", 5)]
    assert groups[0]["rate"] == pytest.approx(2 / 5)
    assert groups[0]["low"] < 0.4 < groups[0]["high"]
    chart = evaluation_charts.match_rates(groups, "atoms", report["match_rate"])
    assert {r["rate"] for r in values(chart)} == {0.4, 0.2, 0.3}, "both classes, and the line of all"
    assert evaluation_charts.groups_of(None) == evaluation_charts.groups_of({"a": 1}) == []


def test_many_crystals_take_one_canvas_and_broken_ones_leave_their_place_empty() -> None:
    good = from_structures([TA, TA])
    broken = Crystals(good.frac.clone(), good.lattice.clone(), good.numbers, good.group, good.energy)
    broken.lattice[1, 0, 0] = torch.nan
    html = grid_html([good, broken])
    assert html.count("createViewerGrid(") == 1
    assert "createViewer(" not in html
    assert html.count('"cell":"stored"') == 3
    assert re.search(r'"places":\[\{.*\},null\]', html)
    assert "NaN" not in html
    assert html.count("</script>") == 2


CARD = {
    "parameters": 2_000_000,
    "dataset": "d",
    "dataset_hash": "f" * 64,
    "recipe": {"preset": "small", "batch": 64, "loss": ""},
    "training_minutes": 90,
    "uninterrupted": False,
    "steps": 1000,
    "best_step": 900,
    "metrics": {
        "validation_loss": 0.5,
        "match_rate_paper_validation": 0.08,
        "match_rate_field": 0.3,
        "match_rate_field_training": 0.4,
        "valid": 1.0,
        "odd": "x",
        "worse": float("nan"),
    },
}


def test_a_card_is_put_into_words() -> None:
    config = {"method": "ddpm", "network": "unet", "seen": {"elements": ["B"], "natoms": [2, 9], "space_groups": [225]}}
    assert model_card.measured(CARD) == {
        "loss": "0.5",
        "match rate, paper's tolerances": "8.0 %",
        "match rate, field's tolerances": "30.0 %",
        "match rate, field's tolerances (training part)": "40.0 %",
        "valid structures": "100.0 %",
    }
    assert model_card.match_rate(CARD) == 0.08
    assert model_card.learned_from(CARD, config, "PBE") == {
        "dataset": "d", "its content": "f" * 12, "elements": "B", "atoms per cell": "2–9", "space groups": "1: 225",
        "energy method": "PBE",
    }  # fmt: skip
    assert model_card.recipe(CARD, config) == {"method": "ddpm", "network": "unet", "preset": "small", "batch": "64"}
    assert model_card.cost(CARD) == {"training": "1 h 30 min, with pauses", "steps": "1,000, best at 900"}


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"metrics": [1], "recipe": "x", "steps": "many", "training_minutes": None, "parameters": True, "device": 5},
        {"metrics": {"loss": [1]}, "recipe": {"batch": [1, 2]}, "dataset": {"a": 1}, "made": 3},
    ],
)
def test_cards_of_strangers_are_read_all_the_same(card: dict[str, Any]) -> None:
    config = {"seen": {"elements": [{}], "energies": ["a", "b"], "natoms": 3}, "method": 4}
    assert model_card.measured(card) == {}
    assert model_card.match_rate(card) is None
    assert model_card.millions(model_card.number(card, "parameters")) == "–"
    for lines in (model_card.learned_from(card, config, ""), model_card.recipe(card, config), model_card.cost(card)):
        assert all(isinstance(v, str) for v in lines.values())


def test_passes_are_those_of_the_shorter_budget() -> None:
    cost = Estimate(parameters=1, structures_per_s=100.0, memory_mb=1.0, structures=1000, epoch_s=10.0)
    assert passes_in(TrainParams("d", "n", minutes=5), cost) == pytest.approx(30)
    assert passes_in(TrainParams("d", "n", minutes=5, steps=100, batch=50), cost) == pytest.approx(5)
    assert passes_in(TrainParams("d", "n"), cost) is None


def test_curves_of_a_card_are_steps_and_numbers_whatever_a_stranger_wrote() -> None:
    kept = {"loss": [[1, 0.5], [20, 0.25]], "validation_loss": [[20, 0.3]]}
    assert model_card.curves({"curves": kept}) == {"loss": [(1, 0.5), (20, 0.25)]}, "one point is no curve"
    broken: list[object] = [None, [1], ["x", 2], [3, float("nan")], [True, 1.0], {"step": 1}]
    assert model_card.curves({"curves": {"loss": [*broken, [4, 0.1], [5, 0.2]]}}) == {"loss": [(4, 0.1), (5, 0.2)]}
    for wrong in (None, [], "loss", {"loss": 5}, {"loss": [[1, 2]] * 10_000}):
        assert sum(map(len, model_card.curves({"curves": wrong}).values())) <= 1000
