"""The Models page through AppTest: the table, cards, rename, delete, evaluations."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from core.evaluation.report import Outcome, make_report
from core.jobs import queue
from core.workflows.evaluate import EvaluateParams
from core.workflows.model_files import add_path
from core.workflows.models import delete_model, get_model, list_models, rename_model
from core.workflows.store import store
from db import jobs as rows
from tests.ui.test_pages import open_page, said
from tests.ui.test_train_page import button, labels, metrics, param
from tests.workflows.test_models import NAME, SHIPPED


def test_a_card_is_shown_in_words(starter: Path) -> None:
    app = open_page("models", model=NAME)
    assert metrics(app) == {
        "task": "generation", "parameters": "1.98 M", "match rate (paper)": "8.0 %", "validation loss": "0.0859",
        "training": "22 min",
    }  # fmt: skip
    words = said(app).replace("\\", "")
    assert "A small generator to try the app with" in words
    assert "Not good for other elements" in words
    assert "**Licence** :small[MIT]" in words
    tables = {key: value for table in app.table for key, value in table.value.iloc[:, 0].items()}
    assert tables["dataset"] == "starter"
    assert tables["its content"] == "65228299cf7e"
    assert "cfm" in tables["method"]
    assert json.loads(app.json[0].value)["weights_sha256"] == get_model(NAME).hash
    (row,) = [r for r in app.dataframe[0].value.to_dict("records") if r["model"] == NAME]
    assert (row["model"], row["method"], row["network"], row["match rate (paper)"]) == (
        NAME, "cfm-uniform", "transformer small", pytest.approx(8.0),
    )  # fmt: skip


def test_the_link_says_which_model_and_which_view(starter: Path) -> None:
    add_path(SHIPPED, "copy")
    assert "### copy" in said(open_page("models")), "the newest"
    assert "### starter-generator" in said(open_page("models", model=NAME))
    app = open_page("models", model="<script>", show="x")
    assert "names a model that is not here" in said(app)
    app = open_page("models", model=NAME, show="evaluations", job="99")
    assert "names an evaluation that is not of this model" in said(app)
    assert "Not evaluated yet" in said(app)


def test_models_are_renamed_and_deleted(starter: Path) -> None:
    app = open_page("models", model=NAME)
    assert "It came with the app: its files stay" in said(app)
    next(t for t in app.text_input if t.label == "New name").set_value("a/b")
    button(app, "Rename this model")
    assert "A name has 1 to 60" in app.error[0].value
    next(t for t in app.text_input if t.label == "New name").set_value("renamed")
    button(app, "Rename this model")
    assert param(app, "model") == "renamed"
    assert "### renamed" in said(app)
    for model in list_models():
        if model.name != "renamed":
            delete_model(model.name)
    button(app, "Delete renamed")
    assert list_models() == []
    assert "No model yet: train one, or add one above." in said(app)


def test_hostile_cards_are_shown_as_text(starter: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    card = {
        "name": "evil", "about": "**bold** <script>", "metrics": {"match_rate_field": "x", "a": 1}, "steps": "many",
        "dataset": ["x"], "recipe": [1], "licence": 3, "parameters": None, "training_minutes": {}, "made": {"a": 1},
    }  # fmt: skip
    (tmp_path / "card.json").write_text(json.dumps(card))
    add_path(tmp_path, "evil")
    app = open_page("models", model="evil")
    assert not app.error
    assert "\\*\\*bold\\*\\* \\<script\\>" in said(app)
    assert metrics(app)["parameters"] == "–"


def evaluation(model: str = NAME, with_hash: bool = True, **params: object) -> int:
    draw = random.Random(0)
    outcomes = [
        Outcome(i, "x", draw.choice([3, 7, 15]), 2, draw.choice([2, 225]), (True,), (draw.choice([0.1, None]),))
        for i in range(40)
    ]
    report = asdict(make_report(outcomes)) | ({"model_hash": get_model(model).hash} if with_hash else {})
    known = asdict(EvaluateParams(model, dataset="starter", split="val", limit=40)) | params
    with store().session() as session:
        job_id = rows.add_job(session, kind="evaluate", title="Evaluate", params=known, device="cpu")
        rows.update_job(session, job_id, result=json.loads(json.dumps(report)), status="done")
    return job_id


def test_evaluations_are_listed_and_drawn(starter: Path) -> None:
    job_id = evaluation()
    rename_model(NAME, "renamed")
    add_path(SHIPPED, NAME)
    app = open_page("models", model="renamed", show="evaluations", job=str(job_id))
    assert not app.error
    table = app.dataframe[1].value
    assert table["structures"].tolist() == [40], "found by its weights although the name changed"
    shown = metrics(app)
    assert shown["match rate"] == f"{table['match rate'][0]:.1f} %"
    assert shown["structures"] == "40"
    assert "given composition, space group, energy; 1 sample each, 50 steps, seed 0" in said(app)
    for words in ("atoms in the cell", "number of elements", "crystal system"):
        assert f"Match rate by {words}" in said(app)


def test_an_evaluation_is_started(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "tick", lambda: None)
    app = open_page("models", model=NAME, show="evaluations")
    next(n for n in app.number_input if n.label == "Structures, at most").set_value(20)
    next(r for r in app.radio if r.label == "Matcher").set_value("field")
    button(app, "Evaluate")
    job = queue.get(int(param(app, "job")))
    expected = EvaluateParams(NAME, dataset="starter", split="val", matcher="field", limit=20)
    assert (job.kind, job.params) == ("evaluate", json.loads(json.dumps(asdict(expected))))
    assert "Evaluate starter" in said(app)
    assert "Cancel" in labels(app)


def test_substitution_is_listed_and_evaluated(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "tick", lambda: None)
    app = open_page("models", model="substitution:starter")
    table = app.dataframe[0].value
    assert "substitution in starter" in table["model"].tolist()
    assert "### substitution in starter" in said(app)
    assert not {"Rename", "Delete", "Download"} & set(labels(app))
    app = open_page("models", model="substitution in starter", show="evaluations")
    next(b for b in app.button_group if b.label == "Task").set_value("modification")
    button(app, "Evaluate")
    job = queue.get(int(param(app, "job")))
    assert (job.params["model"], job.params["task"], job.params["steps"]) == ("substitution:starter", "modification", 1)
