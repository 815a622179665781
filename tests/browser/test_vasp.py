"""To VASP and back in real Chromium: the zip that comes down, the results that go up."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pymatgen.io.vasp import Incar, Poscar

from tests.browser.conftest import SECONDS, Watched, download, upload
from tests.conftest import AppServer
from tests.data.test_readers import TIB2
from tests.vasp_runs import Run, outcar, vasprun
from tests.workflows.test_vasp import REFERENCES, TIB, candidates_of_structures

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_candidates_go_to_vasp_and_come_back(app: AppServer, watched: Watched, tmp_path: Path) -> None:
    made = candidates_of_structures([TIB2, TIB])
    page = watched.page
    page.goto(f"{app.url}/candidates")
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()  # the page is drawn to its end
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    page.get_by_test_id("stMain").get_by_text("To DFT", exact=True).click()
    button = page.get_by_role("button", name="VASP input of 2")
    expect(button).to_be_visible()
    downloaded = download(page, re.compile("VASP input of 2"))
    results, systems = io.BytesIO(), []
    with (
        zipfile.ZipFile(Path(downloaded.path())) as archive,
        zipfile.ZipFile(results, "w") as answer,
    ):
        assert {"README.txt", "manifest.json"} <= set(archive.namelist())
        for number, name in enumerate(n for n in archive.namelist() if n.endswith("/POSCAR")):
            structure = Poscar.from_str(archive.read(name).decode()).structure
            system = str(Incar.from_str(archive.read(name.replace("POSCAR", "INCAR")).decode())["SYSTEM"])
            systems.append(system)
            energy = REFERENCES.get(structure.composition.reduced_formula, -8.0)
            run = Run([structure], [energy * len(structure)], system=system)
            place = name.rsplit("/", 1)[0]
            text = vasprun(run) if number % 2 else outcar(run)
            answer.writestr(f"{place}/{'vasprun.xml' if number % 2 else 'OUTCAR'}", text)
        answer.writestr("cut/OUTCAR", text[:900])
    assert len(systems) == len(made) + 2, "the elements go too"
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    upload(page, {"name": "results.zip", "mimeType": "application/zip", "buffer": results.getvalue()})
    page.get_by_role("button", name="Read the results").click()
    expect(page.get_by_text("2 results kept.")).to_be_visible(timeout=90 * SECONDS)
    expect(page.get_by_text("1 file not taken:")).to_be_visible()
    expect(page.get_by_text("Elemental references of VASP (eV/atom): B −6.7000, Ti −7.8000.")).to_be_visible()
    expect(page.get_by_text("There is no hull by VASP yet")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    page.screenshot(path=str(tmp_path / "vasp.png"), full_page=True)
    watched.check()
