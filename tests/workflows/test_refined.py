"""Templates refined by a network, and the best of both: whose turn it is, what is kept, what comes near."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.data.symmetry import has_group
from core.data.tensors import VALIDATION
from core.evaluation.matching import cell_distances
from core.evaluation.pool import cells_of
from core.workflows import refined
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.evaluate import EvaluateParams, evaluate, told
from core.workflows.method import Asked
from core.workflows.methods import find_method, label_of, list_methods, name_of
from core.workflows.recorded import method_here, recorded_method
from core.workflows.refined import OWN, Refined, turn
from core.workflows.store import store
from tests.conftest import TestContext

REFINE, BEST = "refine:starter-generator:starter", "best:starter-generator:starter"


def asked(count: int, samples: int = 1) -> Asked:
    """Validation structures with their groups, each so many times."""
    data = load_tensors(get_dataset("starter"))
    target = data.crystals[data.part(VALIDATION)[::12][:count]].to(dtype=torch.float64).trim()
    index = torch.arange(len(target)).repeat_interleave(samples)
    return told(target, None, ("space-group",))[index].seeded(list(range(samples)) * len(target), range(len(index)))


def test_turns_go_by_confidence() -> None:
    assert [turn(k, []) for k in range(3)] == [None] * 3
    assert [turn(k, [0.9, 0.5, 0.01]) for k in range(4)] == [0, 1, None, None]
    second = OWN * (1 - OWN)
    assert [turn(k, [0.9, second + 0.001, second - 0.001]) for k in range(5)] == [0, None, 1, None, 2]


def test_names_and_hashes_are_of_both_parts(starter: Path) -> None:
    assert [n for n in list_methods("generation") if ":" in n] == ["substitution:starter", REFINE, BEST]
    for name in (REFINE, BEST, "substitution:starter"):
        assert name_of(label_of(name)) == name
    about = find_method(REFINE).about
    assert about.task == ""
    assert about.hash not in (find_method(BEST).about.hash, find_method("substitution:starter").about.hash)
    with store().session() as session:
        known = recorded_method(session, REFINE)
    assert known is not None
    assert known["templates_hash"] == get_dataset("starter").hash
    assert method_here(REFINE, known) == REFINE
    with pytest.raises(UserError, match="refine:MODEL:DATASET"):
        find_method("refine:starter-generator")
    with pytest.raises(UserError, match="There is no model 'none'"):
        find_method("best:none:starter")


def test_a_template_is_moved_and_keeps_its_symmetry(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, context = asked(8), TestContext(starter)
    templates = find_method("substitution:starter").draw(wanted, 1, context)
    method = find_method(REFINE)
    assert isinstance(method, Refined)
    drawn = method.draw(wanted, 4, context)
    assert (drawn.which, drawn.origins) == (templates.which, templates.origins)
    groups = templates.crystals.group.tolist()
    kept = [has_group(drawn.crystals, i, g) for i, g in enumerate(groups)]
    assert sum(kept) >= len(kept) - 1, "as its template has it, unless it gains some"
    assert not torch.allclose(drawn.crystals.lattice, templates.crystals.lattice)
    monkeypatch.setattr(refined, "LATE", 0.9999)
    near = find_method(REFINE).draw(wanted, 1, context)
    pairs = list(zip(cells_of(near.crystals), cells_of(templates.crystals), strict=True))
    distances = cell_distances(pairs, "paper")
    assert all(d is not None and d < 0.02 for d in distances), "begun at the end, it is the template"


def test_the_best_of_both_answers_every_sample(starter: Path) -> None:
    wanted, context = asked(3, samples=4), TestContext(starter)
    drawn = find_method(BEST).draw(wanted, 3, context)
    assert drawn.which == list(range(12))
    own = [i for i, origin in enumerate(drawn.origins) if origin is None]
    assert 0 < len(own) < 12
    alone = find_method("starter-generator").draw(wanted[torch.tensor(own)], 3, context)
    torch.testing.assert_close(
        drawn.crystals[own].trim().frac, alone.crystals.trim().frac.double(), atol=1e-4, rtol=0
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("task", ["generation", "modification"])
def test_both_are_evaluated_like_any_other(starter: Path, tmp_path: Path, task: str) -> None:
    for name in (REFINE, BEST):
        params = EvaluateParams(name, dataset="starter", split="val", limit=6, steps=3, atoms=(4, 8), task=task)
        result = evaluate(params, TestContext(tmp_path / name.replace(":", "-")))
        assert (result["model"], result["task"], result["targets"]) == (name, task, 6)
