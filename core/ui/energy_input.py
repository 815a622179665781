"""Energies to ask for: none, a list, a range, or ladders from a hull."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core.data.formulas import formula_unit, parse_formula
from core.ui.conditions import parse_energies
from core.ui.text import said
from core.ui.widgets import plain, selected
from core.workflows.context import UserError
from core.workflows.hulls import list_hulls
from core.workflows.ladders import LADDERS, RUNGS, Level, level_at

KINDS = ("none", "list", "range", "ladders")
THINNED = {"21": 1, "11": 2, "5": 5, "3": 10}  # energies of a ladder -> every so manyth
MAX_ENERGIES = 2000


@dataclass(frozen=True)
class EnergyChoice:
    """energies in eV/atom, or ladders with the hull they hang on (None: the newest of the model's method)."""

    energies: tuple[float, ...] = ()
    ladders: tuple[int, ...] = ()
    every: int = 1
    hull: int | None = None


def energy_input(method: str, formula: str = "") -> EnergyChoice | None:
    """What is asked for; None where it cannot be read, which is said.

    method: of the energies the model learned; formula: whose hull by that method a range starts at, where there is one
    """
    kind = st.segmented_control(
        "Formation energies", KINDS, default="none", key="energy",
        bind="query-params", required=True,
        help=f"On the scale of the energies that the model learned: {method or 'it names no method'}. "
        "Ladders are the paper's: down from a hull.",
    )  # fmt: skip
    try:
        if kind == "list":
            return EnergyChoice(_list())
        if kind == "range":
            return EnergyChoice(_range(method, formula))
        if kind == "ladders":
            return _ladders()
    except UserError as error:
        st.error(said(str(error)), icon=":material/error:")
        return None
    return EnergyChoice()


def _list() -> tuple[float, ...]:
    text = st.text_input(
        "Energies, eV/atom", "", key="energies", bind="query-params", placeholder="-0.4, -0.3",
        help="Separated by commas; empty asks for none in particular.",
    )  # fmt: skip
    return parse_energies(text)


def _range(method: str, formula: str) -> tuple[float, ...]:
    about = _range_from(method, formula)
    columns = st.columns(3)
    first, last = (
        column.number_input(label, -20.0, 20.0, step=0.05, format="%g", key=key, bind="query-params")
        for column, label, key in ((columns[0], "From, eV/atom", "from"), (columns[1], "To, eV/atom", "to"))
    )
    step = columns[2].number_input("Step, eV/atom", 0.0, 20.0, 0.05, 0.01, format="%g", key="step", bind="query-params")
    if about:
        st.caption(about)
    found = energies_between(first, last, step)
    st.caption(f"{len(found):,} energ{'y' if len(found) == 1 else 'ies'}: {_shown(found)} eV/atom")
    return found


def _range_from(method: str, formula: str) -> str:
    """Write where a range starts that nobody has touched: at the hull's energy of the composition; says so."""
    state = st.session_state
    linked = {key: value for key in ("from", "to") if (value := _number(selected(key))) is not None}
    fresh = "from" not in state and "to" not in state
    untouched = not fresh and (state.get("from"), state.get("to")) == state.get("range-offered")
    level = _level(formula, method)
    if untouched or (fresh and not linked):
        first = -0.3 if level is None else round(level.energy, 3)
        offered = (first, round(first - 0.2, 3))
        state["from"], state["to"] = state["range-offered"] = offered
    elif fresh:
        for key, value in (("from", -0.3), ("to", -0.5)):
            if key not in linked:
                state[key] = value
    if level is None:
        return ""
    shown = f"{level.energy:.3f}".replace("-", "−")
    return f"The hull of {formula_unit(parse_formula(formula))} by {plain(level.hull.method)} is at {shown} eV/atom."


def _number(text: str | None) -> float | None:
    """A value that the box can hold."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if -20 <= value <= 20 else None


def _level(formula: str, method: str) -> Level | None:
    if not formula:
        return None
    try:
        return level_at(formula, method)
    except UserError:
        return None


def energies_between(first: float, last: float, step: float) -> tuple[float, ...]:
    """From the first in steps towards the last, which is met where a step does, eV/atom. Raises UserError."""
    if not step > 0:
        raise UserError("A range of energies needs a step larger than 0.")
    count = int(abs(last - first) / step + 1e-6) + 1
    if count > MAX_ENERGIES:
        raise UserError(f"That range holds {count:,} energies; {MAX_ENERGIES:,} is the limit.")
    sign = 1 if last >= first else -1
    return tuple(round(first + sign * k * step, 6) for k in range(count))


def _ladders() -> EnergyChoice:
    names = [str(n) for n in LADDERS]
    chosen = st.pills(
        "Ladders", names, default=["1"], selection_mode="multi", key="ladders", bind="query-params",
        help="The paper's three, of 21 energies each.",
    )  # fmt: skip
    if not chosen:
        raise UserError("Choose a ladder, or ask for no energies.")
    st.caption("  \n".join(f"ladder {n}: {LADDERS[int(n)].about}" for n in chosen))
    left, right = st.columns(2)
    hulls = {None: "newest"} | {h.id: f"{h.chemical_system} by {h.method} ({h.name})" for h in reversed(list_hulls())}
    hull = left.selectbox("Hull they start at", list(hulls), format_func=hulls.__getitem__, key="ladderhull",
                          bind="query-params")  # fmt: skip
    rungs = right.segmented_control(
        "Energies per ladder", list(THINNED), default=str(RUNGS), key="rungs", bind="query-params", required=True,
        help="Fewer span the same range, evenly.",
    )  # fmt: skip
    return EnergyChoice((), tuple(sorted(int(n) for n in chosen)), THINNED[rungs or str(RUNGS)], hull)


def _shown(values: tuple[float, ...]) -> str:
    named = [f"{v:g}" for v in values]
    text = ", ".join(named if len(named) <= 5 else [*named[:3], "…", named[-1]])
    return text.replace("-", "−")
