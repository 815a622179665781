"""Crystals of candidates in 3D: one, two side by side, many in one canvas."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st
import torch

from core.crystals import Crystals
from core.ui import viewer
from core.ui.candidate_words import group_words
from core.ui.viewer import grid_html, show_crystal, show_legend
from core.ui.widgets import energy
from core.workflows.candidates import Row, crystal_of

GRID = 12  # crystals in one canvas
_COLUMNS = 4
_ROW = 230  # pixels


def draw_one(crystals: Crystals, key: str, name: str, height: int = 420) -> None:
    """The viewer with all its controls; a cell that is not finite is said to be so."""
    if not bool(crystals.lattice.isfinite().all()):
        st.warning("Its cell is not finite: there is nothing to draw.", icon=":material/info:")
        return
    try:
        from core.ui.crystal_view import show_structure
    except ImportError:
        show_crystal(crystals, height=height)
    else:
        show_structure(crystals, 0, key=key, name=name, height=height)


def draw_pair(left: Crystals, right: Crystals, height: int = 380) -> None:
    """Two crystals side by side in one canvas; what turns one turns the other."""
    linked: Any = getattr(viewer, "pair_html", None)
    html = linked(left, right, height) if linked else grid_html([_batch([left, right])], height)
    st.iframe(html, height=height + 8)
    show_legend(sorted({*_numbers(left), *_numbers(right)}))


def draw_grid(rows: Sequence[Row]) -> None:
    """Up to GRID candidates in one canvas, each under its name; as relaxed where they were."""
    shown = list(rows[:GRID])
    crystals = [crystal_of(row) for row in shown]
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    batches = [_batch(crystals[i * columns : (i + 1) * columns], columns) for i in range(lines)]
    html = grid_html(batches, _ROW * lines) + _names(shown, columns, lines)
    st.iframe(html, height=_ROW * lines + 8, width="stretch" if columns == _COLUMNS else 240 * columns)
    show_legend(sorted({z for one in crystals for z in _numbers(one)}))


def _names(rows: Sequence[Row], columns: int, lines: int) -> str:
    """Names over the places of the canvas, in a grey that is read on light and dark ground."""
    places = []
    for i, row in enumerate(rows):
        found = row.relaxation.group_found if row.relaxation and row.relaxed else row.candidate.group_found
        above = "" if row.above is None else f"<br>{energy(row.above)} above hull"
        text = f"<b>{escape(row.candidate.formula)}</b> {escape(row.name)} · {escape(group_words(found))}{above}"
        left, top = 100 * (i % columns) / columns, 100 * (i // columns) / lines
        places.append(f'<div style="position:absolute;left:{left:.2f}%;top:{top:.2f}%;padding:4px">{text}</div>')
    style = (
        f"position:absolute;left:0;top:0;width:100%;height:{_ROW * lines}px;pointer-events:none;z-index:9;"
        "color:#7b868c;font:12px/1.35 'Source Sans',sans-serif"
    )
    return f'<div style="{style}">{"".join(places)}</div>'


def _batch(crystals: Sequence[Crystals], places: int = 0) -> Crystals:
    """One padded batch of single crystals; empty places are left at its end up to `places`."""
    size = max(one.numbers.shape[1] for one in crystals)
    count = max(places, len(crystals))
    frac, numbers = torch.zeros(count, size, 3), torch.zeros(count, size, dtype=torch.int64)
    lattice = torch.eye(3).expand(count, 3, 3).clone()
    for i, one in enumerate(crystals):
        sites = one.numbers.shape[1]
        frac[i, :sites], numbers[i, :sites], lattice[i] = one.frac[0], one.numbers[0], one.lattice[0]
    return Crystals(frac, lattice, numbers, torch.zeros(count).long(), torch.full((count,), torch.nan))


def _numbers(crystals: Crystals) -> list[int]:
    found: list[int] = crystals.numbers[0][crystals.mask[0]].tolist()
    return found
