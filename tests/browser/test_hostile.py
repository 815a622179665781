"""What users write is text: it runs nothing, asks nothing of other machines, and is shown as it is."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from core.ui.text import JOINER
from tests.browser import hostile
from tests.browser.conftest import SECONDS, Watched, fill
from tests.conftest import AppServer
from tests.data.test_readers import TIB2, cif_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# Where any frame sets it, the console says so, which `Watched` keeps
TRAP = "Object.defineProperty(window, '__pwned', {set(v) { console.error('a script of a user ran') }})"


@pytest.fixture(scope="module")
def hostile_app(
    tmp_path_factory: pytest.TempPathFactory, _starter_template: Path
) -> Iterator[tuple[AppServer, dict[str, int]]]:
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(_starter_template, folder / "var")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBHULL_VAR", str(folder / "var"))
        made = hostile.fill(folder)
    server = AppServer(folder / "var", {})
    server.start()
    yield server, made
    server.stop()


def settled(page: Page) -> None:
    """The page's script has ended, and it did not fail."""
    expect(page.get_by_role("heading", level=1).first).to_be_visible()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    if page.get_by_text("This page ran into a fault of the app").count():
        page.get_by_text("Details", exact=True).first.click()
        expect(page.get_by_test_id("stCode").last).to_be_visible()
        raise AssertionError(page.get_by_test_id("stCode").last.inner_text())


def reads(page: Page, text: str) -> None:
    """Wait until the page shows this text as it is."""
    code = """([text, joiner]) => document.querySelector('[data-testid=stMain]').innerText
        .replaceAll(joiner, '').split(/\\s+/).join(' ').includes(text)"""
    page.wait_for_function(code, arg=[" ".join(text.split()), JOINER])


def test_nothing_that_users_write_runs(hostile_app: tuple[AppServer, dict[str, int]], watched: Watched) -> None:
    app, made = hostile_app
    page, evil = watched.page, quote(hostile.ATTACK)
    page.context.add_init_script(TRAP)
    text = hostile.ATTACK
    there = {  # where -> what of it must be readable there
        "": "",
        f"datasets?dataset=hostile&show=recipe&x={evil}": text,
        "datasets?dataset=hostile&show=structures": "",
        f"datasets?dataset={evil}&formula={evil}&element={evil}&energy={evil}&new=recipe&like={evil}": "",
        f"train?job={made['train']}": text,
        f"train?like={evil}&dataset={evil}&model={evil}": "",
        f"models?model={quote(hostile.MARKDOWN)}": text,
        f"generate?model={evil}": "",
        f"generate?job={made['done']}": text,
        f"modify?model={evil}&start={evil}": "",
        f"candidates?run={made['done']}": "",
        f"candidates?run={evil}&candidate={evil}&q={evil}": "",
        f"hulls?hull={made['hull']}": text,
        f"hulls?hull={made['hull']}&show=phases&near={evil}": "",
        f"jobs?job={made['failed']}": text,
        "jobs": "",
    }
    for address, readable in there.items():
        page.goto(f"{app.url}/{address}")
        settled(page)
        if readable:
            reads(page, readable)
        assert page.locator("a[href^=javascript]").count() == 0, address
        assert page.locator("img[src*=evil]").count() == 0, address
    watched.check()


def test_a_tooltip_is_text(hostile_app: tuple[AppServer, dict[str, int]], watched: Watched) -> None:
    app, made = hostile_app
    page = watched.page
    page.context.add_init_script(TRAP)
    page.goto(f"{app.url}/hulls?hull={made['hull']}")
    settled(page)
    marks = page.get_by_test_id("stVegaLiteChart").first.locator("svg g.mark-symbol path")
    marks.and_(page.locator('[aria-label*="formula: TaB2;"]')).last.hover(force=True)
    expect(page.locator("#vg-tooltip-element")).to_contain_text(hostile.SCRIPT)
    watched.check()


def test_hostile_files_are_structures_or_refused_in_words(
    hostile_app: tuple[AppServer, dict[str, int]], watched: Watched, tmp_path: Path
) -> None:
    """A CIF with scripts everywhere is shown; a zip that leads out of itself writes nothing there."""
    app, _ = hostile_app
    page = watched.page
    page.context.add_init_script(TRAP)
    block = hostile.SCRIPT.replace(" ", "")
    cif = f"# {hostile.ATTACK}\n" + cif_of(TIB2).replace("data_TiB2", f"data_{block}")
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.cif", cif)
        archive.writestr("/tmp/absolute/escaped.cif", "nonsense")
        link = zipfile.ZipInfo("link.cif")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bomb.cif", b"0" * 60_000_000)
        archive.writestr("inner.zip", b"PK")
        archive.writestr(f"{hostile.IMAGE}.cif", "data_x\x00\x00")
    page.goto(f"{app.url}/datasets?new=files")
    page.locator("input[type=file]").set_input_files(
        [
            {"name": f"{hostile.IMAGE}{hostile.MARKDOWN}.cif", "mimeType": "text/plain", "buffer": cif.encode()},
            {"name": "long.cif", "mimeType": "text/plain", "buffer": b"data_x\n_cell " + b"9" * 10_000_000},
            {"name": "x.zip", "mimeType": "application/zip", "buffer": packed.read_bytes()},
        ]
    )
    fill(page, "Name of the dataset", "uploaded")
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    expect(page.get_by_text("2 structures in the dataset uploaded")).to_be_visible(timeout=90 * SECONDS)
    page.goto(f"{app.url}/datasets?dataset=uploaded&show=structures")
    expect(page.frame_locator("iframe").first.locator("canvas").first).to_be_visible()
    assert not list(tmp_path.parent.rglob("escaped.cif"))
    assert not Path("/tmp/absolute").exists()
    watched.check()


def test_a_browser_is_told_to_load_nothing_from_elsewhere(
    hostile_app: tuple[AppServer, dict[str, int]], watched: Watched
) -> None:
    app, _ = hostile_app
    answer = watched.page.goto(app.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    settled(watched.page)
    tried = "fetch('http://127.0.0.2:9/').then(() => 'loaded', e => String(e))"
    assert "Failed to fetch" in watched.page.evaluate(tried)
    assert any("Content Security Policy" in e for e in watched.errors), "refused before anything was sent"
    assert not [u for u in watched.strangers if "127.0.0.2" not in u]
