"""Keyboard and screen reader: what can be used has a name, and the keyboard gets there."""

from __future__ import annotations

from contextlib import suppress

import pytest
from playwright.sync_api import TimeoutError, expect

from tests.browser.conftest import SECONDS, Watched
from tests.conftest import AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# What stands in the page's main part without a name of its own; Streamlit calls a frame "st.iframe" by default
NAMELESS = """() => {
    const main = document.querySelector('[data-testid=stMain]');
    const text = e => (e.textContent || '').trim();  // also of what a closed expander holds
    const named = e => (e.getAttribute('aria-label') || '').trim() || text(e) || e.title ||
        [...(e.labels || [])].map(text).join('') ||
        (e.getAttribute('aria-labelledby') || '').split(' ').map(i => text(document.getElementById(i) || e)).join('');
    const seen = e => e.offsetParent !== null && !e.closest('[aria-hidden=true]') && e.type !== 'hidden';
    const controls = [...main.querySelectorAll('button, a[href], input, select, textarea, [role=slider]')].filter(seen);
    const frames = [...main.querySelectorAll('iframe')].filter(e => !e.title || e.title === 'st.iframe');
    const said = e => [e, ...e.querySelectorAll('[aria-label]')].map(c => c.getAttribute('aria-label') || '');
    const charts = [...main.querySelectorAll('[data-testid=stVegaLiteChart]')]
        .filter(e => !said(e).some(label => label.length > 8));
    return [...controls.filter(e => !named(e)), ...frames, ...charts].map(e => e.outerHTML.slice(0, 200));
}"""
ADDRESSES = [
    "",
    "datasets?dataset=starter",
    "datasets?dataset=starter&show=structures",
    "datasets?new=files&show=recipe",
    "train",
    "models",
    "generate",
    "modify",
    "candidates",
    "hulls",
    "jobs",
]


def test_everything_has_a_name(cold_app: AppServer, watched: Watched) -> None:
    page = watched.page
    nameless = {}
    for address in ADDRESSES:
        page.goto(f"{cold_app.url}/{address}")
        expect(page.get_by_role("heading", level=1).first).to_be_visible()
        expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_have_count(1)
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
        with suppress(TimeoutError):  # labels are drawn a moment after their controls
            page.wait_for_function(f"() => !({NAMELESS})().length", timeout=15 * SECONDS)
            continue
        nameless[address] = page.evaluate(NAMELESS)
    assert nameless == {}
    watched.check()


def test_a_dataset_is_filtered_by_keyboard_alone(cold_app: AppServer, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{cold_app.url}/datasets?dataset=starter")
    button = page.get_by_role("button", name="Filter", exact=True)
    expect(button).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart").nth(4).locator("svg")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if button.evaluate("e => e === document.activeElement"):
            break
    page.keyboard.press("Enter")
    field = page.locator('input[aria-label^="Space group"]')
    expect(field).to_be_visible()
    field.focus()
    page.keyboard.type("191")
    page.keyboard.press("Enter")
    page.wait_for_url("**group=191**", timeout=30 * SECONDS)
    expect(page.get_by_role("button", name="space group 191")).to_be_visible()
    watched.check()
