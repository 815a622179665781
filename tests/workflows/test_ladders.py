"""Ladders of energies: against closed form and the published hull energy, carried over, refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from core.energy.hull import ConvexHull, Phase
from core.energy.hull_source import HullSource, SourcePhase
from core.energy.scales import stand_ins
from core.workflows.context import UserError
from core.workflows.generate import GenerateParams, check_params, count_of, plan
from core.workflows.hulls import get_hull
from core.workflows.hulls_store import put_hull
from core.workflows.ladders import explain, hull_energy, level_at, levels_of, rungs

PUBLISHED = -0.3993  # eV/atom, AFLOW's hull at TaWB6 (the paper)


def test_the_papers_ladders_from_the_published_hull() -> None:
    first, second, third = (rungs(PUBLISHED, ladder) for ladder in (1, 2, 3))
    assert [len(r) for r in (first, second, third)] == [21, 21, 21]
    assert (first[0], first[1], first[-1]) == (-0.3993, -0.4093, -0.5993)
    assert (second[0], second[1], second[-1]) == (-0.3993, -0.4993, -2.3993)
    assert (third[0], third[1], third[-1]) == (-1.3993, -1.4093, -1.5993)
    assert rungs(PUBLISHED, 1, every=5) == (-0.3993, -0.4493, -0.4993, -0.5493, -0.5993)


@pytest.mark.parametrize(("ladder", "every"), [(0, 1), (4, 1), (1, 0), (1, 21)])
def test_there_are_three_ladders_of_21_rungs(ladder: int, every: int) -> None:
    with pytest.raises(UserError):
        rungs(0.0, ladder, every)


def test_the_energy_between_phases_is_their_mixture() -> None:
    """TaWB6 of TaB2, WB2 and B: 3/8 of each boride and 2/8 of boron, which stands at 0."""
    hull = ConvexHull("B-Ta-W", [Phase("a", {"Ta": 1, "B": 2}, -0.70), Phase("b", {"W": 1, "B": 2}, -0.30)])
    assert hull_energy(hull, {"Ta": 1, "W": 1, "B": 6}) == pytest.approx(3 / 8 * -0.70 + 3 / 8 * -0.30)


def aflow_hull(name: str = "published") -> int:
    """A hull of another method whose energy at TaWB6 is the published one."""
    phase = SourcePhase("x", {"Ta": 1.0, "W": 1.0, "B": 6.0}, PUBLISHED)
    return put_hull(HullSource("B-Ta-W", "AFLOW", name, "test", [phase], 1))


def test_a_hull_of_the_models_method_is_used_as_it_is(starter: Path) -> None:
    level = level_at("Ta2W2B12", "M3GNet-MP-2021.2.8")
    own = get_hull("B-Ta-W", "M3GNet-MP-2021.2.8")
    assert level.energy == pytest.approx(own.hull.place({"Ta": 1, "W": 1, "B": 6}, 0.0).hull, abs=1e-9)
    assert not level.carried
    assert explain([level]).startswith("Ladders start at the hull 'starter' of B-Ta-W by M3GNet-MP-2021.2.8")
    assert level_at("TaWB6", "AFLOW", aflow_hull()).energy == pytest.approx(PUBLISHED, abs=1e-9)


def test_a_potentials_hull_stands_for_what_the_potential_learned(starter: Path) -> None:
    ours, level = (level_at("TaWB6", method) for method in ("M3GNet-MP-2021.2.8", "Materials Project"))
    assert (level.energy, level.hull.id, level.stands_in, level.carried) == (ours.energy, ours.hull.id, True, False)
    assert "The model learned energies of the Materials Project; that potential was fitted to them" in explain([level])
    assert "err by 27 meV/atom" in explain([level])
    chosen = get_hull("B-Ta-W", "CHGNet-0.3.0").row.id
    other = level_at("TaWB6", "Materials Project", chosen)
    assert (other.hull.id, other.carried) == (chosen, False), "the one that was chosen, where it may stand in"
    carried = level_at("TaWB6", "Materials Project", aflow_hull())
    assert (carried.energy, carried.carried) == (ours.energy, True)
    assert "the model learned energies by Materials Project" in explain([carried])
    assert stand_ins("Materials Project", ["Ta", "O"]) == (), "oxides' energies are corrected, and were learned bare"
    assert stand_ins("AFLOW", ["Ta", "B"]) == ()


def test_a_ladder_from_another_methods_hull_keeps_its_offsets(starter: Path) -> None:
    hull = aflow_hull()
    ours, carried = (level_at("TaWB6", "M3GNet-MP-2021.2.8", asked) for asked in (None, hull))
    assert carried.carried
    assert carried.energy == ours.energy != pytest.approx(PUBLISHED, abs=1e-3)
    assert "Carried over" in explain([carried])
    assert "AFLOW" in explain([carried])
    params = GenerateParams("starter-generator", ("TaWB6",), (12,), ladders=(1, 3), ladder_hull=hull, count=1)
    ready = check_params(params)
    asked = [(w.series, w.energy) for w in plan(ready)]
    offsets = [round(ours.energy - e, 6) for s, e in asked if s == "ladder 1" and e is not None]
    assert offsets == pytest.approx([0.01 * k for k in range(21)], abs=1e-6)
    assert {s for s, _ in asked} == {"ladder 1", "ladder 3"}
    assert len(asked) == count_of(params) == 42


def test_without_a_hull_of_the_models_method_it_is_refused(starter: Path) -> None:
    hull = aflow_hull()
    with pytest.raises(UserError, match=r"hull chosen is by AFLOW, and there is no hull of B-Ta-W by VASP"):
        level_at("TaWB6", "VASP", hull)
    with pytest.raises(UserError, match=r"There is no hull of B-Ti by M3GNet"):
        levels_of(("TaWB6", "TiB2"), "M3GNet-MP-2021.2.8")
    with pytest.raises(UserError, match="does not name the method"):
        level_at("TaWB6", "")
    with pytest.raises(UserError, match="Ti is not in the hull"):
        level_at("Ti1Ta1B2", "AFLOW", hull)


def test_the_papers_experiment_asks_for_what_the_paper_asked(starter: Path) -> None:
    from core.workflows.experiments import FORMULAS, PAPER_GROUPS

    params = GenerateParams("starter-generator", FORMULAS, PAPER_GROUPS, ladders=(1, 2, 3), count=1)
    wishes = plan(params)
    assert len(PAPER_GROUPS) == 19
    assert len(wishes) == count_of(params) == 3591
    assert math.prod((3, 3, 19, 21)) == 3591
    one = [w for w in wishes if (w.formula, w.series) == ("Ta1W1B6", "ladder 2")]
    assert len(one) == 399
    assert {w.group for w in one} == set(PAPER_GROUPS)
