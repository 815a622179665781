"""All entries that match a summons, page by page: one request at a time, patient, and never sure of the server."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests

MAX_REPLY = 200_000_000  # bytes
_PASSES = 3  # over all pages, while entries that the server counts have not come
_LONGEST_WAIT = 120.0  # s, whatever Retry-After says


class AfluxError(ValueError):
    """AFLOW cannot be asked, or refuses; the message says what to do."""


@dataclass(frozen=True)
class Page:
    """One reply. total: matching entries as the server counts them, None where it does not say."""

    number: int
    total: int | None
    entries: list[dict[str, Any]]


@dataclass(frozen=True)
class Progress:
    """Where to go on: the next page, the pass over all pages, how many new entries this pass has brought.

    twice: rows of entries that came already under another address: AFLOW lists an entry in several catalogs
    """

    page: int = 1
    turn: int = 1
    fresh: int = 0
    twice: int = 0


class AfluxClient:
    """Asks one server. pause_s: between requests; retries: of one request, with growing waits (`sleep` does them)."""

    def __init__(
        self,
        url: str,
        page_size: int = 1000,
        timeout_s: float = 120.0,
        pause_s: float = 0.5,
        retries: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url, self.page_size, self.timeout_s, self.pause_s = url, page_size, timeout_s, pause_s
        self.retries, self._sleep = retries, sleep

    def count(self, summons: str) -> int:
        """How many entries match. Raises AfluxError."""
        page = self.page(summons, 1, size=1)
        if page.total is None:
            raise AfluxError("AFLOW did not say how many entries match: add no paging or format to the summons.")
        return page.total

    def walk(self, summons: str, seen: set[str], start: Progress = Progress()) -> Iterator[tuple[Page, Progress]]:
        """Every page with its entries that are new, and where to go on after it; adds to `seen` what came.

        Ends where the server's count is reached or a whole pass was in vain: a server that repeats its last page for
        ever, changes its order between pages, gives smaller pages than asked for, or an empty one amid the others,
        loses and doubles nothing. Entries without an auid are handed on in the first pass.
        """
        now, rows = start, set[int]()
        walked, total = (start.page - 1) * self.page_size, None  # rows of this pass; the last count that was said
        while True:
            page = self.page(summons, now.page)
            total, walked = page.total or total, walked + len(page.entries)
            unique, anonymous, again = _sort(page.entries, seen, rows)
            seen |= set(unique)
            twice = now.twice + again
            complete = total is not None and len(seen) + twice >= total
            if total is None:  # nothing but the page itself tells
                at_end = len(page.entries) < self.page_size or not unique
            else:
                at_end = not page.entries or walked >= total
            fresh = now.fresh + len(unique)
            after = Progress(now.page + 1, now.turn, fresh, twice)
            if at_end:
                after, walked = Progress(1, now.turn + 1, 0, twice), 0
            known = page.total if total is None else total
            yield Page(page.number, known, [*unique.values(), *(anonymous if now.turn == 1 else [])]), after
            if complete or (at_end and (total is None or not fresh or after.turn > _PASSES)):
                return
            now = after
            self._sleep(self.pause_s)

    def page(self, summons: str, number: int, size: int | None = None) -> Page:
        """One page, asked for again while the server stumbles. Raises AfluxError."""
        address = f"{self.url}?{summons},paging({number},{size or self.page_size})"
        wait, last = 1.0, ""
        for attempt in range(self.retries + 1):
            if attempt:
                self._sleep(wait)
            try:
                return self._ask(address, number)
            except _Stumble as stumble:
                last = str(stumble)
                wait = stumble.wait if stumble.wait is not None else min(_LONGEST_WAIT, 2.0**attempt)
        advice = "what has come is kept." if number > 1 else "is there an internet connection?"
        raise AfluxError(f"AFLOW {last}, {self.retries + 1} times (page {number}). Try again later; {advice}")

    def _ask(self, address: str, number: int) -> Page:
        try:
            with requests.get(address, timeout=self.timeout_s, stream=True, allow_redirects=False) as reply:
                _check_status(reply)
                body = _read(reply)
        except requests.Timeout as error:
            raise _Stumble("did not answer in time") from error
        except requests.ConnectionError as error:
            raise _Stumble("cannot be reached or cut the connection") from error
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise _Stumble("cut the connection") from error
        except requests.RequestException as error:
            raise AfluxError(f"AFLOW cannot be asked: {type(error).__name__}. Check SUBHULL_AFLUX_URL.") from error
        return _parse(body, number)


def _sort(
    entries: list[dict[str, Any]], seen: set[str], rows: set[int]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], int]:
    """({auid: entry} of new ones, entries without an auid, how many known ones came under an address of their own).

    rows: hashes of (auid, address) of this walk, added to.
    """
    new: dict[str, dict[str, Any]] = {}
    anonymous, again = [], 0
    for entry in entries:
        name = str(entry.get("auid") or "")
        row, first = hash((name, str(entry.get("aurl")))), hash(name)
        if not name:
            anonymous.append(entry)
        elif name not in seen and name not in new:
            new[name] = entry
        elif first in rows and row not in rows:
            again += 1
        rows |= {row, first}
    return new, anonymous, again


class _Stumble(Exception):
    """Worth asking again. wait: seconds that the server asked for, None where it did not."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


def _check_status(reply: requests.Response) -> None:
    code = reply.status_code
    if code == 429 or code >= 500:
        after = reply.headers.get("Retry-After", "")
        wait = min(float(after), _LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", after) else None
        raise _Stumble("is busy (too many requests)" if code == 429 else f"has a fault of its own ({code})", wait)
    if code in (301, 302, 303, 307, 308):
        raise AfluxError("The server sends us elsewhere: check SUBHULL_AFLUX_URL.")
    if code != 200:
        raise AfluxError(f"AFLOW refused the request ({code}): check the summons and SUBHULL_AFLUX_URL.")


def _read(reply: requests.Response) -> bytes:
    pieces, size = [], 0
    for piece in reply.iter_content(1 << 20):
        size += len(piece)
        if size > MAX_REPLY:
            raise AfluxError("A page of the reply is larger than 200 MB: ask for fewer properties.")
        pieces.append(piece)
    return b"".join(pieces)


def _parse(body: bytes, number: int) -> Page:
    text = body.decode("utf-8-sig", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text[:1] in "[{":
            raise _Stumble("sent a reply that is cut off") from error
        if text[:1] == "<":
            raise _Stumble("answered with a web page instead of data") from error
        shown = " ".join(text.split())[:80]
        if number > 1:  # the summons was good for the first page: the server is overloaded, and says the same then
            raise _Stumble(f"answered with {shown!r}") from error
        raise AfluxError(
            f"AFLOW refused the summons with {shown!r}: check its properties and brackets, or ask for less at once."
        ) from error
    if value is None or value == [] or value == {}:
        return Page(number, 0 if number == 1 else None, [])
    if isinstance(value, dict):
        keys = [str(k) for k in value]
        total = keys[0].rpartition(" of ")[2]
        if not total.isdigit():
            raise AfluxError("The reply does not look like AFLOW's list of entries: check the summons.")
        return Page(number, int(total), [e for e in value.values() if isinstance(e, dict)])
    if not isinstance(value, list):
        raise AfluxError("The reply is no list of entries: check the summons.")
    return Page(number, None, [e for e in value if isinstance(e, dict)])
