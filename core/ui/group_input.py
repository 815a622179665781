"""Space groups as short text, with clicks that write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.data.space_groups import SpaceGroupError, compact, groups_of, parse_groups
from core.data.symmetry import CRYSTAL_SYSTEMS, symbol_of
from core.ui.conditions import group_names
from core.ui.text import said
from core.ui.widgets import counted

_NAMED = 8
CLEAR = "clear all"


def group_input(
    presets: Mapping[str, Sequence[int]], key: str = "groups", first: str | None = None
) -> tuple[int, ...] | None:
    """Space groups asked for, () for none in particular; None where the text cannot be read, which is said.

    presets: named lists that a click adds as a whole, such as all that a model saw; first: what the field begins with
    on a page that keeps the URL itself, None where the field is bound to it
    """
    written = st.session_state.pop(f"{key}-written", False)  # by a click: no first value beside it
    box, find = st.columns([5, 4], vertical_alignment="bottom")
    text = box.text_input(
        "Space groups", "" if written else first or "", key=key, bind="query-params" if first is None else None,
        placeholder="any",
        help="Numbers, ranges, symbols and crystal systems: 6-10, 225, P6/mmm, cubic. Empty asks for none.",
    )  # fmt: skip
    names = group_names()
    find.selectbox(
        "Find one", list(names), index=None, format_func=names.__getitem__, key=f"{key}-found",
        placeholder="by symbol", on_change=_found, args=(key,),
    )  # fmt: skip
    st.pills(
        "Add", [*(system for system, _, _ in CRYSTAL_SYSTEMS), *presets, *([CLEAR] if text else [])], key=f"{key}-add",
        on_change=_clicked, args=(key, presets), label_visibility="collapsed", wrap=True,
        help="Adds all space groups of a crystal system or a list.",
    )  # fmt: skip
    try:
        chosen = parse_groups(text)
    except SpaceGroupError as error:
        st.error(said(str(error)), icon=":material/error:")
        return None
    if chosen:
        named = ", ".join(f"{g} {symbol_of(g)}" for g in chosen[:_NAMED])
        more = f" and {len(chosen) - _NAMED} more" if len(chosen) > _NAMED else ""
        st.caption(f"{counted(len(chosen), 'space group')}: {named}{more}")
    return chosen


def _add(key: str, groups: Sequence[int]) -> None:
    """Write what is there and the new ones as short as it goes; text that cannot be read gives way."""
    try:
        before = parse_groups(st.session_state.get(key) or "")
    except SpaceGroupError:
        before = ()
    st.session_state[key] = compact({*before, *groups})
    st.session_state[f"{key}-written"] = True


def _found(key: str) -> None:
    group = st.session_state.get(f"{key}-found")
    if group is not None:
        _add(key, (int(group),))
        st.session_state[f"{key}-found"] = None


def _clicked(key: str, presets: Mapping[str, Sequence[int]]) -> None:
    """Add what was clicked, and let the click go again."""
    name = st.session_state[f"{key}-add"]
    st.session_state[f"{key}-add"] = None
    if name == CLEAR:
        st.session_state[key] = ""
        st.session_state[f"{key}-written"] = True
    elif name is not None:
        _add(key, presets[name] if name in presets else groups_of(name))
