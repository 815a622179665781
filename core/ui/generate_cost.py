"""What a run asks for and what it would take here, before it starts."""

from __future__ import annotations

import streamlit as st

from core.cli.common import duration
from core.ui.widgets import counted
from core.workflows.compositions import read_cell
from core.workflows.context import UserError
from core.workflows.design import MAX_CANDIDATES
from core.workflows.design_cost import cost_of
from core.workflows.familiar import impossible
from core.workflows.generate import GenerateParams, count_of
from core.workflows.ladders import Level, explain, rungs
from core.workflows.method import Method, Wanted


def show_cost(params: GenerateParams, method: Method, device: str) -> int:
    """Candidates and time in a card; returns how many. Raises UserError for more than there may be."""
    count = count_of(params)
    with st.container(border=True):
        st.markdown(f"**What it takes here** :small[{_product(params)}]")
        if count > MAX_CANDIDATES:
            raise UserError(f"That asks for {count:,} candidates; {MAX_CANDIDATES:,} is the limit.")
        each = count // max(1, len(params.formulas))
        sizes = [read_cell(formula).natoms for formula in params.formulas for _ in range(each)]
        cost = cost_of(method, sizes, params.steps, params, device)
        columns = st.columns(3)
        columns[0].metric("candidates", f"{count:,}")
        columns[1].metric("drawing", _about(cost.draw_s), help="Measured with this model on this machine.")
        relaxing = _about(cost.relax_s) if params.potential is not None else "–"
        label = "energies" if params.relax == "none" else "relaxing"
        columns[2].metric(
            label, relaxing, help="What relaxations usually take here, if no candidate is hopeless: within a "
            "factor of three.",
        )  # fmt: skip
        if cost.total_s > 3600:
            st.caption("It runs in the background: close the page, and it goes on. It can be stopped and resumed.")
    return count


def _about(seconds: float) -> str:
    """Two digits: more would pretend."""
    seconds = float(f"{seconds:.2g}")
    hours = seconds / 3600
    return f"≈ {hours:.2g} h" if 2 <= hours < 99 else f"≈ {hours:,.0f} h" if hours >= 99 else f"≈ {duration(seconds)}"


def _product(params: GenerateParams) -> str:
    """ "3 compositions × 19 space groups × 63 energies × 1"."""
    energies = len(params.energies) + sum(len(rungs(0.0, ladder, params.every)) for ladder in params.ladders)
    parts = [counted(len(params.formulas), "composition")]
    parts += [counted(len(params.space_groups), "space group")] if params.space_groups else []
    parts += [f"{energies:,} energ{'y' if energies == 1 else 'ies'}"] if energies else []
    return " × ".join([*parts, f"{params.count:,} each"])


def show_ladders(levels: list[Level], params: GenerateParams) -> None:
    """Whose hull the ladders hang on, and their first and last rungs where there is one composition."""
    st.caption(f":material/stairs: {explain(levels)}")
    if len({level.formula for level in levels}) == 1:
        shown = []
        for ladder in params.ladders:
            energies = rungs(levels[0].energy, ladder, params.every)
            shown.append(f"ladder {ladder}: {energies[0]:.3f} to {energies[-1]:.3f} eV/atom".replace("-", "−"))
        st.caption(" · ".join(shown))


def show_warnings(params: GenerateParams, method: Method) -> None:
    """What lies outside of what the model saw, and by how much, in one box."""
    cells = tuple(read_cell(formula).formula for formula in params.formulas)
    hung = {} if not params.ladders else dict(zip(params.formulas, params.levels, strict=False))
    energies = [*params.energies] * (len(hung) or 1)
    energies += [e for level in hung.values() for ladder in params.ladders for e in rungs(level, ladder, params.every)]
    found = method.unfamiliar(Wanted(cells, params.space_groups, tuple(energies), len(hung) or 1, params.count))
    if found:
        text = found[0] if len(found) == 1 else "Outside of what the model saw:\n" + "\n".join(f"- {s}" for s in found)
        st.warning(text, icon=":material/explore_off:")
    if never := impossible(params.formulas, params.space_groups):
        text = "  \n".join(never) + "  \nWhat is drawn there comes out in another group, or with atoms too close."
        st.warning(text, icon=":material/grid_off:")
