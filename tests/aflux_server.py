"""A stand-in for AFLOW's server on loopback: it replays real entries page by page, and misbehaves when told to."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

FAULTS = ("timeout", "500", "429", "html", "truncated", "dropped", "undecodable")  # that pass when asked again
REFUSALS = ("db fail", "404", "redirect")


class AfluxServer:
    """`with AfluxServer(entries) as server`: server.url answers like AFLUX.

    faults: {number of a request (from 1): what it does wrong, of `FAULTS`, `REFUSALS` or "empty"}; always: each time
    order: "" keeps it, "shuffled" changes it at every request; endless: pages past the last repeat the last
    as_list: replies are lists without a count; largest: most entries on a page, whatever is asked for
    """

    def __init__(
        self,
        entries: Sequence[dict[str, Any]],
        faults: dict[int, str] | None = None,
        always: str = "",
        order: str = "",
        endless: bool = False,
        as_list: bool = False,
        largest: int = 0,
    ) -> None:
        self.entries, self.faults, self.always = list(entries), faults or {}, always
        self.order, self.endless, self.as_list = order, endless, as_list
        self.largest = largest
        self.requests: list[str] = []
        self.active = self.most_active = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._random = random.Random(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/API/aflux/"

    def __enter__(self) -> AfluxServer:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def page(self, number: int, size: int) -> bytes:
        entries = list(self.entries)
        size = min(size, self.largest or size)
        if self.order == "shuffled":
            self._random.shuffle(entries)
        if self.endless and entries:
            number = min(number, -(-len(entries) // size))
        first = (number - 1) * size
        part = entries[first : first + size]
        if self.as_list or not part:
            return json.dumps(part).encode()
        total = len(entries)
        return json.dumps({f"{first + i + 1} of {total}": e for i, e in enumerate(part)}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.active += 1
                server.most_active = max(server.most_active, server.active)
                self.counted = True
                try:
                    self._answer()
                except BrokenPipeError:
                    pass
                finally:
                    self._leave()

            def _leave(self) -> None:
                """Before the last byte: a client that has it may ask again before this thread goes on."""
                server.active -= self.counted
                self.counted = False

            def _answer(self) -> None:
                server.requests.append(unquote(self.path))
                fault = server.always or server.faults.get(len(server.requests), "")
                paging = re.search(r"paging\((\d+),(\d+)\)", unquote(self.path))
                body = server.page(*map(int, paging.groups())) if paging else b"DB Fail!null"
                if fault == "timeout":
                    time.sleep(0.6)
                if fault in ("500", "404"):
                    return self._send(int(fault), b"fault")
                if fault == "429":
                    return self._send(429, b"slower", {"Retry-After": "7"})
                if fault == "redirect":
                    return self._send(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"})
                if fault == "undecodable":
                    return self._send(200, body, {"Content-Encoding": "gzip"})
                if fault == "dropped":
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body[: len(body) // 2])
                    return self.connection.close()
                replies = {"html": b"<!DOCTYPE html><html>busy</html>", "db fail": b"DB Fail!null", "empty": b"[]"}
                return self._send(200, body[: len(body) // 2] if fault == "truncated" else replies.get(fault, body))

            def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self._leave()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: the test reads `requests`."""

        return Handler
