"""The page of all candidates through AppTest: what the URL says is shown, and nothing in it breaks the page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.ui.candidate_charts import POINTS, asked_reached, spread, validity
from core.ui.candidate_plots import share_table, spread_table
from core.workflows import candidates as workflow
from core.workflows.candidates import Scope
from core.workflows.store import store
from db import candidates as rows
from db.candidate_counts import Verdicts
from db.candidate_lists import CandidateFilter
from db.tables import Candidate
from tests.data.test_readers import TIB2
from tests.ui.test_pages import open_page, said
from tests.workflows.test_candidates import TIW, hull_of, relaxed
from tests.workflows.test_vasp import OTHER_TIB2, TIB, candidates_of_structures

HOSTILE = "<script>document.title='owned'</script> **bold** $x$ :red[x] [a](javascript:alert(1))"


@pytest.fixture
def made(var: Path, tmp_path: Path) -> list[Candidate]:
    """Four candidates of two systems, three of them relaxed and on a hull; the last is not valid."""
    found = candidates_of_structures([TIB2, TIB, OTHER_TIB2, TIW])
    hull_of("TiB2,-1.0,M\n", tmp_path, "hull")
    for candidate, energy in zip(found, (-0.9, -0.5, -1.2), strict=False):
        relaxed(candidate, energy, group_found=191)
    with store().session() as session:
        last = session.get(Candidate, found[3].id)
        assert last is not None
        last.valid, last.problem, last.group_asked, last.model = False, "two atoms are 0.1 Å apart", 14, HOSTILE
    return found


def ids_shown(app: AppTest) -> list[str]:
    frame = app.dataframe[0].value
    return list(frame["id" if "id" in frame else next(c for c in frame if c.startswith("id "))])


def param(app: AppTest, key: str) -> str:
    value = app.query_params[key]
    return value if isinstance(value, str) else value[0]


def name(candidate: Candidate) -> str:
    return f"{candidate.job_id}-{candidate.index}"


def press(app: AppTest, label: str) -> None:
    next(b for b in app.button if b.label == label).click().run()
    assert not app.exception, [e.value for e in app.exception]


def test_the_lowest_come_first_and_the_url_filters_and_orders(made: list[Candidate]) -> None:
    names = [name(c) for c in made]
    assert ids_shown(open_page("candidates")) == [names[2], names[0], names[1], names[3]]
    assert ids_shown(open_page("candidates", **{"is": "usable"})) == [names[2], names[0], names[1]]
    assert ids_shown(open_page("candidates", sort="run")) == names
    assert ids_shown(open_page("candidates", sort="-energy")) == [names[1], names[0], names[2], names[3]]
    assert ids_shown(open_page("candidates", formula="Ti2B4", sort="run")) == [names[0], names[2]]
    assert ids_shown(open_page("candidates", below="0.05")) == [names[2]]
    assert ids_shown(open_page("candidates", **{"is": "invalid"}, asked="14")) == [names[3]]
    assert ids_shown(open_page("candidates", system="Ti-W")) == [names[3]]
    assert ids_shown(open_page("candidates", run=str(made[0].job_id), **{"is": "relaxed"})) == [
        names[2],
        names[0],
        names[1],
    ]


def test_filters_are_set_by_boxes_and_taken_away_by_chips(made: list[Candidate]) -> None:
    app = open_page("candidates")
    next(t for t in app.text_input if t.label == "Formula").set_value("TiB2").run()
    assert param(app, "formula") == "TiB2"
    assert len(ids_shown(app)) == 2
    next(b for b in app.selectbox if b.label == "Chemical system").set_value("B-Ti").run()
    assert param(app, "system") == "B-Ti"
    press(app, "TiB2")
    assert "formula" not in app.query_params
    assert len(ids_shown(app)) == 3
    next(t for t in app.text_input if t.label == "Formula").set_value("W").run()
    assert "No candidate passes these filters." in said(app)
    press(app, "Take every filter away")
    assert len(ids_shown(app)) == 4


@pytest.mark.parametrize(
    "query",
    [
        {"run": "x"}, {"run": "99999999999"}, {"formula": "((("}, {"formula": HOSTILE}, {"system": HOSTILE},
        {"model": HOSTILE}, {"below": "nan"}, {"below": "low"}, {"asked": "999"}, {"found": "²"},
        {"is": "a.b.valid.invalid"},
        {"sort": "nothing"}, {"sort": "-"}, {"rows": "9" * 11}, {"size": "7"}, {"hull": "99"}, {"hull": "by.none"},
        {"candidate": "99"}, {"candidate": "x"}, {"candidate": "9" * 30}, {"pick": "1,x,²,99,99"}, {"show": "x"},
        {"do": "x"}, {"undo": "x"}, {"undo": "9" * 17}, {"show": "plots", "by": "x"}, {"do": "compare", "pick": "1"},
        {"do": "hull", "on": "99"}, {"show": "bin"}, {"job": "99"}, {"series": "\0"}, {"cell": "x"},
    ],
)  # fmt: skip
def test_nonsense_in_the_url_is_met_with_a_sentence_or_left_out(made: list[Candidate], query: dict[str, str]) -> None:
    app = open_page("candidates", **query)
    if "job" in query:
        assert "There is no job 99." in said(app)
    else:
        assert not app.error
    if query.get("hull") == "99":
        assert "There is no hull 99." in said(app)
    if query.get("candidate") == "99":
        assert "There is no candidate 99." in said(app)
    if query.get("formula") == "(((":
        assert app.warning


def test_one_candidate_opens_by_its_url_whatever_the_filter(made: list[Candidate]) -> None:
    app = open_page("candidates", candidate=str(made[3].id), formula="TiB2")
    words = said(app)
    assert f"candidate {name(made[3])}, as generated" in words
    facts = "".join(str(t.value) for t in app.table)
    assert "not valid" in facts
    assert "P2₁/c" in facts
    app = open_page("candidates", candidate=str(made[0].id))
    assert "as relaxed with M" in said(app)
    press(app, "Next candidate")
    assert param(app, "candidate") == str(made[1].id)
    press(app, "Previous candidate")
    press(app, "Previous candidate")
    assert param(app, "candidate") == str(made[2].id)


def test_delete_undo_and_the_bin(made: list[Candidate]) -> None:
    app = open_page("candidates", pick=f"{made[0].id},{made[1].id}")
    assert "**2 selected**" in said(app)
    press(app, "Delete")
    assert "Deleted 2." in said(app)
    assert ids_shown(app) == [name(made[2]), name(made[3])]
    press(app, "Undo")
    assert len(ids_shown(app)) == 4
    workflow.delete(Scope(ids=(made[2].id,)))
    app = open_page("candidates", show="bin")
    assert ids_shown(app) == [name(made[2])]
    press(app, "Bring back")
    assert len(ids_shown(app)) == 4
    workflow.delete(Scope())
    app = open_page("candidates")
    assert "No candidate passes these filters." in said(app)
    app = open_page("candidates", show="bin")
    press(app, "Remove 4 for good")
    assert "No candidate yet." in said(app)


def test_stars_and_notes_of_those_that_are_selected(made: list[Candidate]) -> None:
    app = open_page("candidates", pick=str(made[0].id))
    press(app, "Star")
    with store().session() as session:
        assert [c.starred for c in rows.get_candidates(session, [c.id for c in made])] == [True, False, False, False]
    app = open_page("candidates", candidate=str(made[1].id))
    next(t for t in app.text_area if t.label == "Note").set_value(HOSTILE).run()
    (row,) = workflow.get_rows([made[1].id], None)
    assert row.candidate.note == HOSTILE
    app = open_page("candidates", candidate=str(made[1].id))
    assert HOSTILE in app.dataframe[0].value["note"].tolist()
    assert "owned" not in said(app), "a note is shown as text in the table and in its box alone"


def starred(made: list[Candidate]) -> list[bool]:
    with store().session() as session:
        return [c.starred for c in rows.get_candidates(session, [c.id for c in made])]


def test_a_filter_keeps_the_selection_as_far_as_it_passes_and_nothing_acts_on_all_at_a_click(
    made: list[Candidate],
) -> None:
    workflow.star(Scope(ids=(made[0].id,)))
    app = open_page("candidates", pick=f"{made[0].id},{made[1].id}")
    next(t for t in app.text_input if t.label == "Formula").set_value("TiB2").run()
    assert param(app, "pick") == str(made[0].id)
    assert "**1 selected**" in said(app)
    press(app, "Clear")
    labels = [b.label for b in app.button]
    assert "Star 2" in labels, "all that pass, behind a popover"
    assert not {"Unstar", "Delete", "Delete 2"} & set(labels)
    assert starred(made) == [True, False, False, False]
    press(app, "Star 2")
    assert starred(made) == [True, False, True, False]


def test_a_note_on_many_is_added_to_those_they_have(made: list[Candidate]) -> None:
    workflow.put_note(Scope(ids=(made[0].id,)), "mine")
    app = open_page("candidates", formula="TiB2")
    app.radio(key="for-all").set_value("Note").run()
    next(t for t in app.text_area if t.label == "Note on 2 candidates").set_value("all").run()
    press(app, "Add the note to 2")
    notes = [r.candidate.note for r in workflow.get_rows([c.id for c in made], None)]
    assert notes == ["mine\nall", "", "all", ""]
    next(t for t in app.text_area if t.label == "Note on 2 candidates").set_value("new").run()
    next(c for c in app.checkbox if c.label.startswith("In the place")).check().run()
    press(app, "Replace the notes of 2")
    assert workflow.get_rows([made[0].id], None)[0].candidate.note == "new"


@pytest.mark.parametrize("panel", ["view", "grid", "compare", "relax", "hull", "take", "vasp"])
def test_every_panel_opens_by_its_url_for_some_and_for_all(made: list[Candidate], panel: str) -> None:
    for query in ({}, {"pick": f"{made[0].id},{made[2].id}"}):
        app = open_page("candidates", do=panel, **query)
        assert not app.error
        if panel == "compare":
            expected = "Different structures" if query else "Select two rows"
            assert expected in said(app)
        if panel == "hull":
            assert "Lowest: **TiB2**" in said(app)


def test_the_charts_have_what_was_counted(made: list[Candidate]) -> None:
    app = open_page("candidates", show="plots")
    assert len(app.get("vega_lite_chart")) == 2, "above hull and validity, by composition"
    placing = workflow.placing_for("M")
    table = spread_table(workflow.above_hulls(CandidateFilter(), placing, 100), "reduced_formula", str)
    line = table.set_index("key").loc["TiB2"]
    assert (line["placed"], line["lowest"]) == (2, pytest.approx(-0.2))
    assert line["middle"] == pytest.approx(-0.05)
    shares = share_table([Verdicts("TiB2", 10, 8, 6)], str)
    assert shares["count"].tolist() == [6, 2, 2]
    assert shares["share"].sum() == pytest.approx(1)
    points = pd.DataFrame([("1", "1-1", "x", -0.5, -0.4, 0.1)], columns=POINTS)
    for chart in (spread(table, "composition"), validity(shares, "composition"), asked_reached(points)):
        assert "pick" in chart.to_json()


def test_an_empty_hull_and_an_empty_plot_say_what_is_missing(var: Path) -> None:
    candidates_of_structures([TIB2])
    assert "holds these elements: build or import one" in said(open_page("candidates", do="hull"))
    words = said(open_page("candidates", show="plots"))
    assert "None of them is relaxed with" in words
    assert "None of those that were asked for an energy" in words
