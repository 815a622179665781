"""The structure as read: what is wrong with it and what can be done, its cell, its group, its energy, in 3D."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st
from pymatgen.core import Structure

from core.crystals import lattice_parameters
from core.data.orderings import shares
from core.data.starts import REMEDIES, Found, crystals_of, group_of, in_cell
from core.ui.crystal_view import show_structure
from core.ui.modify_start import Given, forget_start, mended
from core.ui.widgets import counted, energy, go, pick_row, plain, segments, selected, selected_int, sentences
from core.workflows.context import UserError
from core.workflows.starts import StartEnergy, energies_of, order

TOLERANCES = {"0.001": "0.001 Å", "0.01": "0.01 Å", "0.1": "0.1 Å"}
_RANKED_ATOMS = 500  # in all the orderings whose energy a page finds


@dataclass(frozen=True)
class Preview:
    """What the user will start from, and what draws its energy at the end of the page."""

    structure: Structure
    name: str
    fill_energy: Callable[[], None]


def show_given(start: Given, most: int, potential: str | None) -> Preview | None:
    """Name, choices and the structure itself; None where it cannot be used yet. most: atoms that the model holds."""
    title, button = st.columns([5, 1.4], vertical_alignment="center")
    with title:
        st.markdown(f"##### :material/deployed_code: {plain(start.name[:80])}")
    if button.button("Another structure", icon=":material/swap_horiz:", width="stretch"):
        forget_start()
    found = _one_of(start.found)
    for note in found.notes:
        st.caption(f":material/info: {plain(note)}")
    structure = _usable(found, most, potential)
    if structure is None:
        return None
    return _show(structure, found, most, start.name, potential)


def _one_of(found: Sequence[Found]) -> Found:
    """The structure that was chosen of several, the first by default."""
    if len(found) == 1:
        return found[0]
    good = next((i for i, f in enumerate(found) if not f.problem), 0)
    at = min(max((selected_int("n") or good + 1) - 1, 0), len(found) - 1)
    chosen = st.selectbox(
        f"It holds {len(found)} structures: choose one", range(len(found)), index=at, key=f"n-{at}",
        format_func=lambda i: found[i].title + (" (cannot be used as it is)" if found[i].problem else ""),
    )  # fmt: skip
    if chosen != at:
        go("ordering", "cell", n=chosen + 1)
    return found[at]


def _usable(found: Found, most: int, potential: str | None) -> Structure | None:
    """An ordered structure, or None and on the page why there is none, with buttons that may help."""
    if found.structure is not None and "order" in found.remedies:
        return _ordered(found, most, potential)
    if found.problem:
        st.error(plain(found.problem), icon=":material/error:")
    elif found.remedies:
        st.warning("It can be used, but look at it first.", icon=":material/warning:")
    chosen = mended()
    for remedy in [r for r in found.remedies if r not in chosen]:
        if st.button(REMEDIES[remedy], icon=":material/build:", key=f"mend-{remedy}"):
            go(mend="-".join(sorted({*chosen, remedy})))
    return None if found.problem else found.structure


def _ordered(found: Found, most: int, potential: str | None) -> Structure | None:
    """The orderings of a disordered structure in a table; the one of the URL, the lowest by default."""
    assert found.structure is not None
    about = "; ".join(shares(found.structure)[:4])
    st.warning(
        f"Some sites are shared or partly empty ({plain(about)}). A model moves whole atoms: choose an ordering.",
        icon=":material/grain:",
    )
    with sentences():
        ways = order(found.structure, most)
        structures = [o.structure for o in ways.found]
        with st.spinner("Energies of the orderings …"):
            known = _energies(structures, potential)
        values = [e.total if e.formation is None else e.formation for e in known]
        rank = _rank(len(structures), [] if ways.charges else values)
        frame = pd.DataFrame(
            {
                "ordering": range(1, len(structures) + 1),
                "formula": [s.formula for s in structures],
                "space group within 0.01 Å": [group_of(s) or None for s in structures],
                **(
                    {"electrostatics (eV/atom above the lowest)": [o.electrostatic for o in ways.found]}
                    if ways.charges
                    else {}
                ),
                **({f"{known[0].method} (eV/atom)": values} if known else {}),
            }
        )
        frame = frame.iloc[rank]
        at = min(max((selected_int("ordering") or rank[0] + 1) - 1, 0), len(structures) - 1)
        numbers = {c: st.column_config.NumberColumn(format="%.4f") for c in frame.columns if "eV/atom" in c}
        hit = pick_row(frame, f"orderings-{at}", numbers, shown=rank.index(at), most=220)
        st.caption(_about_orderings(ways.ways, ways.looked, ways.distinct, len(structures), ways.charges, ways.notes))
        if hit is not None:
            go("cell", ordering=rank[hit] + 1)
        return structures[at]
    return None


def _rank(count: int, energies: list[float | None]) -> list[int]:
    """Numbers of the orderings, by the potential where electrostatics says nothing."""
    return sorted(
        range(count), key=lambda i: math.inf if not energies or energies[i] is None else float(energies[i] or 0)
    )


def _about_orderings(
    ways: int, looked: int, distinct: int, listed: int, charges: dict[str, int], notes: list[str]
) -> str:
    drawn = f"; {looked:,} of them, drawn at random, were looked at" if looked < ways else ""
    order = (
        "by electrostatics, with the charges " + ", ".join(f"{e} {q:+d}" for e, q in charges.items())
        if charges
        else "without electrostatics: these elements have no usual charges that add up to nothing"
    )
    whole = counted(distinct, "different ordering")
    what = f"{listed} of {whole}" if listed < distinct else whole
    text = f"{what} ({ways:,} ways to fill the sites{drawn}), {order}. {' '.join(notes)}"
    return plain(text)


def _energies(structures: list[Structure], potential: str | None) -> list[StartEnergy]:
    """By the potential, where that takes a moment; [] where it cannot be asked."""
    if potential is None or sum(len(s) for s in structures) > _RANKED_ATOMS:
        return []
    try:
        return energies_of(structures, potential)
    except UserError:
        return []


def _show(given: Structure, found: Found, most: int, name: str, potential: str | None) -> Preview | None:
    """3D and facts of the structure in the cell that was chosen, side by side."""
    symprec = float(selected("symprec") or 0) if selected("symprec") in TOLERANCES else 0.01
    cells = {kind: in_cell(given, kind, symprec) for kind in ("given", "primitive", "conventional")}
    warn = st.container()
    left, right = st.columns([4, 3], gap="large")
    with left:
        words = {"given": "as given", "primitive": "primitive", "conventional": "conventional"}
        labels = {kind: f"{words[kind]} · {len(cells[kind])}" for kind in cells}
        kind = segments("Cell and its atoms", labels, "cell", of=f"{given.formula}-{symprec}", quiet=False)
        structure = cells[kind]
        show_structure(crystals_of(structure), key="start", name=name, height=380, details="none")
    with right:
        fill = _facts(structure, symprec, potential)
    if len(structure) > most:
        with warn:
            _too_large(structure, cells, most)
        return None
    return Preview(structure, name, fill)


def _too_large(structure: Structure, cells: dict[str, Structure], most: int) -> None:
    fits = len(cells["primitive"]) <= most
    st.error(
        f"This cell has {len(structure)} atoms; the model takes {most}."
        + ("" if fits else f" Its primitive cell has {len(cells['primitive'])}: choose a smaller crystal."),
        icon=":material/error:",
    )
    if fits and st.button(
        f"Take the primitive cell of {len(cells['primitive'])} atoms", icon=":material/compress:", type="primary"
    ):
        go(cell="primitive")


def _facts(structure: Structure, symprec: float, potential: str | None) -> Callable[[], None]:
    """Formula, cell, group; returns what finds the energy and writes it into its place."""
    crystals = crystals_of(structure)
    a, b, c, alpha, beta, gamma = lattice_parameters(crystals.lattice)[0].tolist()
    group = group_of(structure, symprec)
    named = f"{structure.get_space_group_info(symprec)[0]} ({group}) :small[within {symprec:g} Å]" if group else "none"
    facts = {
        "formula": f"{structure.composition.reduced_formula} :small[({structure.formula}, {len(structure)} atoms)]",
        "a, b, c": f"{a:.3f}, {b:.3f}, {c:.3f} Å",
        "α, β, γ": f"{alpha:.2f}, {beta:.2f}, {gamma:.2f}°",
        "volume": f"{structure.volume:.1f} Å³ :small[({structure.volume / len(structure):.2f} per atom)]",
        "space group": named,
    }
    st.table(facts, border="horizontal")
    _tolerance(symprec)
    place = st.container()

    def fill() -> None:
        if potential is None:
            return
        with place, st.spinner("Its energy …"):
            try:
                (found,) = energies_of([structure], potential)
            except UserError as error:
                st.caption(f":material/info: {plain(str(error))}")
                return
        with place:
            _show_energy(found)

    return fill


def _tolerance(symprec: float) -> None:
    chosen = st.segmented_control(
        "Space group within", list(TOLERANCES), default=f"{symprec:g}", format_func=TOLERANCES.__getitem__,
        key=f"symprec-{symprec:g}", required=True,
    )  # fmt: skip
    if chosen and float(chosen) != symprec:
        go(symprec=chosen)


def _show_energy(found: StartEnergy) -> None:
    """As it is, by the potential; the hull is one of the same method."""
    method = plain(found.method)
    if found.problem or found.total is None:
        st.caption(f":material/info: {plain(found.problem or 'no energy')}")
        return
    left, right = st.columns(2)
    value = found.formation if found.formation is not None else found.total
    left.metric("formation energy" if found.formation is not None else "total energy", energy(value))
    if found.above is not None:
        right.metric("above hull", energy(found.above), help=f"The hull {found.hull} by {found.method}.")
    hull = "" if found.above is not None else " No hull of this method holds its elements."
    st.caption(f"As it is, not relaxed, by {method}.{hull}")
