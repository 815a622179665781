"""What is looked at of a dataset, kept in the URL: charts set it, chips show it and take it away."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st
from pymatgen.core import Element

from core.ui.widgets import go, plain
from core.workflows.dataset_query import Selection

_RANGES = ("atoms", "energy", "coordinate")
_OPEN = 1e6  # a range that ends so far out has no end there


def selection() -> Selection:
    """The filters in the URL; what makes no sense there is left out."""
    query = st.query_params
    element, group = query.get("element"), query.get("group", "")
    return Selection(
        element=element if element and Element.is_valid_symbol(element) else None,
        group=int(group) if group.isascii() and group.isdecimal() and len(group) < 4 and int(group) <= 230 else None,
        formula=query.get("formula") or None,
        atoms=_range(query.get("atoms")),
        energy=_range(query.get("energy")),
        coordinate=_range(query.get("coordinate")),
        reason=query.get("reason") or None,
    )


def chips(chosen: Selection) -> None:
    """One button for each filter, which takes it away."""
    words = {
        "element": f"with {chosen.element}",
        "group": f"space group {chosen.group}",
        "formula": f"formula {plain(chosen.formula or '')}",
        "atoms": _words(chosen.atoms, "atoms", 0),
        "energy": _words(chosen.energy, "eV/atom", 3),
        "coordinate": _words(chosen.coordinate, "in x, y or z", 3),
        "reason": plain(str(chosen.reason)),
    }
    active = [name for name in words if getattr(chosen, name) is not None]
    with st.container(horizontal=True):
        with st.popover("Filter", icon=":material/filter_alt:"):
            _form(chosen)
        for name in active:
            if st.button(words[name], icon=":material/close:", key=f"chip-{name}", help="Take this filter away"):
                forget(name)
        if len(active) > 1 and st.button("All", icon=":material/filter_alt_off:", key="chip-all", help="No filters"):
            forget(*active)


def _form(chosen: Selection) -> None:
    """What the charts choose by mouse, by keyboard."""
    with st.form(f"filter-{hash(chosen)}", border=False):
        symbols = [e.symbol for e in sorted(Element, key=lambda e: e.Z)]
        at = symbols.index(chosen.element) if chosen.element in symbols else None
        element = st.selectbox("Element", symbols, at, placeholder="any")
        group = st.number_input("Space group", 1, 230, chosen.group or None, placeholder="any")
        atoms = _between("Atoms per cell", chosen.atoms)
        energy = _between("Formation energy (eV/atom)", chosen.energy)
        if not st.form_submit_button("Filter", type="primary"):
            return
    wanted: dict[str, Any] = {"element": element, "group": group, "atoms": atoms, "energy": energy}
    gone = [name for name, value in wanted.items() if value is None]
    kept = {name: value for name, value in wanted.items() if value is not None}
    go("rows", *gone, **{k: f"{v[0]:.6g}:{v[1]:.6g}" if k in _RANGES else v for k, v in kept.items()})


def _between(label: str, window: tuple[float, float] | None) -> tuple[float, float] | None:
    """Two fields; one that is empty is open to its side."""
    left, right = st.columns(2)
    low = left.number_input(f"{label}, from", value=window[0] if window else None, placeholder="any")
    high = right.number_input("to", value=window[1] if window else None, placeholder="any", key=f"to-{label}")
    if low is None and high is None:
        return None
    return (-_OPEN if low is None else float(low), _OPEN if high is None else float(high))


def choose(**values: Any) -> None:
    """Set filters and run the page again, from the table's first page. A range is (low, high)."""
    go("rows", **{k: f"{v[0]:.6g}:{v[1]:.6g}" if k in _RANGES else str(v) for k, v in values.items()})


def forget(*names: str) -> None:
    """Take filters away and run the page again."""
    go("rows", *names)


def _range(text: str | None) -> tuple[float, float] | None:
    low, colon, high = (text or "").partition(":")
    try:
        window = (float(low), float(high))
    except ValueError:
        return None
    return window if colon and all(map(math.isfinite, window)) else None


def _words(window: tuple[float, float] | None, unit: str, digits: int) -> str:
    if window is None:
        return ""
    low, high = (f"{v:.{digits}f}".replace("-", "−") for v in window)
    if window[0] <= -_OPEN:
        return f"{high} {unit} or less"
    return f"{low} {unit} or more" if window[1] >= _OPEN else f"{low} to {high} {unit}"
