"""Buttons that the one who acts may not use: disabled, with the reason as their help."""

from __future__ import annotations

from typing import Any, Protocol

import streamlit as st

from core.ui.text import plain
from core.workflows.acting import EDITOR, refusal, refusal_to_change


class Owned(Protocol):
    """A row that belongs to somebody."""

    owner_id: Any


def permitted(what: str = "", of: Owned | None = None, role: str = EDITOR, **given: Any) -> dict[str, Any]:
    """Keywords of a button for what needs a role or, where `of` is a thing, its owner; `what` names the thing.

    given: the button's own `disabled` and `help`, which count where the one who acts may
    """
    why = refusal_to_change(what, of.owner_id) if of is not None else refusal(role)
    return {**given, "disabled": True, "help": why} if why else given


def owners_button(label: str, what: str, of: Owned, **given: Any) -> bool:
    """A primary button for a thing's owner and administrators; where it is off, why stands below it."""
    pressed = st.button(label, type="primary", **permitted(what, of, **given))
    if why := refusal_to_change(what, of.owner_id):
        st.caption(f":material/lock: {plain(why)}")
    return bool(pressed)
