"""The Generate page in real Chromium: conditions by clicks, the chain with its stages, candidates, more like this."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SECONDS, Watched, fill
from tests.conftest import AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_from_clicks_to_candidates_on_a_hull(app: AppServer, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{app.url}/generate?formula=Ta1B1&steps=10&rsteps=5")
    expect(page.get_by_role("button", name="Generate 8 candidates")).to_be_visible()
    page.get_by_role("button", name="Elements").click()
    table = page.get_by_test_id("stPopoverBody").get_by_test_id("stVegaLiteChart")
    table.locator("svg text", has_text=re.compile("^B$")).click(force=True)
    page.wait_for_url("**formula=TaB2**")
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="hexagonal", exact=True).click()
    page.wait_for_url("**groups=168-194**")
    fill(page, "Space groups", "P6/mmm")
    expect(page.get_by_text("1 space group: 191 P6/mmm")).to_be_visible()
    page.get_by_role("radio", name="ladders").click()
    expect(page.get_by_text(re.compile(r"Ladders start at the hull 'starter' of B-Ta-W"))).to_be_visible()
    page.get_by_role("radio", name="3", exact=True).click()
    fill(page, "Candidates per combination", "1")
    page.get_by_role("button", name="Generate 3 candidates").click()

    page.wait_for_url(re.compile(r"\?job=\d+$"))
    run = page.url
    expect(page.get_by_text("Place on the hull", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(r"lowest .* meV/atom above it"))).to_be_visible(timeout=120 * SECONDS)
    expect(page.get_by_text("3 of 3", exact=True)).to_be_visible()
    expect(page.get_by_text("Lowest above the hull")).to_be_visible()
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()

    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    page.get_by_role("link", name="Generate more like this").click()
    page.wait_for_url("**seed=1**")
    expect(page.get_by_role("button", name="Generate 3 candidates")).to_be_visible()
    expect(page.get_by_label("Space groups", exact=True)).to_have_value("191")
    page.goto(run)
    expect(page.get_by_text("Lowest above the hull")).to_be_visible()
    watched.check()


def test_substitution_like_any_model(app: AppServer, watched: Watched) -> None:
    """Chosen in the list of models, it draws in a moment; the candidates say of which structure they were made."""
    page = watched.page
    page.goto(f"{app.url}/generate?formula=Ta2B4&then=nothing")
    expect(page.get_by_role("button", name="Generate 8 candidates")).to_be_visible()
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="substitution in starter", exact=True).click()
    page.wait_for_url(re.compile("model=substitution"))
    expect(page.get_by_text("Known structures of this dataset with the new elements put in")).to_be_visible()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    page.get_by_role("button", name="Generate 8 candidates").click()
    page.wait_for_url(re.compile(r"\?job=\d+$"))
    expect(page.get_by_text("8 of 8", exact=True)).to_be_visible(timeout=120 * SECONDS)
    expect(page.get_by_text(re.compile("with its elements exchanged, confidence")).first).to_be_visible()
    watched.check()
