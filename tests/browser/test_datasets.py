"""The Datasets page in real Chromium: linked charts, AFLOW's entries, a recipe, downloads."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.aflux_server import AfluxServer
from tests.browser.conftest import SECONDS, Watched, download, fill
from tests.conftest import AppServer, workers_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def chart(page: Page, number: int) -> Locator:
    return page.get_by_test_id("stVegaLiteChart").nth(number)


def settled(page: Page) -> None:
    """The script has run and every chart is drawn."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    expect(chart(page, 4).locator("svg")).to_be_visible()


def brush(page: Page, number: int) -> None:
    """Drag over the middle of a chart."""
    target = chart(page, number)
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 80, steps=8)
    page.mouse.up()


def press(page: Page, symbol: str, table: int = 0) -> None:
    """Click an element of a periodic table."""
    chart(page, table).locator("text", has_text=re.compile(f"^{symbol}$")).click(force=True)


def test_charts_filter_the_table_and_chips_take_filters_away(cold_app: AppServer, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/datasets?dataset=starter")
    expect(chart(page, 4).locator("svg")).to_be_visible()
    settled(page)
    brush(page, 2)
    page.wait_for_url("**energy=**")
    expect(page.get_by_text(re.compile(r"[\d,]+ structures of \d+ formulas are shown"))).to_be_visible()
    settled(page)
    press(page, "Ta")
    page.wait_for_url("**element=Ta**")
    chip = page.get_by_role("button", name="with Ta")
    expect(chip).to_be_visible()
    settled(page)
    chart(page, 1).locator("path[aria-roledescription=bar]").nth(3).click(force=True)
    page.wait_for_url("**group=**")
    expect(page.get_by_role("button", name=re.compile(r"^space group \d"))).to_be_visible()
    settled(page)
    chip.click()
    page.wait_for_function("!location.search.includes('element=')")
    page.reload()
    expect(page.get_by_role("button", name=re.compile(r"^space group \d"))).to_be_visible()
    expect(page.get_by_role("button", name=re.compile(r"^[−\d.].*eV.atom"))).to_be_visible()
    watched.check()


def test_polymorphs_stand_side_by_side(cold_app: AppServer, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/datasets?dataset=starter&show=polymorphs&formula=TaB2")
    for number in range(3):
        expect(page.frame_locator("iframe").nth(number).locator("canvas").first).to_be_visible()
    expect(page.get_by_text(re.compile("above the lowest")).first).to_be_visible()
    watched.check()


def test_a_dataset_is_downloaded(cold_app: AppServer, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/datasets?dataset=starter&show=recipe")
    with gzip.open(download(page, re.compile("JSON lines")).path(), "rt") as file:
        assert sum(1 for _ in file) == 3085
    watched.check()


@pytest.fixture
def aflow_app(var: Path, shared: Path) -> Iterator[tuple[AppServer, AfluxServer]]:
    """The app with a stand-in for AFLOW's server that stumbles now and then."""
    entries = json.loads((shared / "data" / "aflow" / "aflux_geometry_page.json").read_text())
    with AfluxServer(entries, faults={2: "500", 3: "truncated"}) as aflow:
        server = AppServer(var, {"SUBHULL_AFLUX_URL": aflow.url})
        server.start()
        yield server, aflow
        server.stop()
    for process in workers_of(var):
        process.kill()


def test_aflow_becomes_a_dataset_and_a_recipe_another(
    aflow_app: tuple[AppServer, AfluxServer], watched: Watched
) -> None:
    app, aflow = aflow_app
    page = watched.page
    page.goto(f"{app.url}/datasets?new=aflow")
    expect(chart(page, 0).locator("svg")).to_be_visible()
    press(page, "C")
    expect(page.get_by_role("textbox", name="The summons that is sent")).to_have_value(
        re.compile(r"^species\(\(B:Ta:W:C\),")
    )
    page.get_by_role("button", name="Count the entries").click()
    expect(page.get_by_text("5 entries match.")).to_be_visible()
    fill(page, "Name of the dataset", "from aflow")
    page.get_by_role("button", name="Import from AFLOW").click()
    expect(
        page.get_by_text("4 structures in the dataset from aflow. 1 row not taken: 1 other DFT type.")
    ).to_be_visible(timeout=60 * SECONDS)
    assert aflow.most_active == 1
    page.get_by_role("button", name="Show it").click()
    expect(page.get_by_text(re.compile("Comp. Mat. Sci. 58, 227")).first).to_be_visible()

    page.goto(f"{app.url}/datasets?new=recipe&like=from aflow")
    expect(page.get_by_role("button", name="Build the dataset of 4 structures")).to_be_visible()
    fill(page, "Name of the dataset", "again")
    page.get_by_role("button", name="Build the dataset of 4 structures").click()
    expect(page.get_by_text("4 structures in the dataset again.")).to_be_visible(timeout=60 * SECONDS)
    watched.check()
