"""The Modify page in real Chromium: a file, its preview, an ordering, a run, and before and after side by side."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pymatgen.core import Lattice, Structure

from tests.browser.conftest import SECONDS, Watched, download, fill
from tests.conftest import AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "</script><script>document.title='owned'</script>"


def test_from_a_file_to_before_and_after(cold_app: AppServer, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    shared = Structure(Lattice.cubic(3.2), [{"Ta": 0.5, "W": 0.5}], [[0, 0, 0]]) * (2, 2, 1)
    path = tmp_path / "x.cif"
    path.write_text(f"# {HOSTILE}\n" + shared.to(fmt="cif"))
    page.goto(f"{cold_app.url}/modify?relax=none&count=2")
    expect(page.get_by_text("A structure of yours")).to_be_visible()
    page.locator("input[type=file]").set_input_files(
        {"name": "<img src=x onerror=alert(1)>.cif", "mimeType": "text/plain", "buffer": path.read_bytes()}
    )
    page.wait_for_url(re.compile(r"start=[0-9a-f]{16}"))
    expect(page.get_by_text("Some sites are shared or partly empty")).to_be_visible()
    expect(page.get_by_text("formation energy", exact=True)).to_be_visible(timeout=120 * SECONDS)
    page.reload()  # the hash in the address keeps it
    expect(page.get_by_text("P4/mmm (123)")).to_be_visible()
    expect(page.locator("iframe").first).to_be_visible()
    fill(page, "Energy changes", "-0.1, -0.2")
    page.wait_for_url("**changes=**")
    page.get_by_role("button", name="Draw 4 candidates").click()
    page.wait_for_url(re.compile(r"job=\d+"))
    expect(page.get_by_text("ΔE asked → reached")).to_be_visible(timeout=180 * SECONDS)
    expect(page.get_by_text("Both are as drawn, not relaxed")).to_be_visible()
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()
    with zipfile.ZipFile(Path(download(page, re.compile("The run as a zip")).path())) as archive:
        assert sum(name.endswith(".cif") for name in archive.namelist()) == 4
    page.get_by_role("button", name=re.compile(r"^Modify \d+-\d+ further")).click()
    page.wait_for_url(re.compile(r"candidate=\d+"))
    expect(page.get_by_text(re.compile(r"It is candidate"))).to_be_visible()
    assert page.title() != "owned"
    watched.check()
