"""A crystal in 3D: py3Dmol on 3Dmol.js served by the app itself.

Everything drawn is made from numbers (atomic numbers, coordinates, cell); no label, formula or file name of a user
reaches the script, and what does is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import py3Dmol
import streamlit as st
from pymatgen.core import Structure

from core.crystals import Crystals, to_structures
from core.data.crystallography import problem_of
from core.data.rows import symbol
from core.ui.crystal_scene import SCRIPT, grid_data, page_of, pair_data, radius
from core.ui.palettes import chosen_palette, colours_of

_EDGE, _NEAR = 0.02, 0.15  # a site so near a face, as a share of the cell or in Å, is drawn on the opposite one too
CORNERS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
AXES = {"a": "#c0504d", "b": "#4f8f4f", "c": "#4a6fb5"}


def show_crystal(crystals: Crystals, index: int = 0, height: int = 400) -> None:
    """Draw one crystal of a batch with its cell, axes and a legend of its elements."""
    alt = f"Crystal of {crystals.formula(index)} in 3D; drag to turn it, scroll to zoom"
    st.iframe(crystal_html(crystals, index, height), height=height + 8, alt=alt)
    show_legend(crystals.numbers[index][crystals.mask[index]].tolist())


def show_legend(numbers: Iterable[int]) -> None:
    """Dots in the colours of the elements with these atomic numbers."""
    present = sorted(set(numbers))
    known = colours_of(present, chosen_palette())
    dots = " ".join(
        f'<span style="white-space:nowrap;margin-right:.8rem"><span style="display:inline-block;width:.75rem;'
        f"height:.75rem;border-radius:50%;border:1px solid #8884;background:{known[symbol(z)]};"
        f'margin-right:.3rem"></span>{symbol(z)}</span>'
        for z in present
    )
    st.html(f'<div style="font-size:.85rem">{dots}</div>')


def crystal_html(crystals: Crystals, index: int = 0, height: int = 400) -> str:
    """The viewer's HTML; it fetches nothing but `SCRIPT`."""
    view = py3Dmol.view(width="100%", height=height, js=SCRIPT)
    _draw_crystal(view, crystals, index)
    return _escape_scripts(str(view._make_html()))


def grid_html(rows: Sequence[Crystals], height: int = 560, head: int = 0) -> str:
    """Batches of one length below each other in one canvas, so that many crystals take one WebGL context.

    Atoms, bonds and images as in the viewer of one crystal, without letters. head: px kept free above each for words.
    A crystal that cannot be drawn leaves its place empty.
    """
    places = [_structure(crystals, c) for crystals in rows for c in range(len(rows[0]))]
    return page_of("crystal_grid.html", grid_data(places, len(rows[0]), chosen_palette(), height, head))


def _structure(crystals: Crystals, index: int) -> Structure | None:
    """One of a batch, None where it cannot be drawn."""
    mask = crystals.mask[index]
    if problem_of(crystals.lattice[index].double().numpy(), crystals.frac[index][mask].double().numpy()):
        return None
    return to_structures(crystals[[index]].trim())[0]


def pair_html(left: Crystals, right: Crystals, height: int = 420, titles: tuple[str, str] = ("before", "after")) -> str:
    """Two crystals (the first of each batch) side by side in one canvas, turned and enlarged together, on one scale.

    titles: text of any kind. A cell that cannot be drawn gives a sentence. The page fills the height of its frame.
    """
    for crystals, title in ((left, titles[0]), (right, titles[1])):
        mask = crystals.mask[0]
        problem = problem_of(crystals.lattice[0].double().numpy(), crystals.frac[0][mask].double().numpy())
        if problem:
            return f'<p style="font:14px system-ui,sans-serif;color:#7c858b">{escape(title)}: {problem}</p>'
    sides = [to_structures(c[[0]])[0] for c in (left, right)]
    about = " and ".join(
        f"{side.composition.reduced_formula} with {len(side)} atoms ({title})"
        for side, title in zip(sides, titles, strict=True)
    )
    return page_of("crystal_pair.html", pair_data(sides, titles, chosen_palette(), f"Side by side: {about}."))


