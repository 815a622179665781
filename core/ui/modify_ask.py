"""What is asked of a start: groups, changes of energy, how many, and what is done with what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from pymatgen.core import Structure

from core.cli.common import duration
from core.crystals import Crystals, unpack_cells
from core.energy.potential import MIN_DISTANCE, shortest_distances
from core.export.bundle import cif_text
from core.jobs import queue
from core.ui.after_input import KEPT, RANK_STEPS, compared_with
from core.ui.conditions import model_picker, parse_energies, sampler_picker, show_how, usable_method
from core.ui.devices import cost_device, devices
from core.ui.group_input import group_input
from core.ui.permits import permitted
from core.ui.widgets import counted, go, plain, selected, sentences
from core.workflows.chain import MAX_DRAWS, MODES
from core.workflows.datasets import list_datasets
from core.workflows.design_cost import cost_of
from core.workflows.method import Method, Wanted
from core.workflows.methods import REFINE, SUBSTITUTION, is_substitution, label_of, parts_of
from core.workflows.modify import ModifyParams, cells_asked, modifier, parse_start, plan, sites_of, start_energy
from core.workflows.relax import method_of, potential_choices

_SYMMETRISE = (
    "Sites and cell are moved onto the space group asked for, if a tolerance finds it; the table says how far."
)
_TIMES = {1: "as the start", 2: "doubled", 3: "tripled", 4: "fourfold"}


def potential_picker() -> str | None:
    """Whose energies are shown and taken, None for none; in the URL."""
    usable = {c.key: c.method for c in potential_choices() if not c.problem}
    options = [*usable, "none"]
    first = options.index(_first("potential", options[0], options))
    chosen = st.selectbox(
        "Energies by", options, first, format_func=lambda k: usable.get(k, "no potential: draw and judge alone"),
        key="ask-potential", help="The start and every candidate are evaluated by it, so that they can be compared.",
    )  # fmt: skip
    _remember("potential", chosen, options[0])
    return None if chosen == "none" else str(chosen)


def modifier_picker(models: list[str]) -> Method:
    """A model for modification; in the URL. Raises UserError."""
    name = model_picker(models)
    _remember("model", name, models[0])
    show_how(name)
    return usable_method("modification", name)


def ask(structure: Structure, name: str, model: Method, potential: str | None) -> None:
    """The wishes and a start; the job that runs is in the URL."""
    left, right = st.columns(2, gap="large")
    with left:
        groups = group_input({}, "ask-groups", _first("groups", ""))
        _remember("groups", st.session_state["ask-groups"], "")
        text = st.text_input(
            "Energy changes, eV/atom", _first("changes", "-0.1"), key="ask-changes",
            placeholder="none in particular; -0.1, -0.2 asks for both",
            help="Negative is more stable. Separated by commas: each is drawn with each space group.",
        )  # fmt: skip
        _remember("changes", text, "-0.1")
        cells = _cells(len(structure), sites_of(model))
        a, b = st.columns(2)
        with a:
            count = _whole("Candidates of each", "count", 8, 1, 1000)
        with b:
            relax = _relax(potential)
    with right:
        compare = _datasets(model)
        draws, rank_steps = (1, 0) if potential is None else _ranking()
        symmetrise = _switch("Symmetrise", "symmetrise", _SYMMETRISE)
        with st.expander("Seed, device" if is_substitution(model.about.name) else "Sampler, steps, seed, device"):
            sampler, steps = sampler_picker(model.about)
            seed = _whole("Seed", "seed", 0, 0, 2**31 - 1)
            device = st.selectbox("Device", devices(), key="ask-device")
        place = st.container()
    if groups is None:
        return
    with sentences(), place:
        params = ModifyParams(
            model.about.name, cif_text(structure, {}), name, groups, parse_energies(text), count, steps, seed, sampler,
            cells, symmetrise=symmetrise, compare=compare, potential=potential, relax=relax, draws=draws,
            rank_steps=rank_steps,
        )  # fmt: skip
        _start(params, structure, model, device)


def asked_again(params: Mapping[str, Any]) -> dict[str, str]:
    """The URL of a run's params, less its start: what `ask` reads, where it is not what the page begins with."""

    def joined(name: str) -> str:
        return ",".join(map(str, params.get(name) or ()))

    said = {
        "model": params.get("model"),
        "groups": joined("space_groups"),
        "changes": joined("energy_changes"),
        "cells": joined("cells"),
        "count": params.get("count"),
        "potential": params.get("potential") or "none",
        "relax": params.get("relax"),
        "draws": params.get("draws"),
        "ranksteps": params.get("rank_steps"),
        "symmetrise": "1" if params.get("symmetrise") else "",
        "compare": joined("compare"),
    }
    return {
        name: str(value) for name, value in said.items() if value is not None and (value != "" or name == "changes")
    }


