"""Generation that holds the space group asked for: reached by all, told by spglib, and old runs as they were."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from core.data.symmetry import detect_groups
from core.data.tensors import TRAIN
from core.data.wyckoff_prior import site_prior
from core.jobs.kinds import KINDS
from core.models.state import conditions_for
from core.samplers.diffusion import Diffusion
from core.samplers.drawing import draw_crystals
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.generate import GenerateParams
from core.workflows.held import draw_held, site_weights
from core.workflows.method import asked_of
from core.workflows.methods import method_for
from core.workflows.models import load_model
from tests.workflows.test_workflows import run_of


def test_groups_are_reached_and_a_crystal_is_the_same_in_any_batch(starter: Path) -> None:
    model = load_model("starter-generator")
    contents = [[73, 5, 5], [11] * 4 + [17] * 4, [22] * 4 + [8] * 8, [73, 5, 5], [6] * 5, [73, 5, 5]]
    groups = [191, 225, 62, 230, None, 1]  # nothing with three atoms has 230
    asked = conditions_for(contents, groups, [-0.3] * 6)
    drawn = draw_held(model.network, model.sampler, asked, range(6), 8)
    assert [n[n > 0].tolist() for n in drawn.numbers] == contents
    assert detect_groups(drawn, 0.01)[:3].tolist() == [191, 225, 62]
    free = draw_crystals(model.network, model.sampler, asked, range(6), 8)
    assert detect_groups(free, 0.1)[:3].tolist() != [191, 225, 62]
    torch.testing.assert_close(drawn.frac[3:], free.frac[3:], atol=1e-5, rtol=0)
    alone = draw_held(model.network, model.sampler, asked[torch.tensor([2])], [2], 8)
    torch.testing.assert_close(alone.frac[0], drawn.frac[2, :12], atol=1e-4, rtol=0)
    torch.testing.assert_close(alone.lattice[0], drawn.lattice[2], atol=1e-3, rtol=0)


def test_starts_take_the_sites_of_known_structures(starter: Path) -> None:
    """Of a structure's own content and group its own sites are among those that weigh."""
    data = load_tensors(get_dataset("starter"))
    rows = data.part(TRAIN)
    known = data.crystals[rows[data.crystals.group[rows] > 190][:1]]
    group, numbers = int(known.group[0]), sorted(known.numbers[0][known.mask[0]].tolist())
    counts = [numbers.count(z) for z in sorted(set(numbers))]
    weights = site_weights("starter")
    assert set(site_prior(known, group, counts)) <= set(weights(group, counts))
    method = method_for("generation", "starter-generator", "", True, "starter")
    asked = asked_of([tuple(numbers)] * 3, [group] * 3, [None] * 3, range(3), range(3))
    drawn = method.draw(asked, 4, run_of("generate", GenerateParams("starter-generator", ("Ta1B2",)))).crystals
    assert detect_groups(drawn, 0.01).tolist() == [group] * 3
    with pytest.raises(UserError, match="There is no dataset 'nowhere'"):
        method_for("generation", "starter-generator", "", True, "nowhere")


def test_methods_that_cannot_hold_a_group_draw_freely(starter: Path) -> None:
    model = load_model("starter-generator")
    asked = conditions_for([[73, 5, 5]], [191], [None])
    held, free = (draw(model.network, Diffusion("ddim"), asked, [1], 4) for draw in (draw_held, draw_crystals))
    assert torch.equal(held.frac, free.frac)


def test_settings_from_before_mean_what_they_meant() -> None:
    params = GenerateParams("starter-generator", ("Ta1B2",), (191,))
    kind = KINDS["generate"]
    assert kind.parse(asdict(params)) == params
    assert params.hold_group
    old = {key: value for key, value in asdict(params).items() if key != "hold_group"}
    assert kind.parse(old) == replace(params, hold_group=False)
