"""Every page through Streamlit's AppTest, on a store with what ships and on an empty one."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.workflows.generate import GenerateParams, candidates_of, generate
from core.workflows.hulls import get_hull
from core.workflows.models import list_models
from core.workflows.store import store
from db import candidates as rows
from tests.conftest import ROOT
from tests.data.test_readers import TIB2, cif_of
from tests.workflows.test_workflows import run_of

PAGES = ["home", "datasets", "train", "models", "generate", "modify", "candidates", "hulls", "jobs"]


def open_page(name: str, **query: str) -> AppTest:
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
    assert "M3GNet-MP-2021.2.8" in said(app)


def test_importing_without_a_file_or_with_a_bad_name_is_answered(starter: Path) -> None:
    app = open_page("datasets")
    app.button[0].click().run()
    assert "Choose one file or more." in said(app)


def test_a_training_without_a_name_is_refused(starter: Path) -> None:
    app = open_page("train")
    next(b for b in app.button if b.label == "Start training").click().run()
    assert "A name has 1 to 60" in said(app)


def test_generate_counts_before_the_start_and_warns(starter: Path) -> None:
    app = open_page("generate")
    assert "TaWB6 has no relative" in said(app)
    assert any(b.label == "Generate 8 candidates" for b in app.button)
    app.text_input[0].set_value("Ta1B2, Ti2B4").run()
    app.text_input[1].set_value("-0.4; -0.3").run()
    assert any(b.label == "Generate 32 candidates" for b in app.button)
    assert "no relative" not in said(app)
    app.text_input[0].set_value("Qq2").run()
    assert "'Qq' is no element" in app.error[0].value
    app.text_input[0].set_value("Ta1B2").run()
    app.text_input[1].set_value("low").run()
    assert "is no number" in app.error[0].value


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
    assert {"composition", "group asked", "group found", "shortest distance (Å)"} <= set(frame.columns)


def test_candidates_are_offered_to_relax_and_download(run: int) -> None:
    app = open_page("candidates", run=str(run))
    assert "all 4 valid ones" in said(app) or "valid ones of this page" in said(app)
    assert any(b.label.startswith("Relax ") for b in app.button)
    assert "not relaxed with CHGNet-0.3.0" in said(app)
    assert "M3GNet-MP-2021.2.8 is not offered" in said(app), "the choice of potential is never silent"


def test_a_relaxed_candidate_stands_on_the_hull(run: int) -> None:
    view = get_hull("B-Ta-W", "CHGNet-0.3.0")
    with store().session() as session:
        (first, *_) = rows.get_candidates(session, candidates_of(run))
        rows.put_relaxation(
            session, candidate_id=first.id, method=view.row.method, status="converged", steps=3,
            total_before=-8.0, total_after=-8.1, formation_before=-0.5, formation_after=-0.6, cell=first.cell,
        )  # fmt: skip
    app = open_page("candidates", run=str(run))
    above = view.hull.place({"Ta": 1, "B": 2}, -0.6).above
    shown = app.dataframe[0].value["above hull (eV/atom)"].dropna()
    assert shown.tolist() == [pytest.approx(above)]
    assert f"{above:.3f} eV/atom above this hull" in said(app)
    assert "no discovery yet" in said(app)


def test_modify_reads_a_pasted_structure(starter: Path) -> None:
    app = open_page("modify")
    assert "no model for modification yet" in said(app)
    with store().session() as session:
        (model,) = list_models()
        session.merge(model).task = "modification"
    app = open_page("modify")
    app.text_area[0].set_value(cif_of(TIB2)).run()
    assert "TiB2" in said(app)
    assert "space group 191" in said(app)
    app.text_area[0].set_value("nonsense").run()
    assert "pasted.cif:" in app.error[0].value
