"""The way to VASP and back on the Candidates page."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import queue
from core.workflows.hulls import import_hull
from core.workflows.vasp import WriteParams, write_vasp
from db.tables import Candidate
from tests.data.test_readers import TIB2
from tests.ui.test_pages import open_page, said
from tests.vasp_runs import vasprun
from tests.workflows.test_vasp import REFERENCES, TIB, candidates_of_structures, run_for


def upload(app: AppTest, files: dict[str, str]) -> int:
    """Upload files, press the button, wait for the job; returns its id."""
    uploader = next(u for u in app.file_uploader if u.label.startswith("vasprun.xml"))
    uploader.set_value([(name, text.encode(), "text/xml") for name, text in files.items()])
    next(b for b in app.button if b.label == "Read the results").click().run()
    assert not app.exception, [e.value for e in app.exception]
    job_id = int(app.query_params["job"][0])
    deadline = time.monotonic() + 60
    while queue.get(job_id).status not in ("done", "failed") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert queue.get(job_id).status == "done", queue.get(job_id).error
    return job_id


def table_of(app: AppTest, column: str) -> dict[str, list[object]]:
    frame = next(d.value for d in app.dataframe if column in d.value.columns)
    return {str(name): list(frame[name]) for name in frame.columns}


def test_the_download_offers_both_settings(var: Path) -> None:
    candidates_of_structures([TIB2, TIB])
    app = open_page("candidates", do="vasp")
    assert any(b.label == "VASP input of 2" for b in app.get("download_button"))
    assert not any(t.label == "Real POTCARs" for t in app.toggle), "pymatgen has none here"
    assert ["The paper's", "Materials Project's"] in [group.options for group in app.button_group]
    assert not app.error


def test_pressing_the_button_without_a_file_is_answered(var: Path) -> None:
    candidates_of_structures([TIB2])
    app = open_page("candidates", do="vasp")
    next(b for b in app.button if b.label == "Read the results").click().run()
    assert "Choose one file or more." in said(app)


@pytest.mark.slow
def test_results_come_back_and_stand_on_a_hull_of_their_method(
    var: Path, tmp_path: Path, no_workers_left: None
) -> None:
    tib2, tib = candidates_of_structures([TIB2, TIB])
    app = open_page("candidates", do="vasp")
    job_id = upload(app, {"a/vasprun.xml": good(tib2), "b/vasprun.xml": good(tib)[:500]})
    app = open_page("candidates", job=str(job_id))
    words = said(app)
    assert "1 result kept." in words
    assert "1 file not taken:" in words
    assert "Formation energies are missing" in words
    assert "There is no hull by VASP yet" in words
    results = table_of(app, "total energy (eV/atom)")
    assert results["candidate"] == [f"{tib2.job_id}-0"]
    assert results["total energy (eV/atom)"] == pytest.approx([-8.0])
    assert "cut off" in str(table_of(app, "why")["why"])
    hull = tmp_path / "vasp.csv"
    hull.write_text("formula,formation_energy,method\nTiB2,-0.8,VASP\n")
    import_hull(hull)
    job_id = upload(open_page("candidates", do="vasp"), {"references.json": json.dumps(REFERENCES)})
    app = open_page("candidates", job=str(job_id))
    assert "1 earlier result counted again" in said(app)
    placed = table_of(app, "above hull (eV/atom) ↑")
    formation = -8 + 7.8 / 3 + 2 * 6.7 / 3
    above = dict(zip(placed["id"], placed["above hull (eV/atom) ↑"], strict=True))
    assert above[f"{tib2.job_id}-0"] == pytest.approx(formation + 0.8)


def good(candidate: Candidate) -> str:
    return vasprun(run_for(candidate, TIB2, -24.0))


def test_a_job_of_another_kind_shows_no_results(starter: Path) -> None:
    (candidate,) = candidates_of_structures([TIB2])
    app = open_page("candidates", job=str(candidate.job_id))
    assert not app.error
    assert "kept" not in said(app)


def test_what_the_button_downloads_opens(var: Path) -> None:
    (candidate,) = candidates_of_structures([TIB2])
    with zipfile.ZipFile(io.BytesIO(write_vasp([candidate.id], WriteParams("mp")))) as archive:
        assert archive.testzip() is None
