"""What is looked at of a dataset, kept in the URL: charts set it, chips show it and take it away."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st
from pymatgen.core import Element

from core.ui.widgets import go
from core.workflows.dataset_query import Selection

_RANGES = ("atoms", "energy", "coordinate")


def selection() -> Selection:
    """The filters in the URL; what makes no sense there is left out."""
    query = st.query_params
    element, group = query.get("element"), query.get("group", "")
    return Selection(
        element=element if element and Element.is_valid_symbol(element) else None,
        group=int(group) if group.isascii() and group.isdecimal() and int(group[:4]) <= 230 else None,
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
        "formula": f"formula {chosen.formula}",
        "atoms": _words(chosen.atoms, "atoms", 0),
        "energy": _words(chosen.energy, "eV/atom", 3),
        "coordinate": _words(chosen.coordinate, "in x, y or z", 3),
        "reason": str(chosen.reason),
    }
    active = [name for name in words if getattr(chosen, name) is not None]
    if not active:
        return
    with st.container(horizontal=True):
        for name in active:
            if st.button(words[name], icon=":material/close:", key=f"chip-{name}", help="Take this filter away"):
                forget(name)
        if len(active) > 1 and st.button("All", icon=":material/filter_alt_off:", key="chip-all", help="No filters"):
            forget(*active)


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
    return "" if window is None else f"{window[0]:.{digits}f} to {window[1]:.{digits}f} {unit}".replace("-", "−")
