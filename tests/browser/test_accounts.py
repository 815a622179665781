"""Accounts in a real browser: to the provider and back, work of one's own, and out again."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.workflows import audit
from tests.accounts.conftest import ADA, BEN, DATASET, POSCAR, serving
from tests.browser.conftest import Watched, download, fill, go, upload
from tests.conftest import AppServer
from tests.oidc_provider import OidcProvider

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def guarded_app(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    with serving(provider, tmp_path_factory, SUBHULL_DEFAULT_ROLE="editor") as server:
        yield server


def sign_in(watched: Watched, provider: OidcProvider, person: dict[str, object]) -> None:
    provider.next_person = person
    watched.page.get_by_role("button", name="Sign in", exact=True).click()
    expect(watched.page.get_by_text(f"{person['name']} (")).to_be_visible()


def test_an_editor_imports_takes_home_and_deletes_their_own(
    watched: Watched, provider: OidcProvider, guarded_app: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, wanted = watched.page, f"{guarded_app.url}/datasets?dataset={DATASET}"
    page.goto(wanted)
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)
    assert page.title() == "Subhull"
    assert DATASET not in page.content()
    sign_in(watched, provider, BEN)
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()
    assert page.url == wanted, "to where they wanted to go"
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name="Delete this dataset")).to_be_disabled()

    monkeypatch.setenv("SUBHULL_VAR", str(guarded_app.var))
    page.goto(f"{guarded_app.url}/datasets?new=files")
    upload(page, {"name": "POSCAR", "mimeType": "text/plain", "buffer": POSCAR.encode()})
    fill(page, "Name of the dataset", "bens")
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    expect(page.get_by_text("1 structure in the dataset bens")).to_be_visible(timeout=60_000)
    page.goto(f"{guarded_app.url}/datasets?dataset=bens&show=recipe")
    taken = download(page, "JSON lines")
    assert b'"pretty_formula":"TaB2"' in gzip.decompress(Path(taken.path()).read_bytes())
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete this dataset").click()
    expect(page).not_to_have_url(re.compile("bens"))
    static = "fetch('/app/static/LICENSE-3Dmol').then(answer => answer.status)"
    assert page.evaluate(static) == 200

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    watched.check()
    assert page.evaluate(static) == 401
    page.goto(f"{guarded_app.url}/jobs")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    assert "bens" not in page.content()
    told = list(dict.fromkeys((e.action, e.kind, e.thing) for e in audit.list_entries("Ben Ten").listed))
    assert told[1:] == [  # a click that had to be repeated is told twice
        ("delete", "dataset", "bens"),
        ("download", "dataset", "bens, JSON lines"),
        ("import", "dataset", "bens"),
        ("submit", "job", "1"),
        ("sign in", "person", str(BEN["email"])),
    ]
    assert told[0][0] == "sign out"


def test_an_administrator_gives_a_role_and_it_counts_at_once(
    watched: Watched, provider: OidcProvider, guarded_app: AppServer
) -> None:
    page = watched.page
    page.goto(guarded_app.url)
    sign_in(watched, provider, ADA)
    go(page, "People")
    expect(page.get_by_text("Select a row to change a role or quotas.")).to_be_visible()
    page.goto(f"{guarded_app.url}/people?show=log&find=import")
    expect(page.get_by_label("Find")).to_have_value("import")
    watched.check()


def test_a_tab_that_was_signed_out_in_another_says_so(
    watched: Watched, provider: OidcProvider, guarded_app: AppServer
) -> None:
    page = watched.page
    page.goto(f"{guarded_app.url}/datasets?dataset={DATASET}")
    sign_in(watched, provider, BEN)
    page.evaluate("fetch('/auth/logout', {redirect: 'manual'})")  # as another tab does it
    page.wait_for_timeout(2500)  # what was looked up is believed for two seconds
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    assert DATASET not in page.inner_text("body")
