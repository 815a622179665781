"""The Hulls page: which one is shown, what a click opens, what is asked of another method."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import queue
from core.workflows.hulls import get_hull, import_hull
from tests.ui.test_pages import open_page, said
from tests.ui.test_train_page import param

BINARY = "formula,formation_energy,method\nTa,0,DFT\nB,0,DFT\nTaB2,-0.7,DFT\nTaB,-0.75,DFT\nTa3B4,-0.5,DFT\n"
QUATERNARY = "formula,formation_energy,method\nTaB2,-0.7,DFT\nW2B5,-0.3,DFT\nMoB,-0.5,DFT\nTaMoWB6,-0.4,DFT\n"


def metrics(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


@pytest.fixture
def binary(starter: Path, tmp_path: Path) -> int:
    (tmp_path / "borides.csv").write_text(BINARY)
    return import_hull(tmp_path / "borides.csv").row.id


def test_a_hull_says_what_it_is_made_of_and_what_speaks_against_it(binary: int) -> None:
    app = open_page("hulls", hull=str(binary))
    assert metrics(app)["entries"] == "5"
    assert metrics(app)["on the hull"] == "4"
    assert metrics(app)["lowest phase"] == "−0.750 eV/atom"
    assert "On the hull: TaB, TaB2." in said(app)
    assert "fewer than 200 entries is unreliable" in said(app)
    assert {"DFT", "CHGNet-0.3.0"} <= set(app.dataframe[0].value["energies"])


def test_an_unknown_hull_is_said_and_another_shown(binary: int) -> None:
    app = open_page("hulls", hull="9999")
    assert "names a hull that is not here" in app.warning[0].value
    assert app.subheader[0].value


def test_a_phase_opens_by_its_link_with_what_it_would_turn_into(binary: int) -> None:
    from core.workflows.hulls import get_hull_by_id

    entry = next(e for e in get_hull_by_id(binary).entries if e.formula == "Ta3B4")
    app = open_page("hulls", hull=str(binary), phase=str(entry.id))
    (facts,) = [t.value for t in app.table if "reaction" in t.value.index]
    column = facts.iloc[:, 0]
    assert "TaB2" in column["would turn into"]
    assert "TaB" in column["reaction"]
    assert "Ta3B4" in column["reaction"]
    assert "no structure" in app.info[0].value


def test_the_table_has_every_phase_and_filters(binary: int) -> None:
    app = open_page("hulls", hull=str(binary), show="phases")
    assert len(app.dataframe[1].value) == 5
    app.text_input[-1].set_value("tab2").run()
    assert app.dataframe[1].value["formula"].tolist() == ["TaB2"]
    app.text_input[-1].set_value("xyz").run()
    assert "No phase fits" in app.info[0].value


def test_four_elements_have_a_table_and_no_plot(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "four.csv").write_text(QUATERNARY)
    hull = import_hull(tmp_path / "four.csv").row.id
    app = open_page("hulls", hull=str(hull), show="surface")
    assert app.dataframe[1].value["formula"].tolist()
    assert not app.get("vega_lite_chart")


def test_another_method_needs_every_stable_phase(binary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page("hulls", hull=str(binary))
    assert "On the hull and without one: TaB" in said(app)
    (again,) = [b for b in app.button if b.label == "Evaluate again"]
    assert again.disabled


def test_the_starter_hull_can_be_evaluated_again(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(queue, "submit", lambda *a: asked.append(a) or 1)
    hull = get_hull("B-Ta-W", "M3GNet-MP-2021.2.8").row.id
    app = open_page("hulls", hull=str(hull))
    next(b for b in app.button if b.label == "Evaluate again").click().run()
    kind, _, params = asked[0]
    assert kind == "hull-evaluate"
    assert (params.hull_id, params.potential, params.relax) == (hull, "chgnet", True)  # type: ignore[attr-defined]


def test_ways_to_a_new_hull_stay_in_the_url(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(queue, "submit", lambda *a: asked.append(a) or 1)
    app = open_page("hulls", new="dataset")
    app.text_input(key="hull-system").set_value("Xx-B").run()
    next(b for b in app.button if b.label == "Make the hull").click().run()
    assert "no chemical system" in app.error[0].value
    app.text_input(key="hull-system").set_value("ta b").run()
    next(b for b in app.button if b.label == "Make the hull").click().run()
    assert asked == [] or asked[0][2].system == "B-Ta"  # type: ignore[attr-defined]
    app = open_page("hulls", new="aflow")
    next(b for b in app.button if b.label == "Fetch from AFLOW").click().run()
    assert asked[-1][0] == "hull-aflow"
    assert asked[-1][2].system == "B-Ta-W"  # type: ignore[attr-defined]


def test_deleting_a_hull_leaves_the_others(binary: int) -> None:
    app = open_page("hulls", hull=str(binary))
    next(b for b in app.button if b.label == "Delete").click().run()
    assert "DFT" not in set(app.dataframe[0].value["energies"])
    assert "hull" not in app.query_params or param(app, "hull") != str(binary)


def test_what_lies_below_its_reference_or_is_flagged_is_not_on_the_hull(starter: Path, shared: Path) -> None:
    """Manganese of this hull has entries below the element's reference, and AFLOW flags two thirds of all."""
    view = import_hull(shared / "data" / "aflow" / "nhull_MnPdPt.json.gz")
    below = next(e for e in view.entries if e.formula == "Mn" and e.above_hull < 0)
    assert not view.is_stable(below)
    assert sum(view.is_stable(e) for e in view.entries) == 17, "twenty points with the three elements"
    app = open_page("hulls", hull=str(view.row.id), show="phases", phase=str(below.id))
    (facts,) = [t.value for t in app.table if "above the hull" in t.value.index]
    assert facts.iloc[:, 0]["above the hull"].startswith("−")
    next(t for t in app.toggle if t.label == "On the hull only").set_value(True).run()
    assert len(app.dataframe[1].value) == 17
