"""What is known of one crystal, in tabs beside its picture; each is computed when it is opened, and kept."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import altair as alt
import pandas as pd
import streamlit as st
from pymatgen.core import Structure

from core.crystals import to_structures, unpack_cells
from core.data.bonding import find_neighbours
from core.data.crystallography import (
    APART,
    WAVELENGTH,
    PairDistances,
    Powder,
    SymmetryFacts,
    pair_distances,
    powder_pattern,
    symmetry_of,
)
from core.export.structures import FORMATS, safe_name, structure_text
from core.ui.downloads import download

TOLERANCES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3]  # Å
_KEPT = 256
_NAMED, _LEAST = 8, 3.0  # lines of a powder pattern that are named at most, and how strong one is at least


def structure_of(cell: bytes) -> Structure:
    """A stored cell as pymatgen's structure."""
    return to_structures(unpack_cells([cell]))[0]


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def symmetry(cell: bytes, symprec: float) -> SymmetryFacts | None:
    """Of a stored cell within `symprec` Å; None where spglib finds none."""
    try:
        return symmetry_of(structure_of(cell), symprec)
    except ValueError:
        return None


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def distances(cell: bytes) -> list[PairDistances]:
    """Bond lengths of a stored cell by pair of elements; none where the atoms lie too densely."""
    structure = structure_of(cell)
    try:
        return pair_distances(structure, find_neighbours(structure))
    except ValueError:
        return []


@st.cache_data(max_entries=_KEPT, show_spinner="Computing the pattern …")
def pattern(cell: bytes, symprec: float) -> Powder | str:
    """The powder pattern of a stored cell, or why there is none."""
    try:
        return powder_pattern(structure_of(cell), symprec)
    except (ValueError, ZeroDivisionError) as error:
        return str(error) or "No pattern can be computed for this cell."


def show_details(cell: bytes, symprec: float, key: str, name: str) -> None:
    """Cell, sites, distances and powder pattern; only the open one is computed."""
    shown = {"Cell": _cell, "Sites": _sites, "Distances": _distances, "Powder XRD": _pattern}
    for tab, show in zip(st.tabs(list(shown), key=f"{key}-tabs", on_change="rerun"), shown.values(), strict=True):
        if tab.open:
            with tab:
                show(cell, symprec, key, name)


def _cell(cell: bytes, symprec: float, key: str, name: str) -> None:
    structure, found = structure_of(cell), symmetry(cell, symprec)
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    facts = {
        "space group": f"{found.symbol} ({found.number}) within {symprec:g} Å"
        if found
        else f"none found within {symprec:g} Å",
        "crystal system": found.system if found else "–",
        "point group": found.point_group if found else "–",
        "a, b, c": f"{a:.4f}, {b:.4f}, {c:.4f} Å",
        "α, β, γ": f"{alpha:.3f}, {beta:.3f}, {gamma:.3f}°",
        "volume": f"{structure.volume:.3f} Å³, {structure.volume / len(structure):.3f} Å³ per atom",
        "density": f"{float(structure.density):.3f} g/cm³",
        "atoms in the cell": f"{len(structure)}, {structure.composition.formula}",
    }
    st.table(facts, border="horizontal")


def _sites(cell: bytes, symprec: float, key: str, name: str) -> None:
    found = symmetry(cell, symprec)
    if found is None:
        st.info(f"No symmetry is found within {symprec:g} Å.", icon=":material/info:")
        return
    group = f"{found.symbol} ({found.number}) within {symprec:g} Å"
    st.caption(f"Wyckoff positions of {group} in its conventional cell, spglib's standard setting.")
    rows = [
        {
            "site": f"{s.multiplicity}{s.letter}",
            "element": s.element,
            "x, y, z": f"{s.x:.4f}, {s.y:.4f}, {s.z:.4f}",
            "symmetry": s.site_symmetry,
        }
        for s in found.sites
    ]
    _table(pd.DataFrame(rows), "%.5f")


def _distances(cell: bytes, symprec: float, key: str, name: str) -> None:
    found = distances(cell)
    if not found:
        st.info("No neighbours can be told in this cell.", icon=":material/info:")
        return
    st.caption("Neighbours by effective coordination (Hoppe), seen from the first element of the pair.")
    rows = [
        {
            "pair": f"{d.centre}–{d.other}",
            "number": f"{d.fewest}" if d.fewest == d.most else f"{d.fewest} to {d.most}",
            "shortest (Å)": d.shortest,
            "mean (Å)": d.mean,
            "longest (Å)": d.longest,
        }
        for d in found
    ]
    _table(pd.DataFrame(rows), "%.3f")


