"""Chromium, watched: what the browser tests share."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Download, Page, TimeoutError, expect, sync_playwright

from tests.conftest import CHROMIUM_ARGS, AppServer

_OWN = re.compile(r"^(https?|wss?)://127\.0\.0\.1:|^(data|blob|about):")
_PROBES = re.compile(r"/_stcore/(health|host-config)$")  # Streamlit's own, on a cold deep link
SECONDS = 1000


class Watched:
    """A page whose requests and console are watched."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.strangers: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda r: None if _OWN.match(r.url) else self.strangers.append(r.url))
        page.on("console", self._console)
        page.on("pageerror", lambda e: self.errors.append(str(e)))

    def _console(self, message) -> None:
        probe = "404" in message.text and _PROBES.search(message.location.get("url", ""))
        if message.type == "error" and not probe:
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def check(self) -> None:
        assert self.strangers == [], "nothing leaves the machine"
        assert self.errors == []


@pytest.fixture
def watched(chromium: str) -> Iterator[Watched]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        page.set_default_timeout(30 * SECONDS)
        expect.set_options(timeout=60 * SECONDS)
        yield Watched(page)
        browser.close()


@pytest.fixture(scope="module")
def cold_app(tmp_path_factory: pytest.TempPathFactory, _starter_template: Path) -> Iterator[AppServer]:
    var = tmp_path_factory.mktemp("cold") / "var"
    shutil.copytree(_starter_template, var)
    server = AppServer(var, {})
    server.start()
    yield server
    server.stop()


def go(page: Page, name: str) -> None:
    """Open a page by its link; once more where the page before took the click for its own, as a person would."""
    link = page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True)
    heading = page.get_by_role("heading", name=name, level=1)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    link.click()
    try:
        expect(heading).to_be_visible(timeout=15 * SECONDS)
    except AssertionError:
        link.click()
        expect(heading).to_be_visible()


def download(page: Page, name: str | re.Pattern[str]) -> Download:
    """Click a download button; once more where the page ran again meanwhile and the file had another address."""
    button = page.get_by_role("button", name=name, exact=True)
    for patience in (15, 30):
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
        try:
            with page.expect_download(timeout=patience * SECONDS) as downloading:
                button.click()
            return downloading.value
        except TimeoutError:
            continue
    raise AssertionError(f"nothing was downloaded by {name}")


def fill(page: Page, label: str, text: str) -> None:
    field = page.locator(f'input[aria-label^="{label}"]')
    field.fill(text)
    field.press("Tab")


def upload(page: Page, files: Any) -> None:
    """Choose files, as `set_input_files` takes them, and wait until they are up: their size is said then."""
    page.locator("input[type=file]").set_input_files(files)
    expect(page.get_by_text(re.compile(r"\d\.?\d*\s?(B|KB|MB)$")).first).to_be_visible()
