"""The whole chain as one job: draw, judge, relax or take energies, place; interrupted, stopped, gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.evaluation.validity import MIN_DISTANCE
from core.workflows.chain import AS_DRAWN, Chain, check_chain, count_energies, stages_of
from core.workflows.context import Cancelled, UserError
from core.workflows.design_cost import cost_of
from core.workflows.experiments import TA_W_B, as_csv, table_of
from core.workflows.generate import GenerateParams, check_params, generate, plan
from core.workflows.hulls import get_hull, place_candidates
from core.workflows.methods import find_method
from core.workflows.relax import trajectory_path
from core.workflows.store import store
from db import candidates as rows
from db.tables import Candidate, Relaxation
from tests.conftest import TestContext
from tests.workflows.test_ladders import aflow_hull
from tests.workflows.test_workflows import run_of

CHGNET = "CHGNet-0.3.0"
PARAMS = GenerateParams(
    "starter-generator", ("Ta1B2",), (191,), (-0.4, -0.5), count=3, steps=6, potential="chgnet", relax_steps=4
)


class Stopping(TestContext):
    """Asked to stop once a message holds some words."""

    def __init__(self, of: TestContext, words: str) -> None:
        super().__init__(of.folder)
        self.job_id, self.words = of.job_id, words

    def cancelled(self) -> bool:
        return any(self.words in message for message in self.messages)


def made(job_id: int) -> tuple[list[Candidate], list[Relaxation]]:
    with store().session() as session:
        found = rows.page_candidates(session, rows.CandidateFilter(job_id=job_id), limit=1000)
        return found, rows.relaxations(session, [c.id for c in found])


def able(candidates: list[Candidate]) -> list[Candidate]:
    """Those that meet the field's criterion: they are relaxed, valid or not."""
    return [c for c in candidates if c.min_distance >= MIN_DISTANCE and 2 <= c.volume <= 200]


def test_one_job_draws_judges_relaxes_and_places(starter: Path) -> None:
    run = run_of("generate", PARAMS)
    result = generate(PARAMS, run)
    candidates, relaxed = made(run.job_id)
    valid = [c for c in candidates if c.valid]
    assert (result["candidates"], result["valid"]) == (6, len(valid))
    assert result["relaxed"] + result["failed"] == len(relaxed) == len(able(candidates))
    counted = count_energies(run.job_id, CHGNET)
    assert counted == (len(relaxed), len(relaxed), 0, result["failed"]), "what the page says is what the store holds"
    assert (result["method"], result["as_drawn"]) == (CHGNET, 0)
    placed = place_candidates([c.id for c in able(candidates)], get_hull("B-Ta-W", CHGNET))
    above = {p.candidate.id: p.place.above for p in placed if p.place}
    best = result["lowest"][0]
    assert best["above"] == pytest.approx(min(above.values()), abs=1e-9)
    assert above[best["candidate"]] == pytest.approx(best["above"], abs=1e-9)
    assert result["below_hull"] == sum(v < -1e-9 for v in above.values())
    assert (best["formula"], best["series"], best["relaxed"]) == ("TaB2", "", True)
    said = " | ".join(run.messages)
    assert "1–2 of 4 · drawing and judging 6 of 6" in said
    assert f"3 of 4 · relaxing {len(relaxed)} of {len(relaxed)} that can be" in said
    assert "4 of 4 · placing on the hull" in said


