"""What happens to candidates once they are drawn: judged, relaxed, placed."""

from __future__ import annotations

import os
from typing import Any

import streamlit as st

from core.workflows.chain import MAX_DRAWS, Chain
from core.workflows.datasets import list_datasets
from core.workflows.hulls import list_hulls
from core.workflows.relax import potential_choices

MODES = {"relax": "cell", "sites only": "positions", "as drawn": "none", "nothing": None}
_ABOUT = {
    "relax": "Cell and sites move until the forces are small; then the energy is placed on the hull.",
    "sites only": "The cell stays as drawn, as the paper does it.",
    "as drawn": "The potential's energy of what was drawn, without a relaxation: quick, and always too high.",
    "nothing": "Drawn and judged only. They can be relaxed later, on the Candidates page.",
}
_NEWEST = "newest"
KEPT = (
    "Of so many valid crystals one is kept: where an energy is asked for on the potential's own scale, or a change of "
    "energy, the one that meets it best and is likely; else the lowest."
)
RANK_STEPS = (
    "They keep each crystal's symmetry, and the best is kept as they leave it. With 0 only the volume is brought to "
    "rest for the energies, and the best is kept as drawn."
)


def after_input(own_dataset: str) -> dict[str, Any]:
    """The fields of `Chain`; own_dataset: the one that the model learned from, against which all are compared."""
    mode = st.segmented_control(
        "Then", list(MODES), default="relax", key="then", bind="query-params", required=True,
        help="Judged they are always: distances, volume, space group, repeats, known structures. Energies are taken of "
        "all that meet the field's criterion (no atoms closer than 0.5 Å), valid or not.",
    )  # fmt: skip
    st.caption(_ABOUT[mode or "relax"])
    found: dict[str, Any] = {"potential": None}
    if mode != "nothing":
        found = {"relax": MODES[mode or "relax"], **_potential()}
    return found | _judging(own_dataset)


def _potential() -> dict[str, Any]:
    choices = potential_choices()
    usable = {c.method: c for c in choices if not c.problem}
    left, right = st.columns(2)
    method = left.selectbox(
        "Potential", list(usable), key="potential", bind="query-params",
        help=" ".join(f"{c.about}." for c in usable.values()),
    )  # fmt: skip
    hulls = {f"{h.chemical_system} ({h.name})": h.id for h in reversed(list_hulls()) if h.method == method}
    hull = right.selectbox(
        "Hull", [_NEWEST, *hulls], key="hull", bind="query-params",
        help="Of the same method: energies of two methods never meet on one hull.",
    )  # fmt: skip
    for missing in [c for c in choices if c.problem]:
        st.caption(f"{missing.method} is not offered: {missing.problem}.")
    return {"potential": usable[method].key, "hull": hulls.get(hull)}


def _judging(own_dataset: str) -> dict[str, Any]:
    known = [d.name for d in list_datasets()]
    others = [name for name in known if name != own_dataset]
    own_dataset = own_dataset if own_dataset in known else ""
    compare = st.multiselect(
        "New against", others, key="compare", bind="query-params", disabled=not others,
        placeholder=compared_with(own_dataset, bool(others)),
        help="A candidate is new where the structure matcher finds it in none of these datasets; the one that the "
        "model learned from is always among them, where it is in this store.",
    )  # fmt: skip
    symmetrise = st.toggle(
        "Symmetrise onto the space group asked for", key="symmetrise", bind="query-params",
        help="Where the group asked for is found within a tolerance, sites and cell are moved onto it; the candidate "
        "says how far. Off: crystals stay as they were drawn.",
    )  # fmt: skip
    return {"compare": tuple(compare), "symmetrise": bool(symmetrise)}


def compared_with(own_dataset: str, others: bool) -> str:
    """What stands in the empty field."""
    if not own_dataset:
        return "no dataset: choose some" if others else "no dataset"
    return f"{own_dataset}, and …" if others else own_dataset


def draws_input() -> dict[str, Any]:
    """How many crystals are drawn for a candidate, of which the potential chooses one."""
    a, b = st.columns(2)
    draws = a.number_input("Drawn for each candidate", 1, MAX_DRAWS, 1, key="draws", bind="query-params", help=KEPT)
    steps = b.number_input(
        "Relaxation steps before that", 0, 1000, 0, key="ranksteps", bind="query-params", help=RANK_STEPS
    )
    return {"draws": int(draws), "rank_steps": int(steps)}


def relaxation_details() -> dict[str, Any]:
    """When a relaxation ends, what it keeps, and how many cores share it."""
    plain, cores = Chain(), os.cpu_count() or 1
    a, b, c = st.columns(3)
    fmax = a.number_input(
        "Largest force, eV/Å", 0.001, 1.0, plain.fmax, 0.01, format="%g", key="fmax", bind="query-params",
        help="A relaxation ends below it.",
    )  # fmt: skip
    steps = b.number_input(
        "Relaxation steps, at most", 1, 10_000, plain.relax_steps, 100, key="rsteps", bind="query-params"
    )
    processes = c.number_input(
        "Processes", 1, cores, 1, key="processes", bind="query-params", help=f"Each takes one core of the {cores} here."
    )
    keep = st.toggle(
        "Keep the space group while relaxing", key="keep", bind="query-params",
        help="Forces and stress are projected onto its operations.",
    )  # fmt: skip
    return {
        "fmax": float(fmax),
        "relax_steps": int(steps),
        "processes": int(processes),
        "keep_symmetry": bool(keep),
    }
