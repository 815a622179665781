"""What a crystal is made of: formulas as typed, read while they are written, and a table to click elements from."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.ui.periodic_table import element_buttons
from core.ui.widgets import counted, plain, selected
from core.workflows.compositions import MAX_SITES, Cell, cells_of, split_formulas, with_element
from core.workflows.context import UserError

UNITS = ("as typed", "chosen", "all that fit")
_DEFAULT = "Ta1W1B6"
_SHOWN = 6


def composition_input(known: Sequence[str], limit: int | None, largest: int | None) -> list[Cell]:
    """The cells that are asked for; [] where they cannot be read, which is said under the box.

    known: elements that the model saw; limit: sites that its network holds; largest: atoms in the cells it saw
    """
    most = min(limit or MAX_SITES, MAX_SITES)
    box, table = st.columns([5, 2], vertical_alignment="bottom")
    if "formula" not in st.session_state and selected("formula") is None:
        st.session_state["formula"] = _DEFAULT  # not the widget's own: clicks on elements write the same key
    text = box.text_input(
        "Composition",
        key="formula",
        bind="query-params",
        help="The cell content: Ta2W2B12 is two formula units of TaWB6. Several, separated by commas, are drawn each.",
    )
    formulas = split_formulas(text)
    with table.popover("Elements", icon=":material/grid_view:", width="stretch"):
        st.caption(
            "Each click adds one atom to the last formula. Blue: elements that the model saw; dark blue: those of the "
            "composition."
        )
        element_buttons(_add, "elements", _elements(formulas), known)
        left, right = st.columns(2)
        left.button("Another formula", on_click=_another, icon=":material/add:", width="stretch")
        right.button("Clear", on_click=_clear, icon=":material/backspace:", width="stretch")
    said = st.empty()
    units, up_to = _units(most, largest)
    if not formulas:
        said.caption("Write a formula, such as Ta1W1B6, or click its elements.")
        return []
    try:
        cells = cells_of(formulas, units, up_to, most)
    except UserError as error:
        said.error(str(error), icon=":material/error:")
        return []
    said.markdown(_read(cells))
    return cells


def _units(most: int, largest: int | None) -> tuple[tuple[int, ...], int | None]:
    """(numbers of formula units, or up to how many atoms)."""
    kind = st.segmented_control(
        "Formula units in a cell", UNITS, default=UNITS[0], key="units", bind="query-params", required=True,
        help="All that fit: every number of formula units up to so many atoms.",
    )  # fmt: skip
    if kind == "chosen":
        chosen = st.pills(
            "Formula units", [1, 2, 3, 4, 6, 8], default=[1], selection_mode="multi", key="z", bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
        return tuple(int(n) for n in chosen) or (1,), None
    if kind == "all that fit":
        first = min(largest or 20, most)
        return (), int(st.number_input("Atoms in a cell, at most", 1, most, first, key="atoms", bind="query-params"))
    return (), None


def _read(cells: Sequence[Cell]) -> str:
    """What was understood of each formula: its unit, cell contents, elements."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.unit, []).append(cell)
    lines = []
    for unit, same in list(found.items())[:_SHOWN]:
        atoms = _numbers([cell.natoms for cell in same])
        units = "" if [c.units for c in same] == [1] else f", {_numbers([c.units for c in same])} formula units"
        elements = ", ".join(same[0].elements)
        lines.append(
            f"**{plain(unit)}** :small[{atoms} atom{'s' if atoms != '1' else ''} in the cell{units} · {elements}]"
        )
    if len(found) > _SHOWN:
        lines.append(f":small[and {counted(len(found) - _SHOWN, 'more composition')}]")
    return "  \n".join(lines)


def _numbers(values: Sequence[int]) -> str:
    """ "8", "8, 16 or 24", "8, 16 … 64"."""
    if len(values) > 4:
        return f"{values[0]}, {values[1]} … {values[-1]}"
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}" if len(values) > 1 else str(values[0])


def _elements(formulas: Sequence[str]) -> set[str]:
    try:
        return {e for cell in cells_of(formulas) for e in cell.elements}
    except UserError:
        return set()


def _add(symbol: str) -> None:
    st.session_state["formula"] = with_element(st.session_state.get("formula", ""), symbol)


def _another() -> None:
    text = st.session_state.get("formula", "").rstrip(", ")
    st.session_state["formula"] = f"{text}, " if text else ""


def _clear() -> None:
    st.session_state["formula"] = ""
