"""Crystals of candidates in 3D: two side by side, many in one canvas."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st
import torch

from core.crystals import Crystals
from core.ui.candidate_words import composition, group_words
from core.ui.viewer import grid_html, pair_html, show_legend
from core.ui.widgets import energy
from core.workflows.candidates import Row, crystal_of

GRID = 12  # crystals in one canvas
_COLUMNS = 4
_ROW = 230  # pixels


def draw_pair(left: Row, right: Row, height: int = 400) -> None:
    """Two candidates side by side in one canvas; what turns one turns the other."""
    sides = crystal_of(left), crystal_of(right)
    st.iframe(pair_html(*sides, height, titles=(left.name, right.name)), height=height + 8, alt="Two candidates in 3D")


def draw_grid(rows: Sequence[Row]) -> None:
    """Up to GRID candidates in one canvas, each under its name; as relaxed where they were."""
    shown = list(rows[:GRID])
    crystals = [crystal_of(row) for row in shown]
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    batches = [_batch(crystals[i * columns : (i + 1) * columns], columns) for i in range(lines)]
    html = grid_html(batches, _ROW * lines, head=52) + _names(shown, columns, lines)
    st.iframe(
        html, height=_ROW * lines + 8, width="stretch" if columns == _COLUMNS else 240 * columns, alt="Candidates in 3D"
    )
    show_legend(sorted({z for one in crystals for z in _numbers(one)}))


def _names(rows: Sequence[Row], columns: int, lines: int) -> str:
    """Names over the places of the canvas, in a grey that is read on light and dark ground."""
    places = []
    for i, row in enumerate(rows):
        found = row.relaxation.group_found if row.relaxation and row.relaxed else row.candidate.group_found
        above = "" if row.above is None else f"<br>{energy(row.above)} above hull"
        text = f"<b>{escape(composition(row.candidate))}</b> {escape(row.name)} · {escape(group_words(found))}{above}"
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
