"""Candidates as a table: a click on a header orders all of them, on a cell opens one, on a box selects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.ui.candidate_words import BADGES, badges, composition, group_words
from core.ui.widgets import pages, selected, selected_int
from core.workflows.candidates import Row
from db.candidate_lists import ORDERS

SIZES = (24, 50, 100)
MAX_PICKED = 200  # in the URL
_SHOWN = 270  # pixels: what is opened stands below
_LINE = 33  # pixels of a row
_TURN = "table-turn"  # counts the selections that were not made in the table
_DRAWN = "table-drawn"  # the key of the table that was drawn last

STAR, ID, FORMULA, ABOVE, ENERGY = "★", "id", "formula", "above hull (eV/atom)", "energy (eV/atom)"
METHOD, VERDICT, FOUND, ASKED, NOTE = "method", "verdict", "group", "asked", "note"
_ORDER_OF = {
    STAR: "starred", ID: "run", FORMULA: "formula", ABOVE: "above", ENERGY: "energy", VERDICT: "verdict",
    FOUND: "group_found", ASKED: "group_asked", NOTE: "note",
}  # fmt: skip
ORDER_WORDS = {
    "above": "above hull",
    "energy": "energy, relaxed",
    "drawn": "energy, as drawn",
    "run": "run and number",
    "formula": "formula",
    "asked": "energy asked",
    "verdict": "verdict",
    "group_found": "space group found",
    "group_asked": "space group asked",
    "atoms": "atoms in the cell",
    "distance": "shortest distance",
    "volume": "volume per atom",
    "displacement": "displacement",
    "volume_change": "change of volume",
    "model": "model",
    "series": "series",
    "starred": "starred",
    "note": "note",
}
VERDICT_HELP = (
    "valid: as drawn. Relaxed rows: hull phase, repeat: the relaxed crystal against the hull's phases and the rows "
    "listed here. Other rows: new, unique: as drawn."
)
_LARGE_FIRST = {"starred", "verdict", "note"}


def order_asked() -> tuple[str, bool]:
    """(order, descending) of the URL: "above" where it names none; a dash before the name turns it around."""
    text = selected("sort") or "above"
    name = text.removeprefix("-")
    return (name, text.startswith("-")) if name in ORDERS else ("above", False)


def size_asked() -> int:
    size = selected_int("size")
    return size if size in SIZES else SIZES[0]


def picked_asked() -> list[int]:
    """Ids of the selected candidates in the URL, at most MAX_PICKED."""
    parts = (selected("pick") or "").split(",")[:MAX_PICKED]
    return [int(p) for p in dict.fromkeys(parts) if p.isascii() and p.isdecimal() and len(p) < 12]


def order_choice(change: Callable[..., None]) -> None:
    """The order as boxes, for what has no column and for keyboards."""
    order, descending = order_asked()
    left, right = st.columns([4, 1.15], vertical_alignment="bottom", gap="small")
    key = f"sort-{order}-{descending}"
    left.selectbox(
        "Order",
        list(ORDER_WORDS),
        index=list(ORDER_WORDS).index(order),
        format_func=lambda name: f"by {ORDER_WORDS[name]}",
        key=key,
        label_visibility="collapsed",
        on_change=lambda: change(sort=sort_text(st.session_state[key], st.session_state[key] in _LARGE_FIRST)),
    )
    icon, about = ("arrow_downward", "falling") if descending else ("arrow_upward", "rising")
    right.button(
        "", icon=f":material/{icon}:", key=f"turn-{key}", help=f"Now {about}: turn the order around", width="stretch",
        on_click=lambda: change(sort=sort_text(order, not descending)),
    )  # fmt: skip


def sort_text(order: str, descending: bool) -> str:
    """What the URL says of an order."""
    return f"-{order}" if descending else order


def candidate_table(rows: Sequence[Row], key: str, change: Callable[..., None]) -> None:
    """Draw a page of candidates. What is clicked goes into the URL: `candidate`, `pick`, or `sort` through `change`."""
    order, descending = order_asked()
    ids = [row.candidate.id for row in rows]
    picked = picked_asked()
    name = f"{key}-{hash((tuple(ids), order, descending))}-{st.session_state.get(_TURN, 0)}"
    st.session_state[_DRAWN] = name
    data = frame(rows, order, descending)
    st.dataframe(
        data,
        hide_index=True,
        on_select=lambda: _clicked(name, ids, list(data.columns), change),
        selection_mode=["multi-row", "single-column", "single-cell"],
        selection_default={"selection": {"rows": [i for i, row in enumerate(ids) if row in picked]}},
        key=name,
        column_config=column_config(data),
        height=table_height(len(data)),
        placeholder="",
        alt="Candidates. Select rows by their box; a click on a header orders, a click on a cell opens a candidate.",
    )


def table_height(lines: int, most: int = _SHOWN) -> int:
    """Pixels of a table whose last row is whole."""
    return (min(lines, most // _LINE - 1) + 1) * _LINE + 2


def frame(rows: Sequence[Row], order: str = "", descending: bool = False) -> pd.DataFrame:
    """One line for each candidate; the header of the column that orders carries an arrow."""
    data = pd.DataFrame([_line(row) for row in rows], columns=list(_line_types()))
    arrow = "↓" if descending else "↑"
    return data.rename(columns={c: f"{c} {arrow}" for c, o in _ORDER_OF.items() if o == order})


def _line_types() -> tuple[str, ...]:
    return STAR, ID, FORMULA, ABOVE, ENERGY, METHOD, VERDICT, FOUND, ASKED, NOTE


def _line(row: Row) -> dict[str, Any]:
    candidate, relaxation = row.candidate, row.relaxation
    after = relaxation.formation_after if relaxation else None
    found = relaxation.group_found if relaxation and row.relaxed else candidate.group_found
    return {
        STAR: "★" if candidate.starred else "",
        ID: row.name,
        FORMULA: composition(candidate),
        ABOVE: row.above,
        ENERGY: after,
        METHOD: relaxation.method.split("-")[0] if relaxation and after is not None else "",
        VERDICT: badges(row),
        FOUND: group_words(found) if found else "",
        ASKED: group_words(candidate.group_asked) if candidate.group_asked else "",
        NOTE: candidate.note.replace("\n", " "),
    }


def column_config(data: pd.DataFrame) -> dict[str, Any]:
    """Widths that hold every header and value of a page 1280 pixels wide; the note takes what is left."""
    known = st.column_config
    by_name = {
        STAR: known.TextColumn(width=30, help="Starred"),
        ID: known.TextColumn(width=62, help="Run and number there"),
        FORMULA: known.TextColumn(width=90, help="Reduced formula, times its number in the cell"),
        ABOVE: known.NumberColumn(format="%.3f", width=130, help="Relaxed, above the hull of its elements"),
        ENERGY: known.NumberColumn(format="%.3f", width=110, help="Formation energy, relaxed"),
        METHOD: known.TextColumn(width=66, help="Whose energy it is; the whole name stands below the table"),
        VERDICT: known.MultiselectColumn(
            options=list(BADGES), color=list(BADGES.values()), width=190, help=VERDICT_HELP
        ),
        FOUND: known.TextColumn(width=70, help="Space group found: of the relaxed cell, else as drawn"),
        ASKED: known.TextColumn(width=70, help="Space group asked for"),
        NOTE: known.TextColumn(),
    }
    return {column: by_name[column.removesuffix(" ↑").removesuffix(" ↓")] for column in data.columns}


def _clicked(key: str, ids: Sequence[int], columns: Sequence[str], change: Callable[..., None]) -> None:
    """Put what was clicked now into the URL. The table remembers old clicks, so only what is new counts.

    A browser that is still busy says once more what was clicked in a table that another one has replaced.
    """
    if key != st.session_state.get(_DRAWN):
        return
    selection = st.session_state[key]["selection"]
    if header := list(selection.get("columns", [])):
        order, descending = order_asked()
        wanted = _ORDER_OF.get(header[0].removesuffix(" ↑").removesuffix(" ↓"))
        if wanted:
            turned = not descending if wanted == order else wanted in _LARGE_FIRST
            change(sort=sort_text(wanted, turned))
        return
    cells = [tuple(cell) for cell in selection.get("cells", [])]
    if cells and cells != st.session_state.get(f"{key}-cells") and cells[0][0] < len(ids):
        st.query_params["candidate"] = str(ids[cells[0][0]])
        st.query_params.pop("do", None)
    st.session_state[f"{key}-cells"] = cells
    chosen = [ids[i] for i in selection.get("rows", []) if i < len(ids)]
    _keep([i for i in picked_asked() if i not in ids] + chosen)


def put_picked(ids: Sequence[int]) -> None:
    """Keep a selection in the URL, for a new table: the browser gives an old one back the rows it had selected."""
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
    _keep(ids)


def _keep(ids: Sequence[int]) -> None:
    if ids:
        st.query_params["pick"] = ",".join(map(str, ids[:MAX_PICKED]))
    else:
        st.query_params.pop("pick", None)


def table_foot(total: int) -> int:
    """Pager and size of the page under a table; returns the offset that is shown."""
    left, right = st.columns([5, 1.2], vertical_alignment="center")
    with left:
        offset = pages(total, size_asked(), "rows")
    size = size_asked()
    if total > SIZES[0]:
        key = f"size-{size}"
        right.selectbox(
            "Rows", SIZES, index=SIZES.index(size), key=key, label_visibility="collapsed",
            format_func=lambda n: f"{n} rows", on_change=lambda: _resize(st.session_state[key]),
        )  # fmt: skip
    return offset


def offset_asked(total: int) -> int:
    """Where the page in the URL begins; the last page where it lies beyond."""
    size = size_asked()
    last = max(1, -(-total // size))
    return (min(max(1, selected_int("rows") or 1), last) - 1) * size


def _resize(size: int) -> None:
    st.query_params["size"] = str(size)
    st.query_params.pop("rows", None)
