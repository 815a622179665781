"""The honest comparison: a hull's phases again with the potential of the candidates, and both methods side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.jobs import queue
from core.ui.permits import permitted
from core.ui.widgets import counted, go, plain, sentences
from core.workflows.context import UserError
from core.workflows.hulls import HullView, get_hull_by_id
from core.workflows.hulls_evaluate import (
    Attached,
    EvaluateHullParams,
    attach_structures,
    check_evaluation,
    compare_hulls,
)
from core.workflows.relax import potential_choices


def show_comparison(view: HullView) -> None:
    """Of a hull that was made from another: both. Of another: the way to make one."""
    if view.made_from:
        _both(view)
        return
    usable = {c.key: c.method for c in potential_choices() if not c.problem and c.method != view.row.method}
    if not usable:
        return
    with st.expander("Evaluate its phases with another method", icon=":material/balance:"), sentences():
        st.write(
            f"Candidates by another method cannot be placed on energies by {plain(view.row.method)}. The phases of "
            "this hull can be evaluated again with the potential of the candidates: a hull of its own, for them."
        )
        attached = attach_structures(view)
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        key = left.selectbox("Potential", list(usable), format_func=usable.__getitem__, key="again-potential")
        relax = middle.toggle("Relax the phases first", True, help="As candidates are.", key="again-relax")
        fetch = bool(attached.missing) and right.toggle("Fetch missing structures from AFLOW", key="again-fetch")
        st.caption(_in_words(attached))
        held_up = bool(attached.missing) and not fetch
        if st.button("Evaluate again", type="primary", icon=":material/balance:", **permitted(disabled=held_up)):
            params = EvaluateHullParams(view.row.id, str(key), relax, aflow=fetch)
            check_evaluation(params)
            go(job=queue.submit("hull-evaluate", f"Hull of {view.row.chemical_system} again", params))


def _in_words(attached: Attached) -> str:
    have = f"{counted(len(attached.entries), 'phase')} on and near the hull with a structure here."
    if not attached.missing:
        return have
    more = len(attached.missing) - 8
    named = ", ".join(attached.missing[:8]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{have} On the hull and without one: {plain(named)}. A hull that lacks a corner would call too much stable: "
        "import a dataset that holds them under these names, or fetch them."
    )


def _both(view: HullView) -> None:
    """Phases by the source's method and by this one's."""
    source = int((view.made_from or {}).get("id") or 0)
    try:
        other = get_hull_by_id(source)
    except UserError:
        st.caption("The hull that its phases come from is no longer here.")
        return
    old, new = other.row.method, view.row.method
    with st.expander(f"Both methods: {plain(old)} and {plain(new)}", icon=":material/balance:"):
        frame = pd.DataFrame(
            [
                (r["formula"], r["formation_old"], r["above_old"], r["formation_new"], r["above_new"], r["label"])
                for r in compare_hulls(other, view)
            ],
            columns=[
                "formula",
                f"formation, {old}",
                f"above hull, {old}",
                f"formation, {new}",
                f"above hull, {new}",
                "phase",
            ],
        )
        numbers = {n: st.column_config.NumberColumn(format="%.4f") for n in frame.columns[1:5]}
        st.dataframe(frame, hide_index=True, column_config=numbers, placeholder="–", alt="Energies by both methods")
        st.caption("eV/atom. Each column is measured against the hull of its own method; the two never meet.")
        if st.button("Open the other hull", icon=":material/arrow_forward:"):
            go("*", hull=source)