def test_stopped_while_relaxing_it_keeps_what_is_done_and_repeats_nothing(
    starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.workflows.chain._PART", 2)
    run = run_of("generate", PARAMS)
    with pytest.raises(Cancelled):
        generate(PARAMS, Stopping(run, "relaxing 2 of"))
    candidates, relaxed = made(run.job_id)
    assert len(candidates) == 6
    assert 2 <= len(relaxed) < len(able(candidates))
    stamps = {r.candidate_id: (r.created_at, r.total_after) for r in relaxed}
    monkeypatch.setattr("core.workflows.methods.Trained.draw", lambda *_: pytest.fail("nothing is drawn again"))
    result = generate(PARAMS, run)
    again = {r.candidate_id: (r.created_at, r.total_after) for r in made(run.job_id)[1]}
    assert len(again) == result["relaxed"] + result["failed"] == len(able(candidates))
    assert {i: again[i] for i in stamps} == stamps, "what was relaxed stays as it was"


def test_stopped_while_drawing_it_goes_on(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.workflows.design._BATCH", 2)
    params = replace(PARAMS, relax="none")
    run = run_of("generate", params)
    with pytest.raises(Cancelled):
        generate(params, Stopping(run, "drawing and judging 2 of"))
    first = made(run.job_id)[0]
    assert len(first) == 2
    assert generate(params, run)["candidates"] == 6
    after = {c.id: c.cell for c in made(run.job_id)[0]}
    assert {c.id: c.cell for c in first}.items() <= after.items()


def test_energies_as_drawn_are_rows_without_a_relaxation(starter: Path) -> None:
    params = replace(PARAMS, relax="none")
    run = run_of("generate", params)
    result = generate(params, run)
    candidates, found = made(run.job_id)
    good = [r for r in found if not r.status.startswith("failed")]
    assert (result["relaxed"], result["as_drawn"]) == (0, len(good))
    assert len(found) == len(able(candidates))
    for row in good:
        assert (row.status, row.steps, row.cell, row.total_after, row.formation_after) == (
            AS_DRAWN,
            0,
            None,
            None,
            None,
        )
        assert row.total_before is not None
        assert row.formation_before is not None
    view = get_hull("B-Ta-W", CHGNET)
    expected = min(view.hull.place({"Ta": 1, "B": 2}, r.formation_before).above for r in good if r.formation_before)
    assert result["lowest"][0]["above"] == pytest.approx(expected, abs=1e-9)
    assert not result["lowest"][0]["relaxed"]
    placed = place_candidates([c.id for c in candidates], view)
    assert {p.problem for p in placed if p.relaxation and p.relaxation.status == AS_DRAWN} == {
        "energy as drawn, not relaxed with CHGNet-0.3.0"
    }
    stamps = {r.candidate_id: r.created_at for r in found}
    generate(params, run)
    assert {r.candidate_id: r.created_at for r in made(run.job_id)[1]} == stamps


def test_experiments_are_gathered_over_their_runs(starter: Path) -> None:
    few = GenerateParams(
        "starter-generator", ("Ta1W1B6", "Ta2W1B5"), (12,), ladders=(1, 2), every=20, count=1, steps=4,
        potential="chgnet", relax="none", experiment=TA_W_B,
    )  # fmt: skip
    results = []
    for seed in (0, 1):
        params = check_params(replace(few, seed=seed))
        run = run_of("generate", params)
        results.append(generate(params, run))
    table = table_of()
    keys = {(f.series, f.formula) for f in table}
    assert keys <= {(f"ladder {k}", u) for k in (1, 2) for u in ("TaWB6", "Ta2WB5")}
    assert keys
    for row in table:
        ours = [
            r
            for result in results
            for r in result["lowest"]
            if (r["series"], r["formula"]) == (row.series, row.formula)
        ]
        assert row.above == min(r["above"] for r in ours)
        assert row.placed == sum(r["placed"] for r in ours)
        assert (row.method, row.relaxed, row.model) == (CHGNET, False, "starter-generator")
    lines = as_csv(table).splitlines()
    assert len(lines) == 1 + len(table)
    assert lines[0].startswith("model,ladder,composition,above_hull_meV_per_atom")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"potential": "none"}, "there is no such potential"),
        ({"relax": "all"}, "no way 'all' to relax"),
        ({"fmax": 0.0}, "larger than 0"),
        ({"hull": 99}, "There is no hull 99"),
        ({"compare": ("nowhere",)}, "There is no dataset"),
        ({"formulas": ("Ta1W1B6",) * 2000, "ladders": (1, 2, 3)}, "100,000 is the limit"),
        ({"ladders": (7,)}, "no ladder 7"),
        ({"model": "starter-modifier"}, "modifies structures"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_start(starter: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_params(replace(PARAMS, **changes))  # type: ignore[arg-type]


def test_a_hull_of_another_method_is_refused(starter: Path) -> None:
    with pytest.raises(UserError, match="never meet on one hull"):
        check_chain(Chain(potential="chgnet", hull=aflow_hull()))


def test_the_stages_and_what_they_cost(starter: Path) -> None:
    assert stages_of(Chain()) == ("draw", "judge")
    assert stages_of(PARAMS) == ("draw", "judge", "relax", "place")
    assert stages_of(replace(PARAMS, relax="none")) == ("draw", "judge", "energies", "place")
    model = find_method("starter-generator")
    sizes = [len(w.numbers) for w in plan(PARAMS)]
    cost, double = (cost_of(model, s, 6, PARAMS) for s in (sizes, sizes * 2))
    assert double.total_s == pytest.approx(2 * cost.total_s, rel=0.01)
    assert cost_of(model, sizes, 12, PARAMS).draw_s > cost.draw_s
    assert cost_of(model, sizes, 6, replace(PARAMS, relax="none")).relax_s < cost.relax_s
    assert cost_of(model, sizes, 6, replace(PARAMS, potential=None)).relax_s == 0


def test_the_same_template_is_relaxed_once_and_every_candidate_has_what_came_of_it(starter: Path) -> None:
    energies = (-0.7, -0.701, -0.702)
    params = replace(
        PARAMS, model="substitution:starter", formulas=("Ta2B4",), space_groups=(), energies=energies, count=1
    )
    run = run_of("generate", params)
    result = generate(params, run)
    candidates, relaxed = made(run.job_id)
    assert len(candidates) == 3
    assert len({c.cell for c in candidates}) == 1
    assert result["relaxed"] == len(relaxed) == 3
    assert len({(r.steps, r.formation_after, r.cell) for r in relaxed}) == 1
    assert "3 of 4 · relaxing 1 of 1 that can be" in " | ".join(run.messages)
    assert all(trajectory_path(run.folder, c.id).is_file() for c in candidates)
