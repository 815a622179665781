"""How candidates are relaxed: potential, what moves, when it ends."""

from __future__ import annotations

import os
from collections.abc import Sequence

import streamlit as st

from core.jobs.shards import MAX_SHARDS, submit_relaxation
from core.ui.devices import devices
from core.ui.permits import permitted
from core.ui.widgets import sentences
from core.workflows.relax import SYMPREC, RelaxParams, potential_choices

MAX_IN_ONE = 5000  # candidates


def relax_form(candidate_ids: Sequence[int]) -> None:
    """Choices and a start; the job that runs is in the URL."""
    choices = potential_choices()
    usable = {c.key: c for c in choices if not c.problem}
    key = st.selectbox(
        "Relax with",
        list(usable),
        format_func=lambda k: usable[k].method,
        help=" ".join(f"{c.about}." for c in usable.values()),
    )
    for missing in [c for c in choices if c.problem]:
        st.caption(f"{missing.method} is not offered: {missing.problem}.")
    cell = st.toggle("Relax the cell too", True, help="Off: positions only, as the paper does.")
    symmetry = st.toggle("Keep the space group", help="Forces and stress are projected onto its operations.")
    with st.popover("More", icon=":material/tune:"):
        fmax = st.number_input("Largest force at the end (eV/Å)", 0.001, 1.0, 0.05, 0.01, format="%g")
        steps = st.number_input("Steps, at most", 1, 10_000, 500, 100)
        symprec = st.number_input(
            "Tolerance of space groups (Å)", 0.0001, 0.5, SYMPREC, 0.01, format="%g", help="spglib's symprec."
        )
        device = st.selectbox("Device", devices(), key="relax-device")
        cores = os.cpu_count() or 1
        processes = st.number_input("Processes", 1, cores, 1, help=f"Each takes a core of the {cores} here.")
        count = len(candidate_ids)
        least = max(1, -(-count // MAX_IN_ONE))
        shards = st.number_input(
            "Jobs to split it into", least, MAX_SHARDS, least,
            help="A cluster runs them side by side; here they follow one another. Each can be stopped and resumed. "
            f"One job takes {MAX_IN_ONE:,} candidates at most.",
        )  # fmt: skip
    if st.button(f"Relax {count}", type="primary", icon=":material/compress:", **permitted(disabled=not count)):
        with sentences():
            params = RelaxParams(
                tuple(candidate_ids), str(key), cell, float(fmax), int(steps), symmetry, float(symprec),
                processes=int(processes) if device in ("cpu", "slurm", "ray") else 1,
            )  # fmt: skip
            made = submit_relaxation(params, device, int(shards))
            st.query_params["job"] = str(made[0])
            if len(made) > 1:
                st.toast(f"{len(made)} jobs are queued: the page Jobs shows them all.", icon=":material/compress:")
