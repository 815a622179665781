"""The Train page through AppTest: choices in the URL, estimates, clones, running and ended trainings."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.crystals import Crystals
from core.jobs import queue
from core.models.registry import NETWORKS
from core.samplers.registry import METHODS
from core.training.checkpoints import CHECKPOINT, Samples, write_samples
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.store import folder, store
from core.workflows.train import TrainParams
from core.workflows.trainings import FINISH
from db import jobs as rows
from tests.ui.test_pages import open_page, said
from tests.workflows.test_training_faults import stacks

PARAMS = TrainParams("starter", "mine", preset="quick", minutes=3.0, batch=32, loss="l1", seed=7)


def add(status: str, params: TrainParams = PARAMS, metrics: bool = True, **values: object) -> int:
    """A training in the store, with a few points of its curves."""
    with store().session() as session:
        job_id = rows.add_job(
            session, kind="train", title=f"Train {params.name}", params=asdict(params), device="cpu"
        )  # fmt: skip
        place = folder("jobs") / str(job_id)
        place.mkdir()
        clock = rows.now(session)
        known = {"heartbeat": clock, "started_at": clock, "progress": 0.4, "host": "elsewhere", "pid": 1, **values}
        rows.update_job(session, job_id, folder=str(place), status=status, **known)
        points = [(s, n, 1.0 / s) for s in (1, 2, 4) for n in ("loss", "validation_loss", "learning_rate")]
        points += [(4, "validation_loss", 0.75), (4, "match_rate_paper", 0.25), (4, "structures_per_s", 321.0)]
        rows.write_metrics(session, job_id, points if metrics else [])
    return job_id


def button(app: AppTest, label: str) -> AppTest:
    found = next(b for b in app.button if b.label == label)
    return found.click().run()


def labels(app: AppTest) -> set[str]:
    return {b.label for b in app.button}


def param(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def metrics(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


def radio(app: AppTest, label: str) -> object:
    return next(r for r in app.radio if r.label == label)


def test_the_cost_is_shown_before_the_start_and_choices_stay_in_the_url(starter: Path) -> None:
    app = open_page("train")
    assert {"parameters", "structures/s", "one pass", "passes", "memory"} <= set(metrics(app))
    assert metrics(app)["parameters"] == "1.98 M"
    assert "2,927 structures to learn from, 158 for validation." in said(app)
    assert set(radio(app, "Method").options) == {"cfm-uniform", "cfm-normal", "ddpm", "ddim"}
    radio(app, "Task").set_value("modification").run()
    assert param(app, "task") == "modification"
    assert {"cfm", "regression"} <= set(radio(app, "Method").options)
    radio(app, "Network").set_value("unet").run()
    radio(app, "Preset").set_value("paper").run()
    assert (param(app, "network"), param(app, "preset")) == ("unet", "paper")
    assert metrics(app)["parameters"] == "305 M"
    batch = next(n for n in app.number_input if n.label == "Batch")
    assert batch.value == 256, "the preset's own"
    assert "The paper: 256." in batch.help
    assert "budget ends before every structure was seen once" in said(app)


def test_what_a_network_cannot_hold_is_counted(tmp_path: Path, starter: Path) -> None:
    stacks(tmp_path)
    app = open_page("train", dataset="stacks", network="unet", preset="quick")
    assert "3 structures of the training part have more than the 60 atoms that the unet holds: left out." in said(app)
    assert "left out" not in said(open_page("train", dataset="stacks"))


def test_inputs_are_kept_when_a_choice_changes(starter: Path) -> None:
    app = open_page("train")
    next(t for t in app.text_input if t.label == "Name of the model").set_value("kept").run()
    next(n for n in app.number_input if n.label == "Minutes of training").set_value(42.0).run()
    radio(app, "Preset").set_value("quick").run()
    assert next(t for t in app.text_input if t.label == "Name of the model").value == "kept"
    assert next(n for n in app.number_input if n.label == "Minutes of training").value == 42.0


@pytest.mark.parametrize(
    "query",
    [
        {"task": "x", "method": "y", "network": "z", "preset": "<b>", "dataset": "none"},
        {"task": "modification", "method": "ddpm"},
        {"network": "transformer", "preset": "paper"},
        {"page": "99", "like": "abc"},
    ],
)
def test_nonsense_in_the_url_gives_the_defaults(starter: Path, query: dict[str, str]) -> None:
    app = open_page("train", **query)
    assert not app.error
    assert any(b.label == "Start training" for b in app.button)
    for name in set(query) & {"task", "network", "method", "preset", "dataset"}:
        known = query[name] in METHODS or query[name] in NETWORKS
        assert (f"The link names the {name}" in said(app)) == (not known)


def test_a_link_to_no_training_says_so(starter: Path) -> None:
    assert "The link names no training" in open_page("train", job="abc").warning[0].value


def test_only_what_was_changed_goes_into_the_params(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "tick", lambda: None)
    app = open_page("train", preset="quick")
    next(t for t in app.text_input if t.label == "Name of the model").set_value("mine").run()
    next(n for n in app.number_input if n.label == "Batch").set_value(32).run()
    button(app, "Start training")
    job = queue.get(int(param(app, "job")))
    expected = TrainParams("starter", "mine", "generation", "cfm-uniform", preset="quick", minutes=10.0, batch=32)
    assert job.params == asdict(expected)
    assert "Its curves appear here when it runs." in said(app)
    assert "Cancel" in labels(app)


def test_a_clone_begins_with_everything_the_other_had(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "tick", lambda: None)
    app = open_page("train", like=str(add("done")))
    assert "As mine (job 1): change what you like." in said(app).replace("\\", "")
    assert radio(app, "Preset").value == "quick"
    values = {n.label: n.value for n in app.number_input}
    assert (values["Minutes of training"], values["Batch"], values["Seed"]) == (3.0, 32, 7)
    assert next(t for t in app.text_input if t.label == "Name of the model").value == "mine-2"
    button(app, "Start training")
    known = {**queue.get(int(param(app, "job"))).params}
    assert known == asdict(replace(PARAMS, name="mine-2", method="cfm-uniform"))
    assert "There is no job 99." in open_page("train", like="99").error[0].value


def test_a_clone_of_numbers_out_of_bounds_is_shown_within_them(starter: Path) -> None:
    wild = replace(PARAMS, batch=10**9, clip=1e9, minutes=1e9, steps=5, patience=3)
    app = open_page("train", like=str(add("failed", wild)))
    assert not app.error
    assert next(n for n in app.number_input if n.label == "Batch").value == 8192


def test_a_running_training_shows_its_best_and_its_buttons(starter: Path) -> None:
    job_id = add("running")
    app = open_page("train", job=str(job_id))
    assert not app.error
    assert {"Pause", "Finish now", "Throw it away", "Clone with changes"} <= labels(app)
    shown = {m.label: (m.value, m.delta) for m in app.metric}
    assert shown["validation loss"] == ("0.5000", "now 0.7500"), "the best, and that of now"
    assert shown["match rate (paper)"] == ("25.0 %", "now 25.0 %")
    assert shown["structures/s"] == ("321", "")
    assert "40 %" not in said(app)
    button(app, "Pause")
    assert queue.get(job_id).cancel_requested_at is not None
    assert "Stopping …" in labels(app)


def test_finishing_and_giving_up(starter: Path) -> None:
    first, second = add("running"), add("running")
    app = open_page("train", job=str(first))
    button(app, "Finish now")
    assert (folder("jobs") / str(first) / FINISH).is_file()
    assert "Finishing …" in labels(app)
    (folder("jobs") / str(second) / CHECKPOINT).touch()
    button(open_page("train", job=str(second)), "Throw it away")
    with store().session() as session:
        rows.update_job(session, second, status="cancelled")
    app = open_page("train", job=str(second))
    assert not (folder("jobs") / str(second) / CHECKPOINT).exists()
    assert "Start again" in labels(app)
    assert "cancelled" in said(app)


def test_paused_failed_and_empty_trainings_say_what_to_do(starter: Path) -> None:
    paused = add("cancelled")
    (folder("jobs") / str(paused) / CHECKPOINT).touch()
    app = open_page("train", job=str(paused))
    assert "Stopped after 40 % of its budget" in said(app)
    assert {"Resume", "Throw it away"} <= labels(app)
    app = open_page("train", job=str(add("failed", error="The loss is no longer a number.", metrics=False)))
    assert [e.value for e in app.error] == ["The loss is no longer a number."]
    app = open_page("train", job=str(add("running", metrics=False)))
    assert "The first numbers come within seconds." in said(app)
    with store().session() as session:
        other = rows.add_job(session, kind="relax", title="x", params={}, device="cpu")
    assert "is no training" in open_page("train", job=str(other)).error[0].value


def test_trainings_are_compared_as_the_url_says(starter: Path) -> None:
    first, second = add("done"), add("done", replace(PARAMS, name="other"))
    app = open_page("train", job=str(second), compare=f"{first},x,99,{second}", axis="structures", part="loss_frac")
    assert app.multiselect[0].value == [first]
    assert "solid: validation, dotted: training" in said(app)
    app.multiselect[0].set_value([]).run()
    assert "compare" not in app.query_params
    assert "a dot marks the lowest of validation" in said(app)


def test_samples_stand_beside_their_targets(starter: Path) -> None:
    job_id = add("running")
    target = load_tensors(get_dataset("starter")).crystals[list(range(6))]
    drawn = Crystals(target.frac * 0.9, target.lattice, target.numbers, target.group, target.energy)
    place = folder("jobs") / str(job_id)
    write_samples(place, Samples(120, drawn, target))
    app = open_page("train", job=str(job_id))
    assert "at step 120" in said(app)
    assert said(app).count("not matched yet") == 4, "four at a time"
    verdicts = '{"step": 120, "paper": [true, false, false, false, false, false], "field": [true, true%s]}'
    (place / "verdicts.json").write_text(verdicts % (", false" * 4))
    app = open_page("train", job=str(job_id))
    assert said(app).count("green-badge[match]") == 1
    assert said(app).count("match by the field's tolerances") == 1
    button(app, "Next page")
    assert param(app, "samples") == "2"
    assert said(app).count("no match") == 2


def test_samples_of_a_modification_show_their_starts(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    monkeypatch.setattr("core.ui.training_samples.grid_html", lambda shown, _: rows.append(len(shown)) or "<p></p>")
    job_id = add("running")
    some = load_tensors(get_dataset("starter")).crystals[list(range(2))]
    for start in (None, some):
        write_samples(folder("jobs") / str(job_id), Samples(120, some, some, start))
        app = open_page("train", job=str(job_id))
        assert ("the start, what was made of it" in said(app)) == (start is not None)
    assert rows == [2, 3]


def test_losses_of_two_kinds_are_not_taken_for_one(starter: Path) -> None:
    first, second = add("done"), add("done", replace(PARAMS, name="other", loss="squared"))
    assert "Losses of several kinds (l1, squared)" in said(open_page("train", job=str(first), compare=str(second)))
    assert "several kinds" not in said(open_page("train", job=str(first)))


def test_earlier_trainings_are_listed(starter: Path) -> None:
    add("done")
    (folder("jobs") / str(add("cancelled", replace(PARAMS, name="b"))) / CHECKPOINT).touch()
    frame = open_page("train").dataframe[0].value
    assert frame["model"].tolist() == ["b", "mine"]
    assert frame["status"].tolist() == ["paused", "done"]
    assert frame["validation loss"].tolist() == [0.5, 0.5]
    assert frame["match rate (paper)"].tolist() == ["25.0 %", "25.0 %"]


def test_cards_elsewhere_lead_to_the_training(starter: Path) -> None:
    job_id = add("running")
    for name in ("home", "jobs"):
        app = open_page(name, **({"job": str(job_id)} if name == "jobs" else {}))
        assert not app.error
        assert metrics(app)["validation loss"] == "0.5000"
        assert {"Pause", "Finish now"} <= labels(app)