def _start(params: ModifyParams, structure: Structure, model: Method, device: str) -> None:
    """Count, time, warnings, button. Raises UserError."""
    start = parse_start(params.cif, params.name)
    crystal = unpack_cells([start.cell])
    wishes = plan(params, start, crystal)
    formula = structure.composition.reduced_formula
    sizes = [len(w.numbers) for w in wishes[:: -(-len(wishes) // 1000)]]
    cells = cells_asked(crystal, params.cells)
    contents = [cell.formula(0) for cell in cells]
    method = modifier(model.about.name, params.sampler)
    method.check(contents, params.space_groups, cells)
    cost = cost_of(method, sizes, params.steps, params, cost_device(device))
    scale = len(wishes) / len(sizes)
    relaxing = f", of which relaxing {duration(cost.relax_s * scale)}" if cost.relax_s else ""
    changes = list(params.energy_changes)
    found = method.unfamiliar(Wanted(tuple(contents), params.space_groups, count=params.count, starts=tuple(cells)))
    for sentence in [
        *_overlapping(crystal),
        *found,
        *_large(changes, model),
        *_without_energy(params, crystal, method),
    ]:
        st.warning(plain(sentence), icon=":material/info:")
    if st.button(
        f"Draw {counted(len(wishes), 'candidate')}",
        type="primary",
        icon=":material/transform:",
        width="stretch",
        **permitted(),
    ):
        go("*", job=queue.submit("modify", f"Modify {formula}", params, device))
    st.caption(
        f"About {duration(max(1.0, cost.total_s * scale))} on {cost_device(device)} here{relaxing}. "
        f"Changes are on the scale of {plain(model.about.energy_method or 'no method')}, which "
        f"{plain(label_of(model.about.name))} learned from."
    )


def _overlapping(crystal: Crystals) -> list[str]:
    """Where atoms of the start lie on one another."""
    distance = float(shortest_distances(crystal)[0])
    if distance >= MIN_DISTANCE:
        return []
    return [
        f"Two atoms of this structure are {distance:.2f} Å apart. No potential has an energy for that, nothing drawn "
        "can be compared with it: mend the structure first."
    ]


def _without_energy(params: ModifyParams, crystal: Crystals, method: Method) -> list[str]:
    """Where templates cannot be looked for by their energy, since the start's is not known on their scale."""
    if not params.energy_changes or parts_of(params.model)[0] not in (SUBSTITUTION, REFINE):
        return []
    scale = method.about.energy_method
    if params.potential is not None and method_of(params.potential) == scale:
        return []
    if start_energy(method, crystal) is not None:
        return []
    return [
        f"The energy of this structure by {scale or 'the dataset'} is not known: it is no structure of "
        f"{method.about.dataset}. The change asked for is left out, and templates are taken by their elements alone."
    ]


def _cells(natoms: int, most: int) -> tuple[int, ...]:
    """How many times the start's content a result holds; in the URL, as the start by default."""
    fit = [n for n in _TIMES if n == 1 or n * natoms <= most]
    asked = _first("cells", "1").split(",")
    first = [n for n in fit if str(n) in asked] or [1]
    chosen = st.pills(
        "Cell of the result and its atoms", fit, selection_mode="multi", default=first,
        format_func=lambda n: f"{_TIMES[n]} · {n * natoms}", key=f"ask-cells-{natoms}", wrap=True,
        help="Many polymorphs need a larger cell than the start's. The start is given to the model in its most compact "
        "cell of each size; energies are per atom and stay what they are.",
    )  # fmt: skip
    cells = tuple(n for n in fit if n in chosen) or (1,)
    _remember("cells", ",".join(map(str, cells)), "1")
    return cells


def _ranking() -> tuple[int, int]:
    """Of how many crystals one is kept, and after how many steps of relaxation; in the URL."""
    a, b = st.columns(2)
    with a:
        draws = _whole("Drawn for each candidate", "draws", 1, 1, MAX_DRAWS, help=KEPT)
    with b:
        return draws, _whole("Relaxation steps before that", "ranksteps", 0, 0, 1000, help=RANK_STEPS)


def _large(changes: list[float], model: Method) -> list[str]:
    """Changes that are wider than all energies that the model saw."""
    seen = model.about.seen.get("energies")
    if not seen or not changes:
        return []
    span = seen[1] - seen[0]
    wide = [c for c in changes if abs(c) > span]
    return (
        [f"A change of {wide[0]:g} eV/atom: all energies in the training data lie within {span:.2f}."] if wide else []
    )


def _relax(potential: str | None) -> str:
    """What the potential does with start and candidates alike."""
    modes = list(MODES)
    chosen = st.selectbox(
        "Then", modes, modes.index(_first("relax", "cell", modes)), format_func=MODES.__getitem__,
        key="ask-relax", disabled=potential is None,
        help="The start is treated just as the candidates are, so that the change of energy is a fair one.",
    )  # fmt: skip
    _remember("relax", chosen, "cell")
    return str(chosen)


def _datasets(model: Method) -> tuple[str, ...]:
    known = list_datasets()
    names = [d.name for d in known if d.hash != model.about.dataset_hash]
    own = next((d.name for d in known if d.hash == model.about.dataset_hash), "")
    first = [n for n in (selected("compare") or "").split(",") if n in names]
    chosen = st.multiselect(
        "New against", names, first, key="ask-compare",
        placeholder=compared_with(own, bool(names)), disabled=not names,
        help="Candidates are compared with what the model learned from, where it is in this store, and with these.",
    )  # fmt: skip
    _remember("compare", ",".join(chosen), "")
    return tuple(chosen)


def _first(name: str, default: str, options: list[str] | None = None) -> str:
    """What the URL says of a widget, else its default: with it a widget begins, also after it was away for a while."""
    wanted = selected(name)
    return wanted if wanted is not None and (not options or wanted in options) else default


def _whole(label: str, name: str, default: int, least: int, most: int, help: str | None = None) -> int:
    text = selected(name) or ""
    first = min(max(int(text), least), most) if text.isascii() and text.isdecimal() and len(text) < 12 else default
    value = int(st.number_input(label, least, most, first, key=f"ask-{name}", help=help))
    _remember(name, str(value), str(default))
    return value


def _switch(label: str, name: str, about: str) -> bool:
    value = st.toggle(label, selected(name) == "1", key=f"ask-{name}", help=about)
    _remember(name, "1" if value else "", "")
    return value


def _remember(name: str, value: object, default: object) -> None:
    """Into the URL, where it is not what a page begins with."""
    if value == default:
        if name in st.query_params:
            del st.query_params[name]
    elif st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)
