"""What runs beside the pages: start, the job system's tick, what a browser may load, errors in words."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import streamlit as st
from sqlalchemy.exc import DBAPIError
from starlette.middleware import Middleware
from streamlit import config

from core.jobs.tick import tick
from core.settings import SettingsError, accounts
from core.ui.accounts import EXPOSED, install, is_exposed
from core.ui.downloads import keep_made_files
from core.ui.gate import Gate
from core.ui.text import said
from core.workflows import starter
from core.workflows.context import UserError
from core.workflows.startup import check_start
from db.session import in_words

TICK_S = 1.0
COLLECT_S = 60.0  # what sessions leave in cycles goes then at the latest, not after every run of a page

# Nothing is loaded from anywhere else, whatever a page may hold. Scripts are Streamlit's own, Vega's compiled
# expressions and the viewers, which are pages written into frames.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

log = logging.getLogger(__name__)


class _Guarded:
    """Every answer carries the policy."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self._app(scope, receive, answer if scope["type"] == "http" else send)


MIDDLEWARE = [Middleware(_Guarded), Middleware(Gate)]


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    """Open the store, put in what ships, and tick once a second until the server ends. Jobs outlive it."""
    _check_or_end()
    ticking = asyncio.create_task(_tick_forever())
    try:
        yield {}
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking


def _check_or_end() -> None:
    """End the process with a sentence where it cannot serve: raised from here, the server would print a stack."""
    try:
        install()
        keep_made_files()
        for warning in [*check_start(), *([EXPOSED] if is_exposed() else [])]:
            log.warning(warning)
        starter.install()
        print(f"Subhull is at {_address()}", flush=True)
    except (UserError, SettingsError, OSError) as error:
        print(f"Subhull cannot start. {error}", file=sys.stderr, flush=True)
        os._exit(2)  # nothing runs yet that would have to be ended


def _address() -> str:
    """Where a browser on this machine finds the app."""
    if (here := accounts()) is not None:
        return here.public_url
    host = str(config.get_option("server.address") or "127.0.0.1")
    base = str(config.get_option("server.baseUrlPath") or "").strip("/")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{config.get_option('server.port')}/{base}"


async def _tick_forever() -> None:
    collected = time.monotonic()
    while True:
        try:
            await asyncio.to_thread(tick)
        except Exception:  # a database that is away for a moment must not end the server
            log.exception("tick failed")
        if time.monotonic() - collected > COLLECT_S:
            await asyncio.to_thread(gc.collect)
            collected = time.monotonic()
        await asyncio.sleep(TICK_S)


def on_script_error(error: Exception) -> bool:
    """Show a sentence, and the traceback only to those who open it."""
    if isinstance(error, (UserError, SettingsError, DBAPIError)):
        sentence = in_words(error) if isinstance(error, DBAPIError) else str(error)
        if isinstance(error, DBAPIError):
            log.error("a page could not ask the database", exc_info=error)
        st.error(said(sentence), icon=":material/error:")
        return True
    log.error("a page failed", exc_info=error)
    st.error(
        "This page ran into a fault of the app. Your data is safe; reload the page, and if it comes back, "
        "the details below help to report it.",
        icon=":material/error:",
    )
    with st.expander("Details"):
        st.code("".join(traceback.format_exception(error))[-4000:], language=None)
    return True