def _table(frame: pd.DataFrame, numbers: str) -> None:
    floats = frame.select_dtypes("float").columns
    st.dataframe(
        frame,
        hide_index=True,
        column_config={c: st.column_config.NumberColumn(format=numbers) for c in floats},
        height=min(360, 40 + 35 * len(frame)),
        alt=f"Table of {', '.join(map(str, frame.columns))}",
    )


def _pattern(cell: bytes, symprec: float, key: str, name: str) -> None:
    found = pattern(cell, symprec)
    if isinstance(found, str):
        st.info(found, icon=":material/info:")
        return
    frame = pd.DataFrame([asdict(peak) for peak in found.peaks]).rename(columns=_COLUMNS)
    if frame.empty:
        st.info("No reflection lies between 5° and 90°.", icon=":material/info:")
        return
    st.altair_chart(pattern_chart(frame), alt="Powder pattern: intensity against the angle 2θ; the table has its peaks")
    left, right = st.columns([3, 2], vertical_alignment="center")
    refined = f"the cell refined onto {found.group} within {symprec:g} Å" if found.group else "the cell as it is stored"
    left.caption(
        f"Cu Kα, {WAVELENGTH} Å; {len(frame)} lines to 90° of {refined}; what lies within {APART:g}° is one line. "
        "No thermal motion."
    )
    with right:
        download(
            "Peaks as CSV",
            lambda: frame.to_csv(index=False),
            f"{safe_name(name)}-xrd.csv",
            "text/csv",
            ("structure", f"{name}, powder pattern"),
            key=f"{key}-peaks",
        )


_COLUMNS = {"two_theta": "2θ (°)", "intensity": "intensity", "d": "d (Å)", "planes": "h k l", "multiplicity": "planes"}


def pattern_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """Sticks over 2θ with what belongs to them in the tooltip; the strongest are named."""
    x = alt.X("2θ (°):Q", scale=alt.Scale(domain=[5, 90], nice=False), axis=alt.Axis(grid=False, tickCount=9))
    y = alt.Y("intensity:Q", title="relative intensity", scale=alt.Scale(domain=[0, 108], nice=False))
    tips = [
        alt.Tooltip("h k l:N"),
        alt.Tooltip("2θ (°):Q", format=".3f"),
        alt.Tooltip("d (Å):Q", format=".4f"),
        alt.Tooltip("intensity:Q", format=".1f"),
        alt.Tooltip("planes:Q"),
    ]
    base = alt.Chart(frame).encode(x=x)
    sticks = base.mark_bar(size=2, color="#2f6f8f").encode(y=y, tooltip=tips)
    words = alt.Chart(named_lines(frame)).mark_text(dy=-7, fontSize=11, color="#7c858b").encode(x=x, y=y, text="name:N")
    grips = base.mark_bar(size=9, opacity=0).encode(y=y, tooltip=tips)  # thin sticks are hard to point at
    return (sticks + words + grips).properties(height=250)


def named_lines(frame: pd.DataFrame) -> pd.DataFrame:
    """The strongest lines whose names lie on no other name and on no higher line, each with its strongest family."""
    ordered = frame.assign(name=frame["h k l"].str.split(",").str[0]).sort_values("intensity", ascending=False)
    ordered = ordered[ordered["intensity"] >= _LEAST]
    kept: list[tuple[float, float]] = []  # middle and half width of each name, degrees
    rows = []
    for i, (x, name) in enumerate(zip(ordered["2θ (°)"], ordered["name"], strict=True)):
        half = 0.9 * len(name) + 0.3  # of letters that take 1.8° in a chart of 300 pixels
        higher = ordered["2θ (°)"].iloc[:i]
        if all(abs(x - other) > half + width for other, width in kept) and not ((higher - x).abs() < half).any():
            kept.append((x, half))
            rows.append(i)
    return ordered.iloc[rows[:_NAMED]]


def download_menu(cell: bytes, symprec: float, key: str, name: str) -> None:
    """One structure in every format, each written when its button is pressed."""
    structure, stem = structure_of(cell), safe_name(name)
    with st.popover("Download", icon=":material/download:", key=f"{key}-download"):
        for kind, form in FORMATS.items():
            needs = kind == "cif-symmetrised"
            download(
                form.label,
                partial(structure_text, structure, kind, name, symprec),
                stem + form.mark + form.ending,
                form.mime,
                ("structure", f"{name}, {form.label}"),
                icon=None,
                key=f"{key}-as-{kind}",
                width="stretch",
                disabled=needs and symmetry(cell, symprec) is None,
                help=f"Sites by symmetry, moved onto it within {symprec:g} Å." if needs else None,
            )
