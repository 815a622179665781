"""The Models page in real Chromium: a model goes out as a file and comes back; it is measured on a dataset."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SECONDS, Watched, download, upload
from tests.conftest import AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_model_goes_out_and_comes_back_and_is_measured(app: AppServer, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    page.goto(f"{app.url}/models?model=starter-generator")
    expect(page.get_by_text("A small generator to try the app with")).to_be_visible()
    downloaded = download(page, "Download")
    packed = tmp_path / downloaded.suggested_filename
    downloaded.save_as(packed)
    with zipfile.ZipFile(packed) as archive:
        assert {Path(n).name for n in archive.namelist()} == {"model.safetensors", "config.json", "card.json"}

    page.get_by_text("Add a model").click()
    upload(page, packed)
    page.get_by_role("button", name="Add the model").click()
    expect(page.get_by_text("There is a model 'starter-generator' already")).to_be_visible()
    page.get_by_role("textbox", name="Name", exact=True).fill("came back")
    page.get_by_role("button", name="Add the model").click()
    page.wait_for_url(re.compile("model=came"))
    expect(page.get_by_role("heading", name="came back")).to_be_visible()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)  # a click while the page is drawn may be lost

    page.get_by_role("radio", name="Evaluate", exact=True).or_(page.get_by_text("Evaluate", exact=True)).first.click()
    page.wait_for_url("**show=evaluations**")
    expect(page.get_by_text("Not evaluated yet")).to_be_visible()
    field = page.locator('input[aria-label^="Structures, at most"]')
    field.fill("12")
    field.press("Tab")
    page.get_by_test_id("stFormSubmitButton").get_by_role("button", name="Evaluate").click()
    page.wait_for_url("**job=**")
    expect(page.get_by_text("Match rate by atoms in the cell")).to_be_visible(timeout=120 * SECONDS)
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(3)
    page.go_back()
    page.wait_for_url(re.compile(r"show=evaluations(?!.*job=)"))
    expect(page.get_by_text("Select an evaluation to see it.")).to_be_visible()
    watched.check()


def test_a_file_that_is_no_model_is_refused_in_words(cold_app: AppServer, watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "weights.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pt", b"pickled")
    page = watched.page
    page.goto(f"{cold_app.url}/models?new=1")
    upload(page, path)
    page.get_by_role("button", name="Add the model").click()
    expect(page.get_by_text("Pickled weights (.pt, .ckpt, .bin) can run code")).to_be_visible()
    watched.check()
