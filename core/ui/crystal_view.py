"""One crystal with all that is asked of it: viewer with controls, cell, sites, distances, powder pattern.

What only changes the picture (spin, supercell, bonds, polyhedra, labels, hidden elements, PNG) happens in the browser;
the palette is in the URL. The details run as a fragment: they do not run the page again.
"""

from __future__ import annotations

from typing import Literal

import streamlit as st
from pymatgen.core import Structure

from core.crystals import Crystals, pack_cells, to_structures, unpack_cells
from core.data.crystallography import problem_of
from core.data.symmetry import named
from core.ui.crystal_scene import data_of, page_of
from core.ui.palettes import PALETTES, alike, chosen_palette, colours_of
from core.ui.widgets import go

Details = Literal["beside", "below", "none"]
SYMPREC = 0.01  # Å


def show_structure(
    crystals: Crystals,
    index: int = 0,
    *,
    key: str = "structure",
    name: str = "",
    height: int = 420,
    details: Details = "beside",
) -> None:
    """One crystal of a batch: viewer with controls, and beside or below it what is known of it.

    key: tells the widgets of several on one page apart; name: of downloads, a user's text may stand in it;
    height: px of the viewer with its controls
    """
    one = crystals[[index]].trim()
    mask = one.mask[0]
    problem = problem_of(one.lattice[0].double().numpy(), one.frac[0][mask].double().numpy())
    if problem:
        st.warning(problem, icon=":material/info:")
        return
    cell = pack_cells(one)[0]
    group = int(one.group[0])
    if details == "beside":
        left, right = st.columns([3, 2], gap="large")
    else:
        left = right = st.container()
    with left:
        st.iframe(structure_html(cell, SYMPREC, chosen_palette(), height), height=height)
        _palette(cell, key)
    if details != "none":
        with right:
            _facts(cell, group)


def structure_html(cell: bytes, symprec: float | None, palette: str, height: int) -> str:
    """The viewer's page for a stored cell; it fetches nothing but 3Dmol.js."""
    return _html(cell, symprec, palette)


@st.cache_data(max_entries=64, show_spinner=False)
def _html(cell: bytes, symprec: float | None, palette: str) -> str:
    structure = structure_of(cell)
    return page_of("crystal_view.html", data_of(structure, symprec, palette, _about(structure)))


def structure_of(cell: bytes) -> Structure:
    """A stored cell as pymatgen's structure."""
    return to_structures(unpack_cells([cell]))[0]


def _about(structure: Structure) -> str:
    """What a screen reader says of the picture."""
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    return (
        f"{structure.composition.reduced_formula}, {len(structure)} atoms in a cell of {a:.2f} by {b:.2f} by {c:.2f} "
        f"Å, angles {alpha:.0f}, {beta:.0f} and {gamma:.0f} degrees."
    )


def _palette(cell: bytes, key: str) -> None:
    now = chosen_palette()
    chosen = st.segmented_control(
        "Colours",
        list(PALETTES),
        default=now,
        format_func=PALETTES.__getitem__,
        key=f"{key}-palette-{now}",
        required=True,
    )
    if chosen and chosen != now:
        go(palette=chosen)
    close = alike(colours_of(structure_of(cell).atomic_numbers, now))
    if close:
        st.caption(f"{' and '.join(close[0])} look alike in these colours.")


def _facts(cell: bytes, group: int) -> None:
    structure = structure_of(cell)
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    st.table(
        {
            "space group": named(group),
            "a, b, c": f"{a:.3f}, {b:.3f}, {c:.3f} Å",
            "α, β, γ": f"{alpha:.2f}, {beta:.2f}, {gamma:.2f}°",
            "volume": f"{structure.volume:.2f} Å³",
        },
        border="horizontal",
    )
