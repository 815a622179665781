"""The viewer in a real page: it draws, its controls change the picture, the picture is saved, nothing hostile runs."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import FrameLocator, Page, expect

from tests.browser.conftest import SECONDS, Watched
from tests.conftest import ROOT, AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def shot(page: Page) -> np.ndarray:
    """The canvas as the eye sees it, once two pictures of it are alike."""
    frame = page.locator("iframe").first
    before = None
    for _ in range(40):
        now = np.asarray(Image.open(io.BytesIO(frame.screenshot())).convert("RGB")).astype(int)
        if before is not None and now.shape == before.shape and not (now != before).any():
            return now
        before = now
        page.wait_for_timeout(100)
    raise AssertionError("the picture does not come to rest")


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the pixels below the controls that changed."""
    return float((np.abs(before - after).max(2) > 24)[110:].mean())


def opened(watched: Watched, url: str) -> FrameLocator:
    watched.page.goto(url, timeout=60 * SECONDS)
    viewer = watched.page.locator("iframe").first
    expect(viewer).to_be_attached()
    viewer.scroll_into_view_if_needed()
    inside = viewer.content_frame
    expect(inside.locator("body[data-ready=yes]")).to_be_attached()
    return inside


def test_controls_change_the_picture_and_it_is_saved(watched: Watched, cold_app: AppServer, tmp_path: Path) -> None:
    page = watched.page
    inside = opened(watched, f"{cold_app.url}/datasets?dataset=starter&show=structures&formula=TaB2&palette=blind")
    view = inside.get_by_role("img").first
    expect(view).to_have_attribute("aria-label", re.compile(r"TaB2, space group .*number \d+: \d+ atoms"))
    first = shot(page)
    assert len(np.unique(first[110:].reshape(-1, 3), axis=0)) > 200, "shaded spheres, not an empty canvas"
    last = first
    for name in ("Bonds", "c", "Show Ta"):
        inside.get_by_role("button", name=name, exact=True).click()
        now = shot(page)
        assert changed(last, now) > 0.002, name
        last = now
    inside.get_by_role("button", name="Show Ta").press("Enter")
    expect(inside.get_by_role("button", name="Show Ta")).to_have_attribute("aria-pressed", "true")
    inside.get_by_label("Cells along a").select_option("2")
    expect(inside.get_by_role("status")).to_contain_text("2×1×1 supercell, view only")
    assert changed(last, shot(page)) > 0.002
    view.focus()
    last = shot(page)
    view.press("ArrowLeft")
    assert changed(last, shot(page)) > 0.002
    with page.expect_download() as saved:
        inside.get_by_role("button", name="PNG").click()
    assert saved.value.suggested_filename == "TaB2.png"
    saved.value.save_as(tmp_path / "picture.png")
    picture = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))
    assert picture.shape[1] > 700
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 200
    watched.check()


def test_the_view_is_kept_when_colours_change(watched: Watched, cold_app: AppServer) -> None:
    page = watched.page
    inside = opened(watched, f"{cold_app.url}/datasets?dataset=starter&show=structures&formula=TaB2")
    inside.get_by_label("Cells along c").select_option("3")
    before = shot(page)
    page.get_by_text("Colour-blind", exact=True).click()
    page.wait_for_url("**palette=blind**")
    expect(inside.locator("#legend i").first).to_have_css("background-color", "rgb(0, 114, 178)")
    expect(inside.get_by_role("status")).to_contain_text("1×1×3 supercell")
    assert changed(before, shot(page)) > 0.01
    page.reload()
    expect(inside.locator("#legend i").first).to_have_css("background-color", "rgb(0, 114, 178)")
    assert "palette=blind" in page.url
    expect(page.get_by_role("radio", name="Colour-blind")).to_be_checked()
    watched.check()


def test_hostile_names_are_only_names(watched: Watched, cold_app: AppServer, tmp_path: Path) -> None:
    """A structure's name and an element that is none: nothing of them runs, on the page or in a file's name."""
    name = "</script><img src=x onerror=window.hacked=1>"
    row = {
        "auid": name, "species": ["Cl", "Na"], "composition": [1, 1], "geometry": [4, 4, 4, 60, 60, 60],
        "positions_fractional": [[0, 0, 0], [0.5, 0.5, 0.5]],
    }  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in (row, row | {"species": ["<b>", "Cl"]})))
    command = [sys.executable, "-W", "ignore", "-m", "core", "dataset", "import", str(path), "--name", "hostile"]
    subprocess.run(command, cwd=ROOT, env=cold_app.env, check=True, capture_output=True, timeout=120)
    page = watched.page
    inside = opened(watched, f"{cold_app.url}/datasets?dataset=hostile&show=structures")
    expect(inside.get_by_role("button", name="Show Na")).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert inside.locator("body").evaluate("() => [window.hacked, document.images.length]") == [None, 0]
    page.get_by_role("button", name="Download").last.click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="CIF, P1").click()
    assert saved.value.suggested_filename == "script-img-src-x-onerror-window.hacked-1.cif"
    watched.check()
