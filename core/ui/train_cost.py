"""What a training would cost here, in words, before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from core.cli.common import duration
from core.models.registry import NETWORKS
from core.ui.devices import cost_device, devices, memory_of
from core.ui.model_card import millions
from core.ui.widgets import counted
from core.workflows.context import UserError
from core.workflows.train import Estimate, TrainParams, estimate, plan_of


def preset_captions(params: TrainParams, presets: Mapping[str, str]) -> dict[str, str]:
    """Each preset's line, with its pace on the first device here."""
    device = devices()[0]
    return {name: f"{about}. {_pace(replace(params, preset=name), device)}" for name, about in presets.items()}


def _pace(params: TrainParams, device: str) -> str:
    try:
        cost = estimate(params, device)
    except UserError:
        return ""
    return f"Here about {_round(cost.structures_per_s)} structures/s: a pass in {duration(cost.epoch_s)}"


def show_cost(params: TrainParams, device: str) -> None:
    """Pace, passes in the budget and memory; a warning where the budget or the machine is too small."""
    cost = estimate(params, cost_device(device))
    with st.container(border=True):
        st.markdown(f"**What it costs here** :small[estimated for {cost_device(device)} here, within a factor of two]")
        first = st.columns(3)
        first[0].metric("parameters", millions(cost.parameters))
        first[1].metric("structures/s", _round(cost.structures_per_s))
        first[2].metric("memory", f"{cost.memory_mb / 1000:.1f} GB")
        second = st.columns(3)
        second[0].metric("one pass", duration(cost.epoch_s), help=f"All {cost.structures:,} structures once.")
        passes = passes_in(params, cost)
        second[1].metric("passes", "–" if passes is None else _round(passes), help="The paper: 400.")
        steps = None if passes is None else passes * cost.structures / plan_of(params).config.batch
        second[2].metric("steps", "–" if steps is None else _round(steps))
        if passes is not None and passes < 1:
            st.caption(
                f":material/warning: The budget ends before every structure was seen once: a pass takes "
                f"{duration(cost.epoch_s)}."
            )
        if cost.too_large:
            st.caption(
                f":material/info: {counted(cost.too_large, 'structure')} of the training part "
                f"{'has' if cost.too_large == 1 else 'have'} more than the {NETWORKS[params.network].max_sites} atoms "
                f"that the {params.network} holds: left out."
            )
        here = memory_of(device)
        if here is not None and cost.memory_mb > here:
            st.caption(f":material/warning: {device} has {here / 1000:.1f} GB: take a smaller batch or preset.")


def passes_in(params: TrainParams, cost: Estimate) -> float | None:
    """How often every structure is seen before the budget ends; None without a budget."""
    found = []
    if params.minutes:
        found.append(60 * params.minutes / cost.epoch_s)
    if params.steps:
        found.append(params.steps * plan_of(params).config.batch / cost.structures)
    return min(found, default=None)


def _round(value: float) -> str:
    """Two digits: more would pretend."""
    return f"{float(f'{value:.2g}'):,.10g}"
