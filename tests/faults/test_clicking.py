"""Four people at the real app over websockets, each on every page and taking files home."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.conftest import AppServer
from tests.faults.sessions import DOWNLOAD, VISITS, Clicks, Person


@pytest.mark.slow
def test_four_people_click_through_every_page(starter: Path, app: AppServer) -> None:
    clicks, people = Clicks(), 4

    async def come() -> None:
        await asyncio.gather(*(Person(app.port, number, clicks).tour() for number in range(people)))

    asyncio.run(come())
    assert clicks.errors == []
    files = clicks.seconds.pop(DOWNLOAD)
    assert len(files) >= people, "each found some, made while the others clicked"
    assert sum(map(len, clicks.seconds.values())) == people * (1 + len(VISITS))
    assert "a page failed" not in (app.var / "server.log").read_text()


def test_what_goes_wrong_is_written_down() -> None:
    """The measure itself: exceptions, the app's own word for a fault, and pages that are not there."""
    clicks = Clicks()
    person = Person(1, 0, clicks)
    raised, said, missing, early, ended = (ForwardMsg() for _ in range(5))
    raised.delta.new_element.exception.type = "KeyError"
    said.delta.new_element.alert.body = "This page ran into a fault of the app."
    missing.page_not_found.page_name = "x"
    early.script_finished = ForwardMsg.FINISHED_EARLY_FOR_RERUN
    ended.script_finished = ForwardMsg.FINISHED_SUCCESSFULLY
    ends = [person._is_end(m.SerializeToString(), "p") for m in (raised, said, missing, early, ended)]
    assert ends == [False, False, False, False, True]
    assert [e.split()[1] for e in clicks.errors] == ["KeyError", "This", "not"]
