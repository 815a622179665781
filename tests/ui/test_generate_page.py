"""The Generate page through AppTest: conditions, the URL, warnings, counts, the start, a run with its stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import queue
from core.jobs.kinds import KINDS
from core.ui.conditions import parse_energies
from core.ui.energy_input import energies_between
from core.ui.experiment_view import pivot
from core.ui.generate_form import url_of
from core.ui.run_view import stages
from core.workflows.context import UserError
from core.workflows.experiments import PAPER_GROUPS, TA_W_B, Lowest, table_of
from core.workflows.generate import GenerateParams, check_params, count_of, generate
from core.workflows.ladders import level_at
from core.workflows.store import store
from db import jobs
from tests.ui.test_pages import open_page, said
from tests.workflows.test_ladders import aflow_hull
from tests.workflows.test_workflows import run_of

FEW = GenerateParams("starter-generator", ("Ta1B2",), (191,), (-0.4,), count=2, steps=4)


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "tick", lambda: None)


def box(app: AppTest, label: str) -> object:
    return next(t for t in app.text_input if t.label == label)


def choose(app: AppTest, label: str, value: object) -> AppTest:
    """One of a segmented control or of pills."""
    found = next(b for b in app.button_group if b.label == label)
    return found.set_value(value).run()  # type: ignore[no-any-return]


def start(app: AppTest) -> GenerateParams:
    """Press the button; the params of the job that waits."""
    next(b for b in app.button if b.label.startswith("Generate ")).click().run()
    assert not app.exception, [e.value for e in app.exception]
    value = app.query_params["job"]
    job = queue.get(int(value if isinstance(value, str) else value[0]))
    params: GenerateParams = KINDS["generate"].parse(job.params)
    return params


def test_conditions_are_read_while_they_are_typed(starter: Path) -> None:
    app = open_page("generate", model="starter-generator")
    assert "**TaWB6** :small[8 atoms in the cell · Ta, W, B]" in said(app)
    assert "TaWB6 has no relative" in said(app)
    box(app, "Composition").set_value("Ta1B2, Ti2B4").run()
    assert any(b.label == "Generate 16 candidates" for b in app.button)
    assert "no relative" not in said(app)
    choose(app, "Formation energies", "list")
    box(app, "Energies, eV/atom").set_value("-0.4; -0.3").run()
    assert any(b.label == "Generate 32 candidates" for b in app.button)
    box(app, "Energies, eV/atom").set_value("low").run()
    assert "is no number" in app.error[0].value
    assert next(b for b in app.button if b.label == "Generate").disabled
    box(app, "Energies, eV/atom").set_value("").run()
    box(app, "Composition").set_value("Qq2").run()
    assert "'Qq' is no element" in app.error[0].value
    box(app, "Composition").set_value("Ta60W60").run()
    assert "does not fit: a cell may hold 64 here" in said(app)


def test_groups_come_by_text_system_and_list(starter: Path) -> None:
    app = open_page("generate", model="starter-generator")
    choose(app, "Add", "triclinic")
    choose(app, "Add", "the paper's 19")
    assert (
        box(app, "Space groups").value
        == "1, 2, 6, 8, 10, 12, 25, 35, 44, 47, 65, 71, 99, 119, 123, 129, 139, 160, 166, 216, 225"
    )
    assert "21 space groups: 1 P1, 2 P-1, 6 Pm" in said(app)
    assert "not in the training data: 6, 8, 10, 25, 35, 44, 47, 71, 119, 216" in said(app)
    next(s for s in app.selectbox if s.label == "Find one").set_value(191).run()
    assert box(app, "Space groups").value.endswith("166, 191, 216, 225")
    choose(app, "Add", "clear all")
    assert box(app, "Space groups").value == ""
    box(app, "Space groups").set_value("Qq3m").run()
    assert "is no space group" in app.error[0].value
    assert next(b for b in app.button if b.label == "Generate").disabled


def test_the_form_opens_cold_by_its_url(starter: Path) -> None:
    app = open_page(
        "generate", formula="Ta1B2, Ti1B2", units="all that fit", atoms="9", groups="6-10, 225", energy="range",
        to="-0.4", count="3", seed="11", steps="20", sampler="heun", then="nothing", symmetrise="true", step="0.1",
    )  # fmt: skip
    assert any(b.label == f"Generate {2 * 3 * 6 * 2 * 3} candidates" for b in app.button)
    params = start(app)
    assert params.formulas == ("Ta1B2", "Ta2B4", "Ta3B6", "Ti1B2", "Ti2B4", "Ti3B6")
    assert params.space_groups == (6, 7, 8, 9, 10, 225)
    assert params.energies == (-0.3, -0.4)
    assert (params.count, params.seed, params.steps, params.sampler) == (3, 11, 20, "heun")
    assert (params.potential, params.symmetrise) == (None, True)


def test_more_like_this_asks_for_the_same_with_another_seed(starter: Path) -> None:
    wanted = check_params(
        replace(FEW, ladders=(1, 3), energies=(), every=10, potential="chgnet", relax="positions", relax_steps=33)
    )
    app = open_page("generate", **url_of(wanted))
    assert start(app) == replace(wanted, seed=1)
    listed = replace(FEW, energies=(-0.4, 0.25), potential=None, hold_group=False)
    app = open_page("generate", **url_of(listed))
    assert start(app) == replace(listed, seed=1)


def test_a_ladder_says_whose_hull_it_is(starter: Path) -> None:
    aflow_hull()
    app = open_page("generate", model="starter-generator", energy="ladders")
    assert "Ladders start at the hull 'starter' of B-Ta-W by M3GNet-MP-2021.2.8 (TaWB6 −0.4143 eV/atom)" in said(app)
    assert "ladder 1: −0.414 to −0.614 eV/atom" in said(app)
    hulls = next(s for s in app.selectbox if s.label == "Hull they start at")
    hulls.set_value(next(i for i in hulls.options if "AFLOW" in i)).run()
    assert "Carried over: the model learned energies by M3GNet-MP-2021.2.8, the hull chosen is by AFLOW" in said(app)
    box(app, "Composition").set_value("Fe2O3").run()
    assert "There is no hull of Fe-O by M3GNet-MP-2021.2.8" in said(app) or "no hull of Fe-O" in app.error[0].value
    assert next(b for b in app.button if b.label == "Generate").disabled


def test_the_papers_experiments_are_one_click(starter: Path) -> None:
    app = open_page("generate", model="starter-generator", what="the paper's experiments", then="as drawn")
    assert any(b.label == "Generate 3,591 candidates" for b in app.button)
    assert {m.label: m.value for m in app.metric}["candidates"] == "3,591"
    assert "10 of the 19 space groups not in the training data" in said(app)
    choose(app, "Energies per ladder", "3")
    next(r for r in app.radio if r.label == "Space groups").set_value("of the 19, those the model saw").run()
    assert "Shortened: the paper asked for 19 groups and 21 energies" in said(app)
    params = start(app)
    assert (params.experiment, params.count, params.ladders, params.every) == (TA_W_B, 1, (1, 2, 3), 10)
    assert set(params.space_groups) < set(PAPER_GROUPS)
    assert count_of(params) == 3 * 9 * 9
    assert len(params.levels) == 3


def test_too_many_are_refused_with_their_number(starter: Path) -> None:
    app = open_page("generate", groups="1-230", energy="ladders", count="1000")
    assert "That asks for 4,830,000 candidates; 100,000 is the limit." in said(app)
    assert next(b for b in app.button if b.label == "Generate").disabled


@pytest.mark.parametrize(
    "query",
    [
        {"model": "<b>", "formula": "</script>", "groups": "<img>", "energy": "x", "count": "-5", "potential": "x"},
        {"energy": "range", "from": "nan", "to": "1e9", "step": "-1", "steps": "x", "device": "cuda:99"},
        {"what": "x", "units": "chosen", "z": "99", "ladders": "9", "hull": "none", "then": "?", "seed": "1e400"},
    ],
)
def test_nonsense_in_the_url_is_answered_in_words(starter: Path, query: dict[str, str]) -> None:
    app = open_page("generate", **query)
    assert len(said(app)) > 60
    assert all("fault of the app" not in e.value for e in app.error)


def test_a_run_shows_its_stages_and_what_came_of_it(starter: Path) -> None:
    params = check_params(replace(FEW, potential="chgnet", relax="none", energies=(), ladders=(2,), every=10))
    run = run_of("generate", params)
    result = generate(params, run)
    with store().session() as session:
        jobs.update_job(session, run.job_id, result=result)
    app = open_page("generate", job=str(run.job_id))
    words = said(app).replace("\\", "")
    assert "**Draw**  \n:small[6 of 6]" in words
    assert "**Energies**" in words
    assert f"{result['as_drawn']} of {result['as_drawn']} that can have one, CHGNet-0.3.0" in words
    assert "**Place on the hull**" in words
    assert "B-Ta-W by CHGNet-0.3.0 (starter), as drawn" in words
    frame = next(d.value for d in app.dataframe if "above hull (meV/atom)" in d.value)
    assert frame["above hull (meV/atom)"].min() == pytest.approx(1000 * result["lowest"][0]["above"])
    app = open_page("generate", **url_of(params))
    assert any(b.label == "Generate 6 candidates" for b in app.button)


@pytest.mark.parametrize(
    ("status", "states"),
    [
        ("queued", ["waiting", "waiting", "waiting", "waiting"]),
        ("running", ["active", "active", "waiting", "waiting"]),
        ("failed", ["stopped", "stopped", "waiting", "waiting"]),
    ],
)
def test_the_stages_of_a_run_on_its_way(starter: Path, status: str, states: list[str]) -> None:
    params = replace(FEW, potential="chgnet")
    run = run_of("generate", params)
    with store().session() as session:
        jobs.update_job(session, run.job_id, status=status, error="The disk is full.")
    found = stages(queue.get(run.job_id), params, 2)
    assert [s.state for s in found] == states
    assert [s.key for s in found] == ["draw", "judge", "relax", "place"]
    words = said(open_page("generate", job=str(run.job_id))) if status != "running" else ""
    assert ("The disk is full." in words) == (status == "failed")


def test_an_experiment_ends_in_its_table(starter: Path) -> None:
    params = check_params(
        GenerateParams(
            "starter-generator", ("Ta1W1B6",), (12,), ladders=(1, 2), every=20, count=3, steps=20, potential="chgnet",
            relax="none", experiment=TA_W_B,
        )
    )  # fmt: skip
    run = run_of("generate", params)
    result = generate(params, run)
    words = said(open_page("generate", job=str(run.job_id)))
    assert "The paper's Table 3, with the models here" in words
    assert "CHGNet-0.3.0 on B-Ta-W by CHGNet-0.3.0 (starter)" in words
    assert "−5.497 (flow matching, ladder 2, Ta2WB5)" in words
    frame = pivot(table_of())
    lowest = {row["series"].removeprefix("ladder "): 1000 * row["above"] for row in result["lowest"]}
    assert dict(zip(frame["ladder"], frame["TaWB6"], strict=True)) == pytest.approx(lowest)
    assert lowest


def test_the_table_has_a_row_for_each_model_and_ladder() -> None:
    def cell(model: str, ladder: int, unit: str, above: float) -> Lowest:
        return Lowest(model, f"ladder {ladder}", unit, above, -0.4, 1, "1-1", 1, True, 9, "VASP", "h")

    frame = pivot([cell("a", 1, "TaWB6", 0.002), cell("a", 1, "Ta2WB5", -0.0054), cell("b", 3, "TaWB6", 0.01)])
    assert frame[["model", "ladder"]].to_numpy().tolist() == [["a", "1"], ["b", "3"]]
    assert frame.loc[0, "TaWB6"] == pytest.approx(2.0)
    assert frame.loc[0, "Ta2WB5"] == pytest.approx(-5.4)
    assert bool(frame["Ta2WB5"].isna()[1])
    assert frame["TaW2B5"].isna().all(), "every composition has its column"


def test_ranges_meet_their_end_where_a_step_does() -> None:
    assert energies_between(-0.3, -0.5, 0.05) == (-0.3, -0.35, -0.4, -0.45, -0.5)
    assert energies_between(0.0, 0.25, 0.1) == (0.0, 0.1, 0.2)
    assert energies_between(0.1, 0.1, 1.0) == (0.1,)
    for wrong in ((0.0, 1.0, 0.0), (0.0, 10.0, 0.001)):
        with pytest.raises(UserError):
            energies_between(*wrong)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-0.4, -0.3", (-0.4, -0.3)),
        ("-0.05; -0,1", (-0.05, -0.1)),
        ("-0,4 -0,3", (-0.4, -0.3)),
        ("0.4,0.3", (0.4, 0.3)),
        ("-1,-2", (-1.0, -2.0)),
        ("−0.4\n-0.3", (-0.4, -0.3)),
    ],
)
def test_a_comma_is_decimal_where_something_else_separates(text: str, found: tuple[float, ...]) -> None:
    assert parse_energies(text) == found


@pytest.mark.parametrize("text", ["0,1", "1,2,3", "-0,4, -0,3"])
def test_a_comma_that_could_be_either_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="can be one number or two"):
        parse_energies(text)


def test_elements_that_are_clicked_write_into_the_formula(starter: Path) -> None:
    """The box has its default by the session alone: a widget with both warns."""
    app = open_page("generate")
    assert box(app, "Composition").value == "Ta1W1B6"
    next(b for b in app.button if b.label == "Clear").click().run()
    assert box(app, "Composition").value == ""
    next(b for b in app.button if b.label == "Another formula").click().run()
    assert not app.exception
    assert not [w for w in app.warning if "default value" in w.value]


def test_a_range_begins_at_the_hull_of_the_composition(starter: Path) -> None:
    app = open_page("generate", formula="Ta1B2", energy="range")
    level = level_at("TaB2", "M3GNet-MP-2021.2.8").energy
    first = next(n for n in app.number_input if n.label == "From, eV/atom")
    assert first.value == pytest.approx(level, abs=6e-4)
    assert f"The hull of TaB2 by M3GNet-MP-2021.2.8 is at −{abs(level):.3f}" in said(app).replace("\\", "")
    box(app, "Composition").set_value("Ta1B1").run()
    other = level_at("TaB", "M3GNet-MP-2021.2.8").energy
    assert next(n for n in app.number_input if n.label == "From, eV/atom").value == pytest.approx(other, abs=6e-4)
    next(n for n in app.number_input if n.label == "From, eV/atom").set_value(-0.1).run()
    box(app, "Composition").set_value("Ta1B2").run()
    assert next(n for n in app.number_input if n.label == "From, eV/atom").value == -0.1, "what was typed stays"


def test_the_shortest_of_the_papers_experiments(starter: Path) -> None:
    app = open_page("generate", what="the paper's experiments", xgroups="a single one, for a quick test")
    assert any(b.label == "Generate 27 candidates" for b in app.button)


def test_a_cancelled_run_is_placed_as_far_as_it_got(starter: Path) -> None:
    params = check_params(replace(FEW, potential="chgnet", relax="none"))
    run = run_of("generate", params)
    result = generate(params, run)
    with store().session() as session:
        jobs.update_job(session, run.job_id, status="cancelled")
    found = {s.key: s for s in stages(queue.get(run.job_id), params, 3)}
    energies = result["as_drawn"] + result["failed"]
    if energies:
        assert found["energies"].about.startswith(f"{energies} of {energies} that can have one")
        assert found["place"].about.startswith("of what it has done: ")
    else:
        assert found["place"].about == "ended before anything was placed"
    assert found["place"].state == ("stopped" if found["energies"].state == "done" else "waiting")


def test_substitution_is_chosen_like_a_model(starter: Path) -> None:
    """By the list, by a link with its name, and again by a run's own link; its answers are few and say of what."""
    app = open_page("generate", model="substitution:starter", formula="Ta9B31")
    picker = next(s for s in app.selectbox if s.label == "Model")
    assert picker.options[:5] == ["generator", "starter-generator", "perov_5", "carbon_24", "substitution in starter"]
    assert picker.value == "substitution:starter"
    assert "Known structures of this dataset with the new elements put in" in said(app)
    assert "starter holds no structure of the same pattern" in said(app)
    assert not [n for n in app.number_input if n.label.startswith("Steps")]
    next(b for b in app.button if b.label == "Generate 8 candidates").click().run()
    assert "there is nothing to exchange elements in. Choose another composition" in app.error[0].value
    box(app, "Composition").set_value("Ta2B4").run()
    params = start(app)
    assert (params.model, params.formulas, params.steps, params.sampler) == (
        "substitution:starter", ("Ta2B4",), 1, "",
    )  # fmt: skip
    assert start(open_page("generate", **url_of(params))) == replace(params, seed=1)
    scarce = GenerateParams("substitution:starter", ("Ta1W1B6",), (191, 12), count=300)
    run = run_of("generate", scarce)
    result = generate(scarce, run)
    with store().session() as session:
        jobs.update_job(session, run.job_id, status="done", result=result)
    app = open_page("generate", job=str(run.job_id))
    assert f"{result['missing']} candidates fewer than asked for: there are no more templates" in said(app)
    assert "substitution in starter: Ta1W1B6; 2 space groups; 300 each" in said(app)
