"""The Modify page: a start from anywhere, what is wrong with it and what helps, the wishes, and what came of them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from sqlalchemy import delete
from streamlit.testing.v1 import AppTest

from core.crystals import pack_cells, to_structures
from core.data.starts import crystals_of
from core.export.bundle import cif_text
from core.jobs import queue
from core.ui.modify_result import _state
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.generate import candidates_of
from core.workflows.modified import Reached
from core.workflows.modify import ModifyParams, StartState, modify, start_of
from core.workflows.starts import keep_text
from core.workflows.store import store
from db import jobs as job_rows
from db.tables import Relaxation
from tests.data.test_readers import TIB2, cif_of
from tests.data.test_starts import bare
from tests.ui.test_pages import open_page, said
from tests.ui.test_train_page import param
from tests.workflows.test_workflows import run_of

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), ["Ti", "C"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def open_start(text: str, name: str = "x.cif", **query: str) -> AppTest:
    return open_page("modify", start=keep_text(text, name), potential="none", **query)


def facts(app: AppTest) -> dict[str, str]:
    return {str(k): str(v) for t in app.table for k, v in t.value.iloc[:, 0].items()}


def labels(app: AppTest) -> list[str]:
    return [b.label for b in app.button]


def test_a_pasted_text_is_read_and_found_again_by_its_link(starter: Path) -> None:
    app = open_page("modify", potential="none")
    next(b for b in app.button if b.label == "Read it").click().run()
    assert "nothing to read yet" in app.warning[0].value
    app.text_area[0].set_value("nonsense").run()
    assert "pasted text: it is none of CIF" in app.error[0].value
    app.text_area[0].set_value(cif_of(TIB2)).run()
    token = param(app, "start")
    assert facts(app)["space group"].startswith("P6/mmm (191) :small[within 0.01")
    assert "TiB2" in facts(app)["formula"]
    again = open_page("modify", start=token, potential="none")
    assert facts(again) == facts(app)
    assert "Draw 8 candidates" in labels(again)


@pytest.mark.parametrize(
    "query",
    [
        {"start": "0" * 16},
        {"start": "<script>alert(1)</script>"},
        {"candidate": "99999"},
        {"dataset": "<b>", "structure": "99999999"},
    ],
)
def test_links_to_starts_that_are_gone_are_answered(starter: Path, query: dict[str, str]) -> None:
    app = open_page("modify", potential="none", **query)
    assert len(app.error) == 1
    app.button[0].click().run()
    assert app.text_area


def test_nonsense_in_the_url_is_met_quietly(starter: Path) -> None:
    odd = {"n": "99", "mend": "<b>", "ordering": "7", "cell": "x", "symprec": "-1", "groups": "191",
           "count": "9999999", "seed": "²", "relax": "x", "compare": "x", "model": "gone"}  # fmt: skip
    app = open_start(cif_of(TIB2), **odd)
    assert not app.error
    assert "names a model that is not here: gone" in said(app)
    assert "Draw 1,000 candidates" in labels(app)
    assert "Write energies" not in said(app)
    wrong = open_start(cif_of(TIB2), changes="soon")
    assert "is no number" in wrong.error[0].value
    assert "0-999-x" in open_start(cif_of(TIB2), groups="0-999-x").error[0].value


def test_another_structure_keeps_what_is_asked(starter: Path) -> None:
    app = open_start(cif_of(TIB2))
    app.number_input(key="ask-count").set_value(3).run()
    app.text_input(key="ask-groups").set_value("191").run()
    for text in (cif_text(SALT, {}), cif_of(TIB2)):
        next(b for b in app.button if b.label == "Another structure").click().run()
        app.text_area[0].set_value(text).run()
        assert app.text_input(key="ask-changes").value == "-0.1"
        assert app.text_input(key="ask-groups").value == "191"
        assert app.number_input(key="ask-count").value == 3


def test_a_structure_of_the_store_is_a_start(starter: Path) -> None:
    data = load_tensors(get_dataset("starter"))
    app = open_page("modify", dataset="starter", structure=str(int(data.ids[7])), potential="none")
    assert data.formulas[int(data.formula[7])] in facts(app)["formula"]


def test_shared_sites_are_ordered_as_the_user_chooses(starter: Path) -> None:
    alloy = Structure(Lattice.cubic(3.2) , [{"Ta": 0.5, "W": 0.5}] , [[0, 0, 0]]) * (2, 2, 2)  # fmt: skip
    app = open_start(alloy.to(fmt="cif"))
    assert "Some sites are shared" in app.warning[0].value
    assert list(app.dataframe[0].value["ordering"])[:2] == [1, 2]
    assert "Ta4 W4" in facts(app)["formula"]
    second = open_start(alloy.to(fmt="cif"), ordering="2")
    groups = app.dataframe[0].value["space group within 0.01 Å"]
    for shown, group in zip((app, second), groups, strict=False):
        assert facts(shown)["space group"].partition(" :small")[0].endswith(f"({group})")


def test_a_cell_that_is_too_large_is_reduced_by_a_click(starter: Path) -> None:
    app = open_start(cif_text(SALT * (3, 3, 1), {}))
    assert "This cell has 72 atoms; the model takes 64." in app.error[0].value
    (button,) = [b for b in app.button if b.label.startswith("Take the primitive cell")]
    button.click().run()
    assert param(app, "cell") == "primitive"
    assert not app.error
    assert "2 atoms" in facts(app)["formula"]
    noisy = (SALT * (3, 3, 1)).perturb(0.2)
    app = open_start(cif_text(noisy, {}))
    assert "choose a smaller crystal" in app.error[0].value


def test_missing_symmetry_and_deuterium_are_explained_with_what_helps(starter: Path) -> None:
    assert "read as P1" in said(open_start(bare(SALT)))
    heavy = Structure(Lattice.cubic(4), ["D", "Ti"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    app = open_start(bare(heavy), model="starter-modifier")
    assert "deuterium" in app.error[0].value
    (button,) = [b for b in app.button if "hydrogen" in b.label]
    button.click().run()
    assert not app.error
    assert param(app, "mend") == "hydrogen"
    assert "No structure of the training data holds H." in said(app).replace("\\", "")


def test_one_of_several_structures_is_chosen(starter: Path) -> None:
    both = cif_of(TIB2) + "\n" + cif_text(SALT, {})
    app = open_start(both, n="2")
    assert "Ti4 C4" in facts(app)["formula"]
    assert "It holds 2 structures" in app.selectbox(key="n-1").label


def test_wishes_are_in_the_url_and_become_a_job(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ModifyParams] = []

    def submit(kind: str, title: str, params: ModifyParams, device: str = "cpu") -> int:
        asked.append(params)
        return run_of("modify", params).job_id

    monkeypatch.setattr(queue, "submit", submit)
    app = open_start(
        cif_text(SALT, {}),
        groups="225, 191",
        changes="-0.1, -0.2",
        count="3",
        relax="none",
        cell="primitive",
        cells="1,2",
    )
    assert app.text_input(key="ask-groups").value == "225, 191"
    app.number_input(key="ask-count").set_value(2).run()
    assert param(app, "count") == "2"
    assert param(app, "cells") == "1,2"
    next(b for b in app.button if b.label == "Draw 16 candidates").click().run()
    (params,) = asked
    assert (params.space_groups, params.energy_changes, params.count) == ((191, 225), (-0.1, -0.2), 2)
    assert params.relax == "none"
    assert params.cells == (1, 2)
    assert "Ti" in params.cif
    assert list(app.query_params) == ["job"]


@pytest.fixture
def run(starter: Path) -> int:
    """A finished run with energies as drawn, and what a relaxation of its start would have left."""
    params = ModifyParams("starter-modifier", cif_text(SALT, {}), "TiC.cif", (225,), (-0.1,), count=3, steps=4,
                          potential="chgnet", relax="none")  # fmt: skip
    context = run_of("modify", params)
    result = modify(params, context)
    with store().session() as session:
        job_rows.update_job(session, context.job_id, status="done", result=result, folder=str(context.folder))
    assert isinstance(start_of(context.folder), StartState)
    return context.job_id


def test_a_run_shows_before_and_after_by_energy(run: int) -> None:
    app = open_page("modify", job=str(run))
    frame = app.dataframe[0].value
    reached = frame["ΔE reached (eV/atom)"].dropna().tolist() if "ΔE reached (eV/atom)" in frame else []
    assert reached == sorted(reached)
    assert len(frame) == 3
    assert "Both are as drawn, not relaxed" in said(app)
    assert {"before", "after"} <= {str(c) for t in app.table for c in t.value.columns}
    assert "ΔE asked → reached" in facts(app)
    last = candidates_of(run)[-1]
    assert f"Modify {run}-2 further" in labels(open_page("modify", job=str(run), shown=str(last)))


def test_it_goes_on_from_a_candidate_or_from_the_same_start(run: int) -> None:
    app = open_page("modify", job=str(run))
    next(b for b in app.button if b.label.endswith("further")).click().run()
    assert int(param(app, "candidate")) in candidates_of(run)
    app = open_page("modify", job=str(run))
    next(b for b in app.button if b.label.startswith("Other wishes")).click().run()
    assert "Ti4 C4" in facts(app)["formula"]
    assert param(app, "count") == "3", "what was asked before is asked again"
    assert "Draw 3 candidates" in labels(app)


def test_one_polymorph_found_twice_is_counted_once(run: int) -> None:
    first, second, _ = candidates_of(run)
    other = crystals_of(Structure(Lattice.cubic(2.7), ["Ti", "C"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    with store().session() as session:
        folder = Path(str(queue.get(run).folder))
        values = json.loads((folder / "start.json").read_text())
        cell = base64.b64encode(pack_cells(crystals_of(SALT))[0]).decode()
        (folder / "start.json").write_text(json.dumps(values | {"relaxed": -8.0, "cell": cell}))
        session.execute(delete(Relaxation).where(Relaxation.candidate_id.in_([first, second])))
        for candidate, total in ((first, -8.101), (second, -8.1)):
            session.add(
                Relaxation(
                    candidate_id=candidate,
                    method=values["method"],
                    status="converged",
                    total_after=total,
                    cell=pack_cells(other)[0],
                )
            )
        session.commit()
    app = open_page("modify", job=str(run))
    assert app.dataframe[0].value["against the start"].tolist()[:2] == ["a real polymorph", f"the same as {run}-0"]
    counts = {m.label: m for m in app.metric}
    assert counts["polymorphs below the start"].value == "1"
    assert "1 more are as low" in str(counts["polymorphs below the start"].help)


def test_overlapping_atoms_are_told_before_anything_is_drawn(starter: Path) -> None:
    near = Structure(Lattice.cubic(4), ["Ti", "B", "B"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.6]])
    app = open_start(cif_text(near, {}))
    assert any("are 0.40 Å apart" in w.value and "mend the structure first" in w.value for w in app.warning)


def test_with_both_relaxed_every_column_is_of_the_relaxed_state(run: int) -> None:
    first, *others = candidates_of(run)
    start = crystals_of(SALT)
    larger = crystals_of(Structure(Lattice.cubic(4.3 * 1.1 ** (1 / 3)), SALT.species, SALT.frac_coords))
    with store().session() as session:
        folder = Path(str(queue.get(run).folder))
        values = json.loads((folder / "start.json").read_text())
        cell = base64.b64encode(pack_cells(start)[0]).decode()
        (folder / "start.json").write_text(json.dumps(values | {"relaxed": -8.0, "cell": cell}))
        session.execute(delete(Relaxation).where(Relaxation.candidate_id.in_([first, *others])))
        session.add(
            Relaxation(
                candidate_id=first,
                method=values["method"],
                status="converged",
                total_after=-8.1,
                cell=pack_cells(larger)[0],
            )
        )
        session.commit()
    app = open_page("modify", job=str(run))
    row = app.dataframe[0].value.iloc[0]
    assert row["moved (Å)"] == pytest.approx(0, abs=1e-4)
    assert row["volume (%)"] == pytest.approx(10, abs=0.1)
    assert row["against the start"] == "the same structure" == facts(app)["verdict"]
    assert facts(app)["volume"] == "+10.0 %"
    counts = {m.label: m.value for m in app.metric}
    assert counts["polymorphs below the start"] == "0"
    assert any("No polymorph below the start was found" in i.value for i in app.info)


def test_substitution_is_a_modifier_too(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "tick", lambda: None)
    app = open_start(cif_of(TIB2), model="substitution:starter")
    assert "as TiB2 (A1B2): there is nothing to exchange elements in" in said(app)
    data = load_tensors(get_dataset("starter"))
    row = next(i for i in range(len(data)) if data.crystals[[i]].formula(0) == "Ta2B4")
    known = to_structures(data.crystals[[row]])[0]
    app = open_start(cif_text(known, {}), model="substitution:starter")
    assert next(s for s in app.selectbox if s.label == "Model").value == "substitution:starter"
    assert "substitution in starter learned from" in said(app)
    assert "is not known" not in said(app), "it is a structure of the dataset, which knows its energy"
    assert not [n for n in app.number_input if n.label.startswith("Steps")]
    next(b for b in app.button if b.label == "Draw 8 candidates").click().run()
    job = queue.get(int(param(app, "job")))
    assert (job.params["model"], job.params["steps"], job.params["energy_changes"]) == (
        "substitution:starter", 1, [-0.1],
    )  # fmt: skip
    strange = known.copy()
    strange.replace_species({"Ta": "Cs"})
    app = open_start(cif_text(strange, {}), model="substitution:starter")
    assert "The change asked for is left out" in said(app)


def test_what_was_relaxed_says_so_however_it_was_drawn() -> None:
    """A relaxation mends short contacts: then the candidate is not called "not relaxed"."""
    one = Reached(1, False, None, None, 0.4, "converged", None, None)
    assert [_state(one), _state(replace(one, status="")), _state(replace(one, status="", valid=True))] == [
        "converged",
        "not relaxed",
        "as drawn",
    ]
