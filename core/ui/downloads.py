"""Buttons whose file is made when they are pressed, for the one who has the page open, and told in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from core.ui.accounts import as_now
from core.workflows.audit import record_alone


def download(
    label: str,
    make: Callable[[], str | bytes],
    file_name: str,
    mime: str | None = None,
    tells: tuple[str, str] | None = None,
    **given: Any,
) -> None:
    """A download button. tells: kind and thing for the log, None where `make` writes there itself; given: the button's.

    The page does not run again: the file of the next button would have another address then.
    """

    def made() -> str | bytes:
        content = make()
        if tells:
            record_alone("download", *tells)
        return content

    options = {"icon": ":material/download:", "on_click": "ignore"} | given
    st.download_button(label, as_now(made), file_name, mime, **options)
