"""Every page through Streamlit's AppTest, on a store with what ships and on an empty one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import queue
from core.workflows.datasets import delete_dataset
from core.workflows.generate import GenerateParams, candidates_of, generate
from core.workflows.hulls import get_hull
from core.workflows.models import delete_model, list_models
from core.workflows.store import store
from db import candidates as rows
from tests.aflux_server import AfluxServer
from tests.conftest import ROOT
from tests.workflows.test_workflows import run_of

PAGES = ["home", "datasets", "train", "models", "generate", "modify", "candidates", "hulls", "jobs"]


def open_page(name: str, **query: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(ROOT / "core" / "ui" / "router.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.switch_page(f"../../pages/{name}.py")
    app.run()
    assert not app.exception, [e.value for e in app.exception]
    return app


def said(app: AppTest) -> str:
    """All the words on the page."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    return " ".join(str(element.value) for kind in kinds for element in getattr(app, kind))


@pytest.mark.parametrize("name", PAGES)
def test_pages_open_on_an_empty_store(name: str) -> None:
    app = open_page(name)
    assert app.title[0].value.lower() in {name, "subhull"}
    assert not app.error


@pytest.mark.parametrize("name", PAGES)
def test_pages_open_with_what_ships(starter: Path, name: str) -> None:
    app = open_page(name)
    assert len(said(app)) > 60
    assert not app.error


@pytest.mark.parametrize(("name", "key"), [("train", "job"), ("generate", "job"), ("jobs", "job"), ("modify", "job")])
@pytest.mark.parametrize("value", ["99", "x", "<script>", "-1", "9" * 30])
def test_links_to_what_is_not_there_are_answered(starter: Path, name: str, key: str, value: str) -> None:
    app = open_page(name, **{key: value})
    if value == "99":
        assert "There is no job 99." in said(app)


def test_home_says_what_is_there_and_what_to_do_next(starter: Path) -> None:
    app = open_page("home")
    assert {m.label: m.value for m in app.metric}["structures"] == "3,085"
    assert "generate your first crystals" in said(app)
    assert "CHGNet-0.3.0" in said(app)
    assert "SUBHULL_M3GNET" in said(app), "how to add M3GNet"


def test_a_dataset_is_described_with_its_method(starter: Path) -> None:
    app = open_page("datasets", dataset="starter")
    metrics = {m.label: m.value for m in app.metric}
    assert metrics["formulas"] == "180"
    assert metrics["atoms per cell"] == "4–20"
    assert "M3GNet-MP-2021.2.8" in said(app).replace("\\", "")


def test_importing_without_a_file_or_with_a_bad_name_is_answered(starter: Path) -> None:
    app = open_page("datasets")
    app.button[0].click().run()
    assert "Choose one file or more." in said(app)


@pytest.mark.parametrize("show", ["overview", "polymorphs", "structures", "quality", "recipe", "nonsense"])
def test_every_view_of_a_dataset_opens_by_its_url(starter: Path, show: str) -> None:
    app = open_page("datasets", dataset="starter", show=show, element="Ta", group="191")
    assert not app.error
    assert {b.label for b in app.button} >= {"with Ta", "space group 191"}
    words = {
        "quality": "A second look",
        "recipe": "Where its structures come from",
        "polymorphs": "structures, lowest first",
    }
    assert words.get(show, "space group 191") in said(app) + " ".join(b.label for b in app.button)


@pytest.mark.parametrize(
    "query",
    [
        {"element": "Qq"},
        {"group": "<script>"},
        {"group": "²"},
        {"energy": "nan:nan"},
        {"rows": "²"},
        {"energy": "a:b"},
        {"atoms": "9"},
        {"coordinate": "2:3"},
        {"rows": "9" * 30},
        {"formula": "((("},
        {"reason": "none"},
        {"show": "structures", "energy": "5:-5"},
        {"new": "aflow"},
        {"new": "recipe", "like": "none"},
    ],
)
def test_nonsense_in_the_url_is_met_quietly(starter: Path, query: dict[str, str]) -> None:
    app = open_page("datasets", dataset="starter", **query)
    if query.get("like"):
        assert "There is no dataset 'none'." in app.error[0].value
    else:
        assert not app.error


def test_filters_are_taken_away_by_their_buttons(starter: Path) -> None:
    app = open_page("datasets", dataset="starter", element="Ta", group="191", show="structures")
    before = len(app.dataframe[0].value)
    assert set(app.dataframe[0].value["space group"]) == {191}
    next(b for b in app.button if b.label == "space group 191").click().run()
    assert "group" not in app.query_params
    assert len(set(app.dataframe[0].value["space group"])) > 1
    assert len(app.dataframe[0].value) >= before


