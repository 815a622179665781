"""People at the app without a browser: real websocket sessions that speak Streamlit's protocol."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

LONGEST_S = 60.0
AWAY_S = 0.1  # from a file's address to its browser's asking for it
DOWNLOAD = "a download"
FAULT = "fault of the app"  # how the app says that a page raised
VISITS: tuple[tuple[str, dict[str, str]], ...] = (
    *((page, {}) for page in ("", "datasets", "train", "models", "generate", "modify", "candidates", "hulls", "jobs")),
    *(
        ("datasets", {"dataset": "starter", "show": show})
        for show in ("overview", "polymorphs", "structures", "recipe")
    ),
    ("datasets", {"dataset": "starter", "element": "Ta", "group": "191"}),
    ("datasets", {"new": "recipe", "like": "starter"}),
    ("models", {"model": "starter-generator"}),
    ("generate", {"model": "substitution:starter"}),
    ("hulls", {"hull": "1"}),
    ("hulls", {"hull": "2", "show": "phases"}),
    ("jobs", {"job": "99"}),
)


@dataclass
class Clicks:
    """seconds: from asking to the script's end, by page; errors: what went wrong, in words."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    messages: int = 0

    def share(self, page: str, part: float) -> float:
        """The time within which such a part of a page's runs ended."""
        found = sorted(self.seconds[page])
        return found[min(len(found) - 1, int(part * len(found)))]


class Person:
    """One session: opens the app, then goes from page to page."""

    def __init__(self, port: int, seed: int, clicks: Clicks) -> None:
        self.address = f"ws://127.0.0.1:{port}/_stcore/stream"
        self.random, self.clicks = random.Random(seed), clicks
        self.origin = f"http://127.0.0.1:{port}"
        self.pages: dict[str, str] = {}
        self.session_id = ""
        self.files: list[str] = []  # that the page offers, made when asked for

    async def click(self, until: float, pause_s: float, share: float) -> None:
        """Until that moment of `time.monotonic`, thinking up to twice `pause_s` between two pages."""

        async def walk(socket: ClientConnection) -> None:
            order: list[tuple[str, dict[str, str]]] = []
            while time.monotonic() < until:
                order = order or self.random.sample(VISITS, len(VISITS))
                await self._look(socket, *order.pop(), share)
                await asyncio.sleep(self.random.uniform(0, 2 * pause_s))

        await self._meet(walk)

    async def tour(self) -> None:
        """Every visit once, in an order of their own."""

        async def walk(socket: ClientConnection) -> None:
            for page, query in self.random.sample(VISITS, len(VISITS)):
                await self._look(socket, page, query)

        await self._meet(walk)

    async def _meet(self, walk: Callable[[ClientConnection], Awaitable[None]]) -> None:
        """Open the app and walk; what goes wrong on the way is written down."""
        options: dict[str, Any] = {"subprotocols": ["streamlit"], "origin": self.origin, "open_timeout": LONGEST_S}
        try:
            async with connect(self.address, max_size=None, ping_timeout=None, **options) as socket:
                await self._visit(socket, "", {})
                await walk(socket)
        except (OSError, TimeoutError, WebSocketException) as error:
            self.clicks.errors.append(f"{type(error).__name__}: {error}")

    async def _look(self, socket: ClientConnection, page: str, query: dict[str, str], share: float = 1.0) -> None:
        """Visit a page; of this share of those that offer files one file is downloaded."""
        await self._visit(socket, page, query)
        if self.files and self.random.random() < share:
            await self._download(socket, self.random.choice(self.files))

    async def _visit(self, socket: ClientConnection, page: str, query: dict[str, str]) -> None:
        asked = BackMsg()
        asked.rerun_script.query_string = urlencode(query)
        asked.rerun_script.page_script_hash = self.pages.get(page, "")
        asked.rerun_script.page_name = page
        self.files = []
        began = time.monotonic()
        await socket.send(asked.SerializeToString())
        async with asyncio.timeout(LONGEST_S):
            while not self._is_end(await socket.recv(), page):
                pass
        self.clicks.seconds[page or "home"].append(time.monotonic() - began)

    async def _download(self, socket: ClientConnection, file_id: str) -> None:
        """Have a file made, and fetch it as a browser does that is some way off."""
        asked = BackMsg()
        asked.backend_operation_request.request_id = file_id
        asked.backend_operation_request.session_id = self.session_id
        asked.backend_operation_request.deferred_file.file_id = file_id
        began = time.monotonic()
        await socket.send(asked.SerializeToString())
        message = ForwardMsg()
        async with asyncio.timeout(LONGEST_S):
            while message.WhichOneof("type") != "backend_operation_response":
                data = await socket.recv(decode=False)
                self._is_end(data, DOWNLOAD)
                message.ParseFromString(data)
        answer = message.backend_operation_response
        if answer.error_msg:
            self.clicks.errors.append(f"{DOWNLOAD}: {answer.error_msg}")
            return
        await asyncio.sleep(AWAY_S)
        async with httpx.AsyncClient(base_url=self.origin, timeout=LONGEST_S) as client:
            found = await client.get(answer.deferred_file.url)
        if found.status_code != httpx.codes.OK:
            self.clicks.errors.append(f"{DOWNLOAD}: {found.status_code}")
        self.clicks.seconds[DOWNLOAD].append(time.monotonic() - began)

    def _is_end(self, data: bytes | str, page: str) -> bool:
        """Is this the end of the run that was asked for? Learns the pages, and writes down what went wrong."""
        message = ForwardMsg()
        message.ParseFromString(data if isinstance(data, bytes) else data.encode())
        self.clicks.messages += 1
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.session_id = message.new_session.initialize.session_id
        elif kind == "navigation":
            self.pages = {p.url_pathname or p.page_name: p.page_script_hash for p in message.navigation.app_pages}
            first = next(p for p in message.navigation.app_pages if p.is_default)
            self.pages[""] = first.page_script_hash
        elif kind == "page_not_found":
            self.clicks.errors.append(f"{page}: not found")
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            if element.WhichOneof("type") == "exception":
                self.clicks.errors.append(f"{page}: {element.exception.type} {element.exception.message[:200]}")
            if element.WhichOneof("type") == "alert" and FAULT in element.alert.body:
                self.clicks.errors.append(f"{page}: {element.alert.body[:100]}")
            if element.WhichOneof("type") == "download_button" and element.download_button.deferred_file_id:
                self.files.append(element.download_button.deferred_file_id)
        elif kind == "script_finished":
            if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                self.clicks.errors.append(f"{page}: it does not compile")
            return message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN
        return False


async def crowd(port: int, people: int, seconds: float, pause_s: float, seed: int, share: float) -> Clicks:
    """So many sessions for so long; they come one after another within a tenth of the time.

    share: of the visits to pages that offer files, after which one is taken
    """
    clicks = Clicks()
    until = time.monotonic() + seconds

    async def come(number: int) -> None:
        await asyncio.sleep(0.1 * seconds * number / people)
        await Person(port, seed + number, clicks).click(until, pause_s, share)

    await asyncio.gather(*(come(n) for n in range(people)))
    return clicks
