"""Candidates in a real browser: filter, order, select, star, note, delete and undo, compare, and the URL again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, TimeoutError, expect

from tests.browser.conftest import SECONDS, Watched, fill
from tests.conftest import AppServer
from tests.data.test_readers import TIB2
from tests.workflows.test_vasp import OTHER_TIB2, TIB, candidates_of_structures

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> **b**"
ROW = 33  # pixels of a row of the table, which is a canvas


def click_table(page: Page, x: int, row: int, url: str | re.Pattern[str]) -> None:
    """Click a row of the table (-1 is the header), x pixels from its left edge; the URL tells when it was heard.

    Once more where the table was drawn anew meanwhile, as a person would.
    """
    for patience in (10, 20, 30):
        settle(page)
        table = page.get_by_test_id("stDataFrame").first.locator(".dvn-scroller")
        table.click(position={"x": x, "y": ROW * (row + 1.5)})
        try:
            page.wait_for_url(url, timeout=patience * SECONDS)
        except TimeoutError:
            continue
        settle(page)
        return
    raise AssertionError(f"a click on row {row} did not lead to {url}")


def settle(page: Page) -> None:
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)


def test_a_list_is_worked_through(app: AppServer, watched: Watched) -> None:
    made = candidates_of_structures([TIB2, TIB, OTHER_TIB2, TIB2])
    page = watched.page
    page.goto(f"{app.url}/candidates")
    expect(page.get_by_text("4 of 4 candidates.")).to_be_visible()
    fill(page, "Formula", "TiB2")
    page.wait_for_url("**formula=TiB2**")
    expect(page.get_by_text("3 of 4 candidates.")).to_be_visible()
    click_table(page, 74, -1, "**sort=run**")  # the header of the column id, left of its menu
    click_table(page, 16, 0, f"**pick={made[0].id}**")
    click_table(page, 110, 1, f"**candidate={made[2].id}**")  # a cell of the second row opens it
    expect(page.get_by_text(f"candidate {made[2].job_id}-2, as generated")).to_be_visible()
    expect(page.get_by_text("1 selected")).to_be_visible()

    settle(page)
    page.get_by_role("button", name="Star", exact=True).first.click()
    expect(page.get_by_text("1 candidate starred.")).to_be_visible()
    note = page.get_by_label("Note", exact=True)
    note.fill(HOSTILE)
    note.blur()
    expect(page.get_by_text("Note kept.")).to_be_visible()
    settle(page)

    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Deleted 1.")).to_be_visible()
    expect(page.get_by_text("2 of 3 candidates.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("3 of 4 candidates.")).to_be_visible()
    expect(page.get_by_role("button", name="All 3 that pass")).to_be_visible()
    expect(page.get_by_role("button", name="Starred", exact=True)).to_be_visible()  # the first is open
    click_table(page, 16, 0, f"**pick={made[0].id}**")
    click_table(page, 16, 2, re.compile(rf"pick={made[0].id}(,|%2C){made[3].id}"))
    expect(page.get_by_text("2 selected")).to_be_visible()
    settle(page)
    page.get_by_test_id("stMain").get_by_text("Compare", exact=True).click()
    expect(page.get_by_text("The same structure")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The same structure")).to_be_visible()
    expect(page.get_by_text("2 selected")).to_be_visible()
    expect(page.get_by_text("3 of 4 candidates.")).to_be_visible()
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()
    assert page.title() != "owned"
    watched.check()
