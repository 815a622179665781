"""Every page as it looks, light and dark, 1280 pixels wide: `python -m tests.browser.screenshots`.

Starts the app on a store with a little real content (what ships, a run of candidates, relaxed, a modification, a
training, an evaluation, a failed job) and writes PNGs into var/screenshots/. `--store DIR` keeps the store and uses it
again; `--only candidates hulls` takes the states whose names begin so. To add a state, add a line to `STATES`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as Late

from core.settings import ROOT
from tests.conftest import CHROMIUM_ARGS, AppServer, workers_of

WIDTH, HEIGHT, TALLEST = 1280, 800, 4000
Prepare = Callable[[Page], None]


@dataclass(frozen=True)
class State:
    """A page in one state. address: {names} are filled from what `fill` made; prepare: what to click first."""

    name: str
    address: str
    prepare: Prepare | None = None


def opened(text: str) -> Prepare:
    """Click what bears this text: an expander, a popover, a segment."""
    return lambda page: page.get_by_test_id("stMain").get_by_text(text, exact=True).first.click()


def selected(*numbers: int) -> Prepare:
    """Tick rows of the first table; it is drawn on a canvas, with its heading 35 pixels high."""

    def click(page: Page) -> None:
        box = page.get_by_test_id("stDataFrame").first.bounding_box()
        for number in numbers if box else ():
            page.mouse.click(box["x"] + 14, box["y"] + 35 * (number + 1.5))

    return click


STATES = [
    State("home", ""),
    State("datasets", "datasets?dataset=starter"),
    State("datasets-new", "datasets?new=files"),
    State("datasets-aflow", "datasets?new=aflow"),
    State("datasets-recipe", "datasets?new=recipe&like=starter"),
    State("datasets-filtered", "datasets?dataset=starter&element=Ta"),
    State("datasets-polymorphs", "datasets?dataset=starter&show=polymorphs&formula=TaB2"),
    State("datasets-structures", "datasets?dataset=starter&show=structures"),
    State("datasets-about", "datasets?dataset=starter&show=recipe"),
    State("train", "train"),
    State("train-done", "train?job={train}"),
    State("models", "models?model=starter-generator"),
    State("models-evaluate", "models?model=starter-generator&show=evaluations&job={evaluate}"),
    State("generate", "generate"),
    State("generate-done", "generate?job={generate}"),
    State("modify", "modify"),
    State("modify-done", "modify?job={modify}"),
    State("candidates", "candidates"),
    State("candidates-run", "candidates?run={generate}"),
    State("candidates-selected", "candidates?run={generate}", selected(0, 1)),
    State("hulls", "hulls"),
    State("hulls-phases", "hulls?show=phases"),
    State("hulls-new", "hulls?new=file"),
    State("jobs", "jobs"),
    State("jobs-one", "jobs?job={generate}"),
    State("jobs-failed", "jobs?job={failed}"),
    State("empty-link", "models?model=no-such-model"),
]


def fill() -> dict[str, Any]:
    """Real content for the store that the settings name; returns the numbers of the jobs. A few minutes."""
    from core.jobs import queue
    from core.workflows import starter
    from core.workflows.evaluate import EvaluateParams
    from core.workflows.generate import GenerateParams, candidates_of
    from core.workflows.imports import ImportParams
    from core.workflows.modify import ModifyParams
    from core.workflows.relax import RelaxParams
    from core.workflows.train import TrainParams
    from tests.data.test_readers import TIB2, cif_of

    def done(kind: str, title: str, params: Any) -> int:
        job = queue.follow(queue.submit(kind, title, params))
        print(f"  {title}: {job.status}")
        return job.id

    starter.install()
    made = {"train": done("train", "Train small", TrainParams("starter", "small", preset="quick", minutes=0.5))}
    wanted = GenerateParams("starter-generator", ("Ta1W1B6",), (191, 187), (-0.4,), count=6, steps=30)
    made["generate"] = done("generate", "Generate Ta1W1B6", wanted)
    made["relax"] = done("relax", "Relax 12", RelaxParams(tuple(candidates_of(made["generate"])), steps=150))
    start = ModifyParams("starter-modifier", cif_of(TIB2), "TiB2.cif", (191,), (-0.1,), count=6, steps=20)
    made["modify"] = done("modify", "Modify TiB2", start)
    made["evaluate"] = done(
        "evaluate", "Evaluate", EvaluateParams("starter-generator", dataset="starter", split="val", limit=20)
    )
    made["failed"] = done("import", "Import gone.cif", ImportParams(("/nowhere/gone.cif",), "gone"))
    return made


def settle(page: Page, seconds: float = 30.0) -> None:
    """Wait until the page stands still: its script has ended, charts are drawn, viewers have their canvas."""
    expect(page.get_by_role("heading", level=1).first).to_be_visible(timeout=1000 * seconds)
    with suppress(AssertionError, Late):
        ended = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
        expect(ended).to_have_count(1, timeout=1000 * seconds)
        expect(page.locator("[data-stale=true]")).to_have_count(0, timeout=1000 * seconds)
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=1000 * seconds)
        for frame in page.locator("iframe").all():
            frame.scroll_into_view_if_needed(timeout=2000)
            frame.content_frame.locator("canvas").first.wait_for(timeout=10_000)
    page.wait_for_timeout(700)  # fonts and the last frame of WebGL


def open_state(page: Page, url: str, state: State, made: dict[str, Any]) -> None:
    """The page of a state, ready to be looked at, as high as its content."""
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(f"{url}/{state.address.format(**made)}")
    settle(page)
    if state.prepare:
        state.prepare(page)
        settle(page)
    height = page.evaluate("document.querySelector('[data-testid=stMain]')?.scrollHeight || 0")
    page.set_viewport_size({"width": WIDTH, "height": min(TALLEST, max(HEIGHT, int(height) + 20))})
    settle(page)


@contextmanager
def filled_app(store: Path) -> Iterator[tuple[AppServer, dict[str, Any]]]:
    """The app on a store that is filled once."""
    import json

    os.environ["SUBHULL_VAR"] = str(store)
    known = store / "screenshots.json"
    if not known.is_file():
        print("Filling the store …")
        made = fill()
        known.write_text(json.dumps(made))
    server = AppServer(store, {})
    server.start()
    try:
        yield server, json.loads(known.read_text())
    finally:
        server.stop()
        for process in workers_of(store):
            process.kill()


def take(browser: Browser, url: str, states: list[State], made: dict[str, Any], theme: str, out: Path) -> list[str]:
    """A PNG of every state in "light" or "dark"; returns what went wrong, in words."""
    problems = []
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=theme)  # type: ignore[arg-type]
    for state in states:
        try:
            open_state(page, url, state, made)
        except Exception as error:  # the other pages are still worth having
            problems.append(f"{state.name} ({theme}): {str(error).splitlines()[0]}")
        if page.get_by_text("This page ran into a fault of the app").count():
            problems.append(f"{state.name} ({theme}): the page failed")
        page.screenshot(path=str(out / f"{state.name}-{theme}.png"))
    page.close()
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="keep the store here; default: a temporary one")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "screenshots")
    parser.add_argument("--only", nargs="*", default=[""], help="states whose names begin so")
    parser.add_argument("--themes", nargs="*", default=["light", "dark"])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    states = [s for s in STATES if s.name.startswith(tuple(asked.only))]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as place:
        store = (asked.store or Path(place) / "var").resolve()
        with filled_app(store) as (server, made), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
            problems = [p for theme in asked.themes for p in take(browser, server.url, states, made, theme, asked.out)]
            browser.close()
    print(f"{len(states) * len(asked.themes)} screenshots in {asked.out}", *problems, sep="\n")


if __name__ == "__main__":
    main()
