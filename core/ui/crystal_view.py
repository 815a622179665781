"""One crystal with all that is asked of it: viewer with controls, cell, sites, distances, powder pattern.

What only changes the picture (spin, supercell, bonds, polyhedra, labels, hidden elements, PNG) happens in the browser;
the palette is in the URL. The details run as a fragment: they do not run the page again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import streamlit as st
from pymatgen.core import Structure

from core.crystals import Crystals, pack_cells
from core.data.crystallography import problem_of
from core.ui.crystal_details import TOLERANCES, download_menu, show_details, structure_of, symmetry
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
    """One crystal of a batch: viewer with controls, downloads, and beside or below it what is known of it.

    key: tells the widgets of several on one page apart; name: of the files, any text; height: px of the viewer with
    its controls; details: "none" leaves the viewer and its downloads, as for several side by side
    """
    one = crystals[[index]].trim()
    mask = one.mask[0]
    problem = problem_of(one.lattice[0].double().numpy(), one.frac[0][mask].double().numpy())
    if problem:
        st.warning(problem, icon=":material/info:")
        return
    _show(pack_cells(one)[0], key, name, height, details)


@st.fragment
def _show(cell: bytes, key: str, name: str, height: int, details: Details) -> None:
    if details == "beside":
        left, right = st.columns([3, 2], gap="large")
    else:
        left, right = st.container(), st.container()
    symprec = SYMPREC
    if details != "none":
        with right:
            symprec = _tolerance(key)
    structure = structure_of(cell)
    name = name or structure.composition.reduced_formula
    with left:
        st.iframe(structure_html(cell, symprec, chosen_palette()), height=height, alt=_about(structure, ""))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            if details != "none":
                choose_palette(structure.atomic_numbers, key)
                st.space("stretch")
            download_menu(cell, symprec, key, name)
    if details != "none":
        with right:
            show_details(cell, symprec, key, name)


def _tolerance(key: str) -> float:
    return float(
        st.select_slider(
            "Tolerance of the symmetry (Å)",
            TOLERANCES,
            SYMPREC,
            key=f"{key}-symprec",
            format_func="{:g}".format,
            help="spglib's symprec: how far atoms may lie from where the space group would have them. It decides on "
            "the space group, the sites, the primitive and conventional cells and the symmetrised CIF.",
        )
    )


@st.cache_data(max_entries=64, show_spinner=False)
def structure_html(cell: bytes, symprec: float, palette: str) -> str:
    """The viewer's page for a stored cell, as high as its frame; it fetches nothing but 3Dmol.js."""
    structure, found = structure_of(cell), symmetry(cell, symprec)
    about = _about(structure, f"{found.symbol}, number {found.number}" if found else "")
    return page_of("crystal_view.html", data_of(structure, symprec, palette, about))


def _about(structure: Structure, group: str) -> str:
    """What a screen reader says of the picture."""
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    return (
        f"{structure.composition.reduced_formula}{f', space group {group}' if group else ''}: {len(structure)} atoms "
        f"in a cell of {a:.2f} by {b:.2f} by {c:.2f} Å, angles {alpha:.0f}, {beta:.0f} and {gamma:.0f} degrees."
    )


def choose_palette(numbers: Iterable[int], key: str) -> None:
    """Which colours the elements have, on every page (`?palette=`); says which of these atomic numbers look alike."""
    now = chosen_palette()
    close = alike(colours_of(numbers, now))
    chosen = st.segmented_control(
        "Colours of the elements",
        list(PALETTES),
        default=now,
        format_func=PALETTES.__getitem__,
        key=f"{key}-palette-{now}",
        required=True,
        label_visibility="collapsed",
    )
    if chosen and chosen != now:
        go(palette=chosen)
    if close:
        st.caption(f"{' and '.join(close[0])} look alike here.")
