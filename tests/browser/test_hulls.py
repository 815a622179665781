"""Hulls in a real browser: bring one in, click a phase, turn the surface, take it home."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched, download, upload
from tests.conftest import AppServer

pytestmark = pytest.mark.slow


def click_phase(page: Page, formula: str) -> None:
    """Charts are SVG whose marks are named by what they show."""
    marks = page.get_by_test_id("stVegaLiteChart").first.locator("svg g.mark-symbol path")
    marks.and_(page.locator(f'[aria-label*="formula: {formula};"]')).last.click(force=True)


def test_a_hull_is_looked_at_and_taken_home(cold_app: AppServer, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/hulls")
    expect(page.get_by_role("heading", name="Hulls", level=1)).to_be_visible()
    expect(page.get_by_text("is unreliable")).to_be_visible()
    click_phase(page, "TaB2")
    page.wait_for_url(re.compile(r"phase=\d+"))
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()
    page.reload()
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()
    for name, first in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"formula,"), ("JSON", b"{")):
        assert Path(download(page, name).path()).read_bytes().startswith(first)
    page.get_by_test_id("stMain").get_by_text("Surface", exact=True).click()
    expect(page.get_by_test_id("stPlotlyChart").locator("canvas").first).to_be_visible()
    page.get_by_test_id("stMain").get_by_text("Phases", exact=True).click()
    expect(page.get_by_text("Select a phase to see it.")).to_be_visible()
    watched.check()


def test_a_hull_file_of_aflow_comes_in_and_a_broken_one_is_refused(
    cold_app: AppServer, watched: Watched, shared: Path, tmp_path: Path
) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/hulls?new=file")
    broken = tmp_path / "broken<b>.json"
    broken.write_text('{"points": [{"composition": "</script>"}]}')
    upload(page, str(broken))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("brokenb.json holds no phase with a formation energy")
    page.goto(f"{cold_app.url}/hulls?new=file")
    upload(page, str(shared / "data" / "aflow" / "nhull_MnPdPt.json.gz"))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", name="Mn-Pd-Pt · AFLOW")).to_be_visible()
    expect(page.get_by_test_id("stMetric").filter(has_text="on the hull")).to_contain_text("20")
    click_phase(page, "MnPd3")
    expect(page.get_by_text("This hull holds no structure of it.")).to_be_visible()
    watched.check()