@pytest.mark.slow
def test_a_recipe_shows_what_remains_and_is_built_as_a_job(starter: Path, no_workers_left: None) -> None:
    app = open_page("datasets", new="recipe", like="starter")
    assert any(b.label == "Build the dataset of 3,085 structures" for b in app.button)
    app.toggle[0].set_value(True).run()
    stages = app.dataframe[0].value
    assert stages["after"].tolist()[0] == "everything"
    assert stages["structures"].is_monotonic_decreasing
    left = stages["structures"].tolist()[-1]
    assert 0 < left < 3085
    build = next(b for b in app.button if b.label == f"Build the dataset of {left:,} structures")
    build.click().run()
    assert "A name has 1 to 60" in app.error[0].value
    next(t for t in app.text_input if t.label == "Name of the dataset").set_value("filtered").run()
    next(b for b in app.button if b.label.startswith("Build the dataset")).click().run()
    job_id = int(app.query_params["job"][0])
    deadline = time.monotonic() + 60
    while queue.get(job_id).status in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert queue.get(job_id).result["structures"] == left
    app = open_page("datasets", job=str(job_id), new="recipe", dataset="starter")
    assert f"{left:,} structures in the dataset filtered." in said(app)
    app = open_page("datasets", dataset="filtered", show="recipe")
    assert any("7 or more" in str(v) for v in app.dataframe[0].value["value"])


def test_aflow_is_asked_with_the_summons_that_is_shown(
    starter: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = json.loads((shared / "data" / "aflow" / "aflux_geometry_page.json").read_text())
    with AfluxServer(entries) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        app = open_page("datasets", new="aflow")
        assert "Comp. Mat. Sci. 58, 227" in said(app)
        summons = app.text_area[0].value
        assert summons.startswith("species((B:Ta:W),!H,")
        next(b for b in app.button if b.label == "Count the entries").click().run()
        assert "5 entries match." in app.info[0].value
        assert server.requests[0].split("?")[1].startswith(summons[:200])
        app.text_area[0].set_value("species(").run()
        next(b for b in app.button if b.label == "Count the entries").click().run()
        assert "brackets" in app.error[0].value
    next(b for b in app.button if b.label == "Count the entries").click().run()
    assert app.error


@pytest.mark.slow
def test_prototypes_are_counted_before_they_are_made(starter: Path) -> None:
    app = open_page("datasets", new="prototypes")
    assert "structures of" in said(app)
    assert "spglib" in said(app)


def test_a_training_without_a_name_is_refused(starter: Path) -> None:
    app = open_page("train")
    next(b for b in app.button if b.label == "Start training").click().run()
    assert "A name has 1 to 60" in said(app)


@pytest.fixture
def run(starter: Path) -> int:
    params = GenerateParams("starter-generator", ("Ta1B2",), (191,), (), count=4, steps=10)
    context = run_of("generate", params)
    generate(params, context)
    return context.job_id


def test_a_run_shows_its_candidates(run: int) -> None:
    app = open_page("generate", job=str(run))
    assert {m.label: m.value for m in app.metric}["candidates"] == "4"
    assert "as generated" in said(app)
    frame = app.dataframe[0].value
    assert {"id", "formula", "above hull (eV/atom)", "verdict", "group", "asked"} <= set(frame.columns)


def test_candidates_are_offered_to_relax_and_download(run: int) -> None:
    app = open_page("candidates", run=str(run), do="relax")
    assert "4 of 4 candidates" in said(app)
    assert any(b.label == "Relax 4" for b in app.button)
    assert "M3GNet-MP-2021.2.8 is not offered" in said(app), "the choice of potential is never silent"
    assert "relaxed with CHGNet-0.3.0" in said(open_page("candidates", run=str(run), do="hull"))


def test_a_relaxed_candidate_stands_on_the_hull(run: int) -> None:
    view = get_hull("B-Ta-W", "CHGNet-0.3.0")
    with store().session() as session:
        (first, *_) = rows.get_candidates(session, candidates_of(run))
        rows.put_relaxation(
            session, candidate_id=first.id, method=view.row.method, status="converged", steps=3,
            total_before=-8.0, total_after=-8.1, formation_before=-0.5, formation_after=-0.6, cell=first.cell,
        )  # fmt: skip
    app = open_page("candidates", run=str(run), do="hull")
    above = view.hull.place({"Ta": 1, "B": 2}, -0.6).above
    shown = app.dataframe[0].value["above hull (eV/atom) ↑"].dropna()
    assert shown.tolist() == [pytest.approx(above)]
    assert f"{above:.3f} eV/atom above this hull" in said(app)
    assert "no discovery yet" in said(app)


def test_without_a_model_there_are_templates_and_without_any_data_training(starter: Path) -> None:
    for model in list_models():
        delete_model(model.name)
    assert next(s for s in open_page("generate").selectbox if s.label == "Model").options == ["substitution in starter"]
    delete_dataset("starter")
    assert "no model for modification yet" in said(open_page("modify"))
