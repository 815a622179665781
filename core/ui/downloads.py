"""Buttons whose file is made when they are pressed, for the one who has the page open, and told in the audit log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.runtime import media_file_manager

from core.ui.accounts import as_now
from core.workflows.audit import record_alone

KEPT_S = 60.0  # from when a browser is told where its file is


def keep_made_files() -> None:
    """Have this server keep files that were made for a minute.

    Streamlit forgets them when any two scripts have ended, whosesoever: among several people that is before the
    browser has asked for its file.
    """
    media_file_manager.MediaFileMetadata = _Kept  # type: ignore[misc]


class _Kept(media_file_manager.MediaFileMetadata):
    """What Streamlit knows of a file; one that is shown nowhere goes with the first script that ends after its time."""

    def mark_for_delete(self) -> None:
        if not self._is_marked_for_delete:
            self._until = time.monotonic() + KEPT_S
        super().mark_for_delete()

    @property
    def is_marked_for_delete(self) -> bool:
        return self._is_marked_for_delete and time.monotonic() > self._until


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
