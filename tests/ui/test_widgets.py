"""What the pages share, apart from any page."""

from __future__ import annotations

import pytest
import streamlit as st

from core.ui import widgets


class Left(Exception):
    """Streamlit leaves the script where a page change waits, at the next element."""


def test_a_change_of_the_address_gives_way_to_a_waiting_page_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rerun asked for now would overwrite it: the click would be lost."""
    order: list[str] = []

    def element() -> None:
        order.append("element")
        raise Left

    monkeypatch.setattr(st, "empty", element)
    monkeypatch.setattr(st, "rerun", lambda: order.append("rerun"))
    with pytest.raises(Left):
        widgets.go(element="Ta")
    assert order == ["element"]
