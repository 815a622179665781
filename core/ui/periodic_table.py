"""The periodic table: as a heat map whose elements can be clicked, and as a picker of several."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache

import altair as alt
import pandas as pd
import streamlit as st
from pymatgen.core import Element

_EMPTY = "#90a4ae33"  # a veil over any background
_INK, _INK_ON_DARK, _INK_OF_EMPTY = "#263238", "#ffffff", "#82909a"
# of the tables that are clicked: fill and ink, as easily read on a light page as on a dark one
_PLAIN, _KNOWN, _CHOSEN = ("#c3ccd1", "#37434b"), ("#8fc4dc", "#16242c"), ("#1b4f6b", "#ffffff")


@cache
def places() -> dict[str, tuple[int, int]]:
    """Symbol -> (column 1–18, row 1–9); lanthanoids and actinoids stand below, to 103."""
    found = {}
    for element in (Element.from_Z(z) for z in range(1, 104)):
        if 57 <= element.Z <= 71 or 89 <= element.Z <= 103:
            first = 57 if element.Z <= 71 else 89
            found[element.symbol] = (element.Z - first + 3, 9 if first == 57 else 10)
        else:
            found[element.symbol] = (int(element.group), int(element.row))
    return found


def heat_map(values: Mapping[str, tuple[int, float | None]], by_energy: bool = False) -> alt.LayerChart:
    """Elements coloured by structures that hold them, or by their mean formation energy (eV/atom); click selects one.

    values: symbol -> (structures, mean energy)
    """
    rows = []
    for symbol, (x, y) in places().items():
        count, energy = values.get(symbol, (0, None))
        shown = energy if by_energy else (float(count) if count else None)
        rows.append((symbol, Element(symbol).long_name, x, y, count or None, energy, shown))
    data = pd.DataFrame(rows, columns=["element", "name", "x", "y", "structures", "energy", "shown"])
    dark = _dark(data["shown"], by_energy)
    data["ink"] = [
        _INK_OF_EMPTY if pd.isna(v) else _INK_ON_DARK if d else _INK for v, d in zip(data["shown"], dark, strict=True)
    ]
    filled = data[data["shown"].notna()]
    title = "mean formation energy (eV/atom)" if by_energy else "structures"
    scale = alt.Scale(scheme="redyellowblue", reverse=True) if by_energy else alt.Scale(type="symlog", scheme="teals")
    colour = alt.Color("shown:Q", title=title, scale=scale, legend=alt.Legend(orient="top", gradientLength=220))
    tooltip = [
        alt.Tooltip("name:N", title="element"),
        alt.Tooltip("structures:Q", format=","),
        alt.Tooltip("energy:Q", title="mean formation energy (eV/atom)", format=".3f"),
    ]
    pick = alt.selection_point(name="pick", fields=["element"], on="click")
    cells = _cells(filled).encode(color=colour, tooltip=tooltip).add_params(pick)
    return _table(data, cells)


def _dark(shown: pd.Series, by_energy: bool) -> pd.Series:
    """Where the colour behind a symbol is dark: the ends of a diverging scale, the top of a rising one."""
    low, high = shown.min(), shown.max()
    place = (shown - low) / max(high - low, 1e-9)
    return ((place < 0.15) | (place > 0.85)) if by_energy else place > 0.6


def element_picker(label: str, key: str, default: Collection[str] = (), most: int | None = None) -> list[str]:
    """Several elements, by name in a list or by a click on the table; the order of choice is kept."""
    if key not in st.session_state:
        st.session_state[key] = list(default)
    clicks = f"{key}-clicks"
    st.session_state.setdefault(clicks, 0)
    place = st.empty()
    chart = _clickable(set(st.session_state[key]))
    event = st.altair_chart(
        chart,
        on_select="rerun",
        key=f"{key}-table-{st.session_state[clicks]}",
        alt="Periodic table: a click chooses an element; the field above it does so by keyboard",
    )
    for picked in event.get("selection", {}).get("pick", []):
        before = list(st.session_state[key])
        symbol = picked["element"]
        st.session_state[key] = [s for s in before if s != symbol] if symbol in before else [*before, symbol]
        st.session_state[clicks] += 1  # a fresh table: its click is used up
        st.rerun()
    with place:
        return st.multiselect(label, list(places()), key=key, max_selections=most)


def element_buttons(on_click: Callable[[str], None], key: str, chosen: Collection[str], known: Collection[str]) -> None:
    """The table as so many buttons: a click calls `on_click(symbol)` before the page runs again.

    chosen: elements that are marked; known: those that are blue
    """
    clicks = f"{key}-clicks"
    st.session_state.setdefault(clicks, 0)
    name = f"{key}-table-{st.session_state[clicks]}"

    def clicked() -> None:
        for picked in st.session_state[name].get("selection", {}).get("pick", []):
            on_click(picked["element"])
            st.session_state[clicks] += 1  # a fresh table: its click is used up

    st.altair_chart(
        _clickable(set(chosen), set(known)),
        on_select=clicked,
        key=name,
        alt="Periodic table: a click adds an element; the field above takes formulas by keyboard",
    )


def _clickable(chosen: set[str], known: set[str] | None = None) -> alt.LayerChart:
    """The table with its chosen elements marked, and, where some are better known, these in blue."""
    data = pd.DataFrame([(s, *xy) for s, xy in places().items()], columns=["element", "x", "y"])
    looks = [_CHOSEN if s in chosen else _KNOWN if known and s in known else _PLAIN for s in data["element"]]
    data["fill"], data["ink"] = [fill for fill, _ in looks], [ink for _, ink in looks]
    pick = alt.selection_point(name="pick", fields=["element"], on="click")
    colour = alt.Color("fill:N", scale=None)
    return _table(data, _cells(data).encode(color=colour, tooltip=["element:N"]).add_params(pick), size=26)


def _cells(data: pd.DataFrame) -> alt.Chart:
    x, y = _axes()
    return alt.Chart(data).mark_rect(cornerRadius=3, cursor="pointer").encode(x=x, y=y)


def _axes() -> tuple[alt.X, alt.Y]:
    """Every column and row of the table, whatever is drawn; row 8 stays empty."""
    x = alt.X("x:O", axis=None, scale=alt.Scale(domain=list(range(1, 19)), paddingInner=0.06))
    return x, alt.Y("y:O", axis=None, scale=alt.Scale(domain=list(range(1, 11)), paddingInner=0.06))


def _table(data: pd.DataFrame, cells: alt.Chart, size: int = 32) -> alt.LayerChart:
    x, y = _axes()
    ground = alt.Chart(data).mark_rect(color=_EMPTY, cornerRadius=3).encode(x=x, y=y)
    names = (
        alt.Chart(data)
        .mark_text(fontSize=11 if size > 28 else 10)
        .encode(x=x, y=y, text="element:N", color=alt.Color("ink:N", scale=None))
    )
    chart = alt.layer(ground, cells, names).resolve_scale(color="independent")
    return chart.properties(width=18 * size, height=10 * size * 0.86).configure_view(stroke=None)
