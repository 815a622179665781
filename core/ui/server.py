"""What runs beside the pages: migrations and starter data at start, the job system's tick, errors in words."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import streamlit as st

from core.jobs.tick import tick
from core.settings import SettingsError
from core.workflows import starter
from core.workflows.context import UserError
from core.workflows.store import store

TICK_S = 1.0

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    """Open the store, put in what ships, and tick once a second until the server ends. Jobs outlive it."""
    store()
    starter.install()
    ticking = asyncio.create_task(_tick_forever())
    try:
        yield {}
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking


async def _tick_forever() -> None:
    while True:
        try:
            await asyncio.to_thread(tick)
        except Exception:  # a database that is away for a moment must not end the server
            log.exception("tick failed")
        await asyncio.sleep(TICK_S)


def on_script_error(error: Exception) -> bool:
    """Show a sentence, and the traceback only to those who open it."""
    if isinstance(error, (UserError, SettingsError)):
        st.error(str(error), icon=":material/error:")
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