def _draw_crystal(view: Any, crystals: Crystals, index: int, fill: float = 17.0) -> None:
    mask = crystals.mask[index].numpy()
    cell = crystals.lattice[index].double().numpy()
    sites, kinds = crystals.frac[index].double().numpy()[mask], crystals.numbers[index].numpy()[mask]
    frac, numbers = with_images(sites, kinds, cell)
    view.addModel(xyz(frac @ cell, numbers), "xyz")
    known = colours_of(numbers.tolist(), chosen_palette())
    for z in sorted(set(numbers.tolist())):
        style = {"color": known[symbol(z)]}
        view.setStyle(
            {"elem": symbol(z)}, {"sphere": {**style, "radius": radius(z)}, "stick": {**style, "radius": 0.09}}
        )
    _draw_cell(view, cell)
    view.setBackgroundColor("#ffffff", 0)
    view.setProjection("orthographic")
    view.zoomTo()
    view.rotate(-80, "x")
    view.rotate(15, "y")
    view.zoom(zoom(cell, fill))


def zoom(cell: np.ndarray, fill: float) -> float:
    """3Dmol frames nothing tighter than 25 Å; a cell is smaller. fill: how many of these 25 it takes."""
    corners = np.array(CORNERS, float) @ cell
    extent = float(np.linalg.norm(corners - corners.mean(0), axis=1).max()) * 2
    return max(0.7, min(3.0, fill / (extent + 2.0)))


def _escape_scripts(html: str) -> str:
    """py3Dmol writes its data with plain json.dumps: no `</script` may stand inside the script."""
    head, mark, body = html.partition("<script>")
    code, end, tail = body.rpartition("</script>")
    return head + mark + code.replace("</", "<\\/").replace("<!--", "\\u003c!--") + end + tail


def _draw_cell(view: Any, cell: np.ndarray) -> None:
    """Twelve edges; a, b and c in colour from the origin, with their letters."""
    for corner in CORNERS:
        for axis, letter in enumerate(AXES):
            if corner[axis]:
                continue
            start = np.array(corner, float) @ cell
            end = start + cell[axis]
            first = not any(corner)
            colour = AXES[letter] if first else "#8a9094"
            view.addCylinder(
                {"start": _point(start), "end": _point(end), "radius": 0.045 if first else 0.022, "color": colour}
            )
            if first:
                label = {"fontColor": colour, "showBackground": False, "fontSize": 15, "alignment": "center"}
                view.addLabel(letter, {**label, "position": _point(start + cell[axis] * 1.08)})


def with_images(frac: np.ndarray, numbers: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sites on a face, edge or corner of the cell are drawn on all of them.

    cell: (3, 3) Å; with it, what lies within 0.15 Å of a face is on it, else what lies within 0.02 of the cell
    """
    edges = np.full(3, _EDGE)
    if cell is not None and abs(np.linalg.det(cell)) > 1e-6:
        edges = np.clip(_NEAR * np.linalg.norm(np.linalg.inv(cell), axis=0), _EDGE, 0.25)  # 1 / height between faces
    rows, kinds = [], []
    for position, number in zip(frac, numbers, strict=True):
        shifts = [[0, 1] if x < e else [0, -1] if x > 1 - e else [0] for x, e in zip(position, edges, strict=True)]
        for i in shifts[0]:
            for j in shifts[1]:
                for k in shifts[2]:
                    rows.append(position + np.array([i, j, k]))
                    kinds.append(number)
    return np.array(rows), np.array(kinds)


def xyz(positions: np.ndarray, numbers: np.ndarray) -> str:
    """(n, 3) Å and (n,) atomic numbers as an XYZ file."""
    lines = [f"{symbol(int(z))} {x:.5f} {y:.5f} {w:.5f}" for z, (x, y, w) in zip(numbers, positions, strict=True)]
    return "\n".join([str(len(lines)), "crystal", *lines])


def _point(position: np.ndarray) -> dict[str, float]:
    return {axis: round(float(v), 4) for axis, v in zip("xyz", position, strict=True)}
