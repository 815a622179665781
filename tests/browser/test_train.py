"""The Train page in real Chromium: start, pause, resume, finish, compare, clone, and the way back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SECONDS, Watched, fill
from tests.conftest import AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def start(page: Page, url: str, name: str, minutes: str) -> str:
    """Start a quick training; returns its job."""
    page.goto(f"{url}/train?preset=quick")
    expect(page.get_by_text("What it costs here")).to_be_visible()
    fill(page, "Name of the model", name)
    fill(page, "Minutes of training", minutes)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url(re.compile(r"job=\d+"))
    found = re.search(r"job=(\d+)", page.url)
    assert found is not None
    return found.group(1)


def test_a_training_is_paused_resumed_finished_and_compared(app: AppServer, watched: Watched) -> None:
    page = watched.page
    first = start(page, app.url, "one", "0.1")
    expect(page.get_by_text("Use one")).to_be_visible(timeout=120 * SECONDS)
    charts = page.get_by_test_id("stVegaLiteChart")
    expect(charts.first.locator("svg")).to_be_visible()

    second = start(page, app.url, "two", "30")
    expect(charts.first.locator("svg")).to_be_visible(timeout=120 * SECONDS)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("paused", exact=True)).to_be_visible()
    expect(page.get_by_text("Resume goes on from its checkpoint")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(r"Samples at step"))).to_be_visible(timeout=120 * SECONDS)
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()
    page.get_by_role("button", name="Finish now").click()
    expect(page.get_by_text("Use two")).to_be_visible(timeout=120 * SECONDS)

    page.goto(f"{app.url}/train?job={second}&compare={first}")
    expect(page.get_by_text("solid: validation, dotted: training")).to_be_visible()
    expect(charts.first.get_by_text(f"one (job {first})")).to_be_visible()
    page.get_by_role("button", name="Clone with changes").click()
    page.wait_for_url(f"**like={second}")
    expect(page.get_by_text("change what you like")).to_be_visible()
    expect(page.locator('input[aria-label^="Name of the model"]')).to_have_value("two-2")
    page.go_back()
    expect(page.get_by_text("Use two")).to_be_visible()
    page.get_by_role("button", name="All trainings").click()
    expect(page.get_by_text("Select a row to open the training.")).to_be_visible()
    watched.check()


def test_choices_live_in_the_url(cold_app: AppServer, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/train")
    expect(page.get_by_text("1.98 M")).to_be_visible()
    page.get_by_text("modification", exact=True).click()
    page.wait_for_url("**task=modification**")
    page.get_by_text("unet", exact=True).click()
    page.wait_for_url("**network=unet**")
    page.get_by_text("paper", exact=True).click()
    expect(page.get_by_text("305 M", exact=True)).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.get_by_text("1.98 M", exact=True)).to_be_visible()
    expect(page.get_by_text("cfm", exact=True)).to_be_visible()
    watched.check()
