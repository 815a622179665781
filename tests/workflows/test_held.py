"""Generation that holds the space group asked for: reached by all, told by spglib, and old runs as they were."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from core.data.symmetry import detect_groups
from core.jobs.kinds import KINDS
from core.models.state import conditions_for
from core.samplers.diffusion import Diffusion
from core.samplers.drawing import draw_crystals
from core.workflows.generate import GenerateParams
from core.workflows.held import draw_held
from core.workflows.models import load_model


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
