"""The app in real Chromium: the whole way from a file to a bundle, and every page cold by its URL."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SECONDS, Watched, download, fill, go, upload
from tests.conftest import AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGES = ["", "datasets", "train", "models", "generate", "modify", "candidates", "hulls", "jobs"]


def rows_of(folder: Path) -> Path:
    """A file of structures like AFLOW's, with one broken line: half the starter dataset's borides."""
    from core.settings import ASSETS

    with gzip.open(ASSETS / "starter" / "structures.jsonl.gz", "rt") as file:
        lines = [line for line in file if set(json.loads(line)["species"]) <= {"B", "Ta", "W"}]
    path = folder / "borides.jsonl"
    path.write_text("".join(lines) + '{"auid": "broken"\n')
    return path


def test_from_a_file_to_a_bundle(app: AppServer, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    page.goto(app.url)
    expect(page.get_by_text("Next: generate your first crystals")).to_be_visible()
    expect(page.get_by_text("B-Ta-W by CHGNet-0.3.0")).to_be_visible()

    go(page, "Datasets")
    page.get_by_text("New dataset").click()
    upload(page, rows_of(tmp_path))
    fill(page, "Name of the dataset", "borides")
    fill(page, "Energy method", "M3GNet-MP-2021.2.8")
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    expect(
        page.get_by_text(re.compile(r"structures in the dataset borides\. 1 row not taken: 1 malformed"))
    ).to_be_visible()
    page.get_by_role("button", name="Show it").click()
    page.wait_for_url("**dataset=borides**")
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()

    go(page, "Train")
    page.get_by_text("0.2 M parameters").click()
    fill(page, "Name of the model", "walked")
    fill(page, "Minutes of training", "0.3")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text("validation loss", exact=True)).to_be_visible()
    app.kill()
    app.start()  # the server was killed: the training is still running, and shown
    page.reload()
    expect(page.get_by_text("Use walked")).to_be_visible(timeout=90 * SECONDS)
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    watched.errors.clear()  # the connection that broke with the server

    go(page, "Generate")
    expect(page.get_by_text("TaWB6 has no relative in the training data")).to_be_visible()
    fill(page, "Candidates per combination", "4")
    page.get_by_role("radio", name="nothing", exact=True).click()  # they are relaxed on their own page, below
    page.wait_for_url("**then=**")
    page.get_by_role("button", name="Generate 4 candidates").click()
    expect(page.get_by_text("Relax them and see them against the hull")).to_be_visible()
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()
    page.get_by_text("Relax them and see them against the hull").click()

    expect(page.get_by_role("heading", name="Candidates", level=1)).to_be_visible()
    main = page.get_by_test_id("stMain")
    main.get_by_text("Relax", exact=True).click()
    page.get_by_role("button", name=re.compile(r"^Relax \d")).click()
    page.wait_for_url("**job=**")
    main.get_by_text("On the hull", exact=True).click()
    expect(page.get_by_text(re.compile(r"Lowest: .*eV/atom (above|below) this hull"))).to_be_visible(
        timeout=120 * SECONDS
    )
    expect(page.get_by_text("no discovery yet")).to_be_visible()
    main.get_by_text("View", exact=True).click()
    page.get_by_text("How it relaxed").click()
    player = page.frame_locator("iframe").last
    expect(player.locator("#now")).to_contain_text("step 0 ·")
    player.get_by_role("button", name="Play").click()
    expect(player.locator("#now")).not_to_contain_text("step 0 ·")
    main.get_by_text("Take home", exact=True).click()
    with zipfile.ZipFile(Path(download(page, re.compile(r"^Download \d")).path())) as archive:
        names = archive.namelist()
        assert {"candidates.csv", "candidates.extxyz", "manifest.json"} <= set(names)
        assert any(n.endswith("_relaxed.cif") for n in names)
    page.screenshot(path=str(tmp_path / "candidates.png"), full_page=True)
    watched.check()


@pytest.mark.parametrize("name", PAGES)
def test_pages_open_cold_inside_the_frame(cold_app: AppServer, watched: Watched, name: str) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/{name}")
    expect(page.get_by_role("heading", level=1).first).to_be_visible()
    links = page.get_by_test_id("stSidebarNav").get_by_role("link")
    expect(links).to_have_count(len(PAGES))
    expect(page.get_by_test_id("stException")).to_have_count(0)
    watched.check()


def test_a_file_that_is_too_large_is_refused_in_words(cold_app: AppServer, watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(300_000_000)
    page = watched.page
    page.goto(f"{cold_app.url}/datasets")
    page.get_by_text("New dataset").click()
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_text(re.compile(r"must be 200(\.0)?\s?MB or smaller"))).to_be_visible()
    watched.check()
