"""Evaluation: closed forms (answers that are the targets), the shipped model, pairs, and what cannot be evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.crystals import wrap
from core.evaluation.report import SIZES
from core.workflows import evaluate as workflow
from core.workflows import evaluation_targets
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.evaluate import EvaluateParams, answering, evaluate, narrowed, told
from core.workflows.evaluation_targets import Targets, find_targets
from core.workflows.imports import ImportParams, import_files
from core.workflows.method import About, Asked, Drawn
from core.workflows.models import load_model
from tests.conftest import TestContext
from tests.data.test_readers import GOOD

RUTILE = {
    "species": ["O", "Ti"],
    "composition": [4, 2],
    "geometry": [4.594, 4.594, 2.959, 90, 90, 90],
    "positions_fractional": [
        [0.3053, 0.3053, 0], [0.6947, 0.6947, 0], [0.1947, 0.8053, 0.5], [0.8053, 0.1947, 0.5],
        [0, 0, 0], [0.5, 0.5, 0.5],
    ],
    "spacegroup_relax": 136,
}  # fmt: skip


def row(name: str, energy: float | None, source: str = "M", shift: float = 0.0, **changes: object) -> str:
    """A line of a file: rutile, with its origin moved."""
    values = {**RUTILE, "auid": name, "enthalpy_formation_atom": energy, "energy_source": source, **changes}
    sites = np.array(values["positions_fractional"]) + shift
    return json.dumps({**values, "positions_fractional": sites.tolist()})


def large(name: str) -> str:
    """A hundred atoms, five apart."""
    sites = [[x / 5, y / 5, z / 4] for x in range(5) for y in range(5) for z in range(4)]
    return row(
        name, -1.0, species=["Ta"], composition=[100], geometry=[15, 15, 12, 90, 90, 90],
        positions_fractional=sites, spacegroup_relax=123,
    )  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    def write(*lines: str, name: str = "targets.jsonl") -> tuple[str, ...]:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return (str(path),)

    return write


class Echo:
    """Answers every target itself, its origin and axes changed; every second sample is torn apart.

    It is not told the targets: it knows them, and which of them is meant by the seed.
    """

    about = About("echo", "0" * 8, "generation", "M")

    def __init__(self, targets: Targets, second_sample_broken: bool = False) -> None:
        self.targets, self.broken, self.calls = targets, second_sample_broken, 0

    def refuses(self, asked: Asked) -> list[str]:
        return [""] * len(asked)

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        self.calls += 1
        target = self.targets[torch.tensor(asked.seeds) % len(self.targets)]
        frac = wrap(target.frac + 0.37) * target.mask[:, :, None]
        lattice = target.lattice.flip(-1)
        if self.broken:
            lattice = lattice * torch.tensor([torch.nan if k % 2 else 1.0 for k in asked.sample])[:, None, None]
        return Drawn(replace(target, frac=frac, lattice=lattice), list(range(len(asked))), [None] * len(asked))


def use(monkeypatch: pytest.MonkeyPatch, method: object) -> None:
    monkeypatch.setattr(workflow, "answering", lambda *_: method)


def test_a_model_that_answers_the_targets_finds_them_all(
    starter: Path, context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Echo(find_targets((), "starter", "val", False, "", context), second_sample_broken=True))
    result = evaluate(EvaluateParams("echo", dataset="starter", split="val", limit=40, samples=2), context)
    assert (result["targets"], result["match_rate"], result["match_rate_at_k"]) == (40, 1.0, 1.0)
    assert result["rms"] == pytest.approx(0, abs=1e-4)
    assert result["valid"] == 0.5
    assert result["ci95"][1] == 1.0
    assert {r["name"] for r in result["by_size"]} <= {f"{a}-{b}" for a, b in SIZES}
    for key in ("by_size", "by_elements", "by_system"):
        assert sum(r["targets"] for r in result[key]) == 40
    assert {"seconds_sampling", "seconds_matching", "model", "model_hash", "matcher", "samples"} <= set(result)
    assert json.loads(json.dumps(result))["conditions"] == ["composition", "space-group", "energy"]
    assert "40 of 40 targets, 40 matched" in context.messages


def test_matchers_groups_and_parts_of_one_run(
    starter: Path, context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stretched(Echo):
        """Beyond the paper's tolerance of lengths and within the field's; cubic ones have lost their group."""

        def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
            drawn = self.targets[torch.tensor(asked.seeds) % len(self.targets)]
            lattice = drawn.lattice * torch.tensor([1.0, 1.0, 1.36])
            return Drawn(replace(drawn, lattice=lattice), list(range(len(asked))), [None] * len(asked))

    params = EvaluateParams("echo", dataset="starter", atoms=(4, 5), also=("field",), limit=40)
    targets = find_targets((), "starter", "", False, "", context)
    even, odd = (narrowed(targets, replace(params, formulas=half)).rows for half in ("even", "odd"))
    data = load_tensors(get_dataset("starter"))
    assert sorted([*even.tolist(), *odd.tolist()]) == [
        i for i, n in enumerate(data.crystals.natoms.tolist()) if 4 <= n <= 5
    ]
    assert {int(data.formula[i]) % 2 for i in even.tolist()} == {0}
    use(monkeypatch, Echo(narrowed(targets, replace(params, formulas="even"))))
    result = evaluate(replace(params, formulas="even"), context)
    assert result["match_rate"] == result["also"]["field"]["match_rate"] == 1.0
    assert result["in_group"]["asked"] == 40
    assert result["in_group"]["share"] > 0.95  # a mirror image of a chiral one has another group
    use(monkeypatch, Stretched(narrowed(targets, params)))
    result = evaluate(params, context)
    assert result["match_rate"] < result["also"]["field"]["match_rate"]
    assert result["in_group"]["share"] < 0.95
    no_group = evaluate(replace(params, limit=3, conditions=("composition",)), context)
    assert no_group["in_group"] is None
    for wrong in ({"atoms": (5, 4)}, {"atoms": (150, 160)}, {"formulas": "third"}, {"also": ("exact",)}):
        with pytest.raises(UserError):
            evaluate(replace(params, **wrong), context)  # type: ignore[arg-type]


def test_what_was_judged_before_an_interruption_is_not_drawn_again(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = EvaluateParams("echo", dataset="starter", limit=150)
    use(monkeypatch, echo := Echo(find_targets((), "starter", "", False, "", TestContext(tmp_path))))
    with pytest.raises(Cancelled):
        evaluate(params, TestContext(tmp_path / "job", stop_after=1))
    assert echo.calls == 1
    with next((tmp_path / "job").glob("verdicts-*.jsonl")).open("a") as file:
        file.write('{"target": 3, "lab')  # cut off
    assert evaluate(params, TestContext(tmp_path / "job"))["match_rate"] == 1.0
    assert echo.calls == 3


def test_the_same_seed_looks_at_the_same_targets(starter: Path, context: TestContext) -> None:
    targets = find_targets((), "starter", "", False, "", context)
    assert torch.equal(targets.some(20, 5), targets.some(20, 5))
    assert not torch.equal(targets.some(20, 5), targets.some(20, 6))
    assert len(targets.some(0, 0)) == len(targets) == len(targets.some(10**6, 0))


def test_the_shipped_model_finds_some_and_the_same_again(starter: Path, context: TestContext) -> None:
    params = EvaluateParams(
        "starter-generator", dataset="starter", split="train", limit=24, steps=20, seed=1, matcher="field"
    )
    result = evaluate(params, context)
    assert result["targets"] == 24
    assert result["match_rate"] > 0.15
    assert result["model_hash"] == load_model("starter-generator").row.hash
    blind = evaluate(replace(params, conditions=("composition",), steps=2), context)
    assert blind["targets"] == 24
    again = evaluate(params, TestContext(context.folder / "again"))
    assert {k: v for k, v in again.items() if "seconds" not in k} == {
        k: v for k, v in result.items() if "seconds" not in k
    }


def test_what_the_model_cannot_draw_is_a_miss(
    starter: Path, context: TestContext, write: Callable[..., tuple[str, ...]]
) -> None:
    lines = [row("oxide", -3.0), json.dumps({**GOOD, "auid": "boride"}), large("large"), "{"]
    result = evaluate(EvaluateParams("starter-generator", write(*lines), steps=2), context)
    assert (result["targets"], result["skipped"]) == (3, 1)
    assert result["problems"] == {"an element that the model never saw": 1, "more than 64 atoms": 1}
    assert result["valid"] <= 1 / 3
    assert result["data"] == "targets.jsonl"


def test_conditions_are_given_only_where_they_are_asked_for_and_known(
    starter: Path, context: TestContext, write: Callable[..., tuple[str, ...]]
) -> None:
    targets = find_targets(write(row("a", -3.0), row("b", None)), "", "", False, "M", context)
    target = targets[torch.arange(2)]
    every = told(target, None, ("composition", "space-group", "energy")).conditions()
    assert every.present.tolist() == [[True, True], [True, False]]
    assert every.group.tolist() == [136, 136]
    assert every.energy.tolist() == pytest.approx([-3.0, 0.0])
    none = told(target, None, ("composition",)).conditions()
    assert none.present.any().item() is False
    assert none.group.tolist() == none.energy.tolist() == [0, 0]
    assert torch.equal(none.numbers, target.numbers)


def test_pairs_are_the_lowest_of_one_source(context: TestContext, write: Callable[..., tuple[str, ...]]) -> None:
    lines = [
        row("low", -3.0), row("mid", -2.8), row("high", -2.5), row("other low", -3.5, "N"), row("other", -3.2, "N"),
        row("alone", -9.0, "O"), row("nothing", None),
    ]  # fmt: skip
    targets = find_targets(write(*lines), "", "", True, "", context)
    assert targets.starts is not None
    found = {
        (targets.labels[int(a)], targets.labels[int(b)]) for a, b in zip(targets.starts, targets.rows, strict=True)
    }
    assert found == {("mid", "low"), ("high", "low"), ("other", "other low")}
    change = told(targets[torch.arange(3)], targets.start(torch.arange(3)), ("energy",)).energy
    assert bool((change < 0).all())


def test_pairs_of_different_cells_are_asked_in_a_common_one(
    starter: Path, context: TestContext, write: Callable[..., tuple[str, ...]]
) -> None:
    """Six atoms and twelve; and the start, twice as large, is still found to be what it is."""
    double = json.loads(row("low", -3.0))
    double["geometry"][2] *= 2
    double["composition"] = [2 * n for n in double["composition"]]
    double["positions_fractional"] = [
        [x, y, (z + up) / 2] for x, y, z in double["positions_fractional"] for up in (0, 1)
    ]
    files = write(json.dumps(double), row("small", -2.9))
    targets = find_targets(files, "", "", True, "", context)
    assert targets.natoms.tolist() == [12]
    start = targets.start(torch.arange(1))
    assert torch.equal(start.numbers.sort().values, targets[torch.arange(1)].numbers.sort().values)
    result = evaluate(EvaluateParams("start", files), context)
    assert (result["targets"], result["match_rate"], result["pairs_left_out"]) == (1, 1.0, 0)
    modified = evaluate(EvaluateParams("starter-modifier", files, steps=2), context)
    assert (modified["targets"], modified["problems"]) == (1, {"an element that the model never saw": 1})


def test_the_start_is_the_answer_where_both_are_one_structure(
    starter: Path, context: TestContext, write: Callable[..., tuple[str, ...]]
) -> None:
    files = write(row("low", -3.0), row("moved", -2.9, shift=0.21), row("moved again", -2.8, shift=0.43))
    result = evaluate(EvaluateParams("start", files), context)
    assert (result["task"], result["targets"], result["match_rate"]) == ("modification", 2, 1.0)
    stretched = row("low", -3.0, geometry=[4.594, 4.594, 5.9, 90, 90, 90])
    files = write(stretched, row("other", -2.9), name="two.jsonl")
    assert evaluate(EvaluateParams("start", files), context)["match_rate"] == 0.0


@pytest.mark.slow
def test_substitution_finds_what_is_known_and_relatives_of_it(
    starter: Path, context: TestContext, write: Callable[..., tuple[str, ...]]
) -> None:
    params = EvaluateParams("substitution:starter", dataset="starter", split="train", limit=60)
    known = evaluate(params, context)
    assert known["match_rate"] > 0.6  # by structures of other formulas
    assert known["model_hash"] == get_dataset("starter").hash
    held_out = evaluate(replace(params, split="val", limit=40, samples=3), context)
    assert 0.1 < held_out["match_rate"] <= held_out["match_rate_at_k"]
    alone = evaluate(EvaluateParams("substitution:starter", write(large("tantalum"), row("rutile", -3.0))), context)
    assert alone["targets"] == 2
    pairs = replace(params, task="modification", limit=20)
    assert evaluate(pairs, context)["task"] == "modification"


def test_a_modifier_is_given_the_start_in_its_own_order(starter: Path, context: TestContext) -> None:
    targets = find_targets((), "starter", "", True, "", context)
    data = load_tensors(get_dataset("starter"))
    assert targets.starts is not None
    energy = data.crystals.energy
    assert bool((energy[targets.starts] >= energy[targets.rows]).all())
    assert torch.equal(data.formula[targets.starts], data.formula[targets.rows])
    index = torch.arange(4)
    target, start = targets[index].trim(), targets.start(index).trim()
    asked = told(target, start, ("energy",))
    conditions = asked.conditions()
    assert torch.equal(conditions.numbers, start.numbers)
    assert torch.equal(conditions.group, torch.zeros(4, dtype=torch.int64))
    assert conditions.energy.tolist() == pytest.approx((target.energy - start.energy).tolist(), abs=1e-6)
    assert asked.start is start


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"conditions": ("composition", "color")},
            "no condition 'color': choose from composition, space-group, energy",
        ),
        ({"matcher": "loose"}, "choose paper or field"),
        ({"samples": 0}, "must be 1 to 100"),
        ({"steps": 0}, "1 or more"),
        ({"dataset": ""}, "files of structures, or a dataset, and not both"),
        ({"data": ("/nowhere.jsonl",)}, "There is no file"),
        ({"dataset": "none"}, "There is no dataset 'none'"),
        ({"split": "test"}, "choose train or val"),
        ({"model": "none"}, "There is no model 'none'"),
        ({"model": "substitution:none"}, "There is no dataset 'none'"),
        ({"model": "start", "task": "generation"}, "start is for modification, not for generation"),
        ({"task": "swimming"}, "choose generation or modification"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(
    starter: Path, context: TestContext, changes: dict[str, object], words: str
) -> None:
    params = replace(EvaluateParams("starter-generator", dataset="starter"), **changes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=words):
        evaluate(params, context)


def test_empty_parts_and_files_without_pairs_are_said(
    starter: Path, context: TestContext, write: Callable[..., tuple[str, ...]]
) -> None:
    files = write(row("a", -3.0, split="train"))
    with pytest.raises(UserError, match="no structure in its part 'val'"):
        evaluate(EvaluateParams("starter-generator", files, split="val"), context)
    with pytest.raises(UserError, match="has no pairs to modify"):
        evaluate(EvaluateParams("start", files), context)
    with pytest.raises(UserError, match=r"No structure could be read from bad\.jsonl"):
        evaluate(EvaluateParams("starter-generator", write("{", name="bad.jsonl")), context)
    import_files(ImportParams(write(row("a", -3.0, split="train"), name="one.jsonl"), "one", "M"), context)
    with pytest.raises(UserError, match="one has no structure in its part 'val'"):
        find_targets((), "one", "val", False, "", context)


def test_a_file_keeps_its_own_split(context: TestContext, write: Callable[..., tuple[str, ...]]) -> None:
    lines = [row("a", -3.0, split="train"), row("b", -3.0, split="val"), row("c", -3.0, split="validation")]
    names = {
        part: list(evaluation_targets.find_targets(write(*lines), "", part, False, "", context).labels)
        for part in ("", "train", "val")
    }
    assert names == {"": ["a", "b", "c"], "train": ["a"], "val": ["b", "c"]}


def test_methods_are_found_by_name(starter: Path) -> None:
    assert answering("start").about.task == "modification"
    assert answering("starter-generator").about.task == "generation"
    assert answering("substitution:starter").about.task == ""
