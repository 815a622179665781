"""The form of the Generate page. Every choice is in the URL by the widgets' own keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from core.data.space_groups import compact
from core.jobs import queue
from core.ui.after_input import MODES, after_input, draws_input, relaxation_details
from core.ui.composition_input import composition_input
from core.ui.conditions import drop_infinite, model_picker, sampler_picker, show_how, usable_method
from core.ui.devices import cost_device, devices
from core.ui.energy_input import THINNED, EnergyChoice, energy_input
from core.ui.generate_cost import show_cost, show_ladders, show_warnings
from core.ui.group_input import group_input
from core.ui.permits import permitted
from core.ui.widgets import go, sentences
from core.workflows.compositions import Cell
from core.workflows.datasets import list_datasets
from core.workflows.experiments import FORMULAS, PAPER_GROUPS, TA_W_B, groups_for
from core.workflows.generate import GenerateParams, check_params, levels_for
from core.workflows.hulls import list_hulls
from core.workflows.method import About, Method
from core.workflows.methods import is_substitution, label_of
from core.workflows.relax import potential_choices

WHAT = ("compose", "the paper's experiments")
ANY_SITES = "any that fit"
_NUMBERS = (
    "count",
    "seed",
    "steps",
    "atoms",
    "z",
    "from",
    "to",
    "step",
    "fmax",
    "rsteps",
    "processes",
    "draws",
    "ranksteps",
)
GROUPS = (
    "the paper's 19",
    "of the 19, those the model saw",
    "all that the model saw",
    "a single one, for a quick test",
)


def generate_form(models: Sequence[str]) -> None:
    """Conditions on the left, model and what follows on the right, what it takes and the start below them."""
    drop_infinite(*_NUMBERS)
    what = st.segmented_control(
        "What to generate", WHAT, default=WHAT[0], key="what", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    left, right = st.columns([8, 7], gap="large")
    with right:
        whole = what == WHAT[0]
        above, beside = st.columns(2) if whole else (st.container(), None)
        with above:
            name = model_picker(list(models), bound=True)
        method = usable_method("generation", name)
        about = method.about
        rest: dict[str, Any] = {}
        if beside is not None:
            label = "Candidates per combination"
            rest["count"] = int(beside.number_input(label, 1, 1000, 8, key="count", bind="query-params"))
        show_how(name)
        rest |= after_input(about.dataset)
        rest |= _advanced(about, rest["potential"] is not None, rest.get("relax") != "none")
        device = str(rest.pop("device"))
        start = st.container()
    with left:
        asked = _compose(about) if whole else _experiment(about)
        params = _hung(GenerateParams(name, **{**rest, **asked}), method) if asked is not None else None
    with start:
        _start(params, method, device)


def _advanced(about: About, energies: bool, relaxes: bool) -> dict[str, Any]:
    """How crystals are drawn, and how they are relaxed; energies: is there a potential?"""
    relaxes = energies and relaxes
    parts = ["seed", "device"] if is_substitution(about.name) else ["sampler", "seed", "device"]
    with st.expander(f"Advanced: {', '.join([*parts, 'relaxation'] if relaxes else parts)}"):
        sampler, steps = sampler_picker(about, bound=True)
        a, b = st.columns(2)
        seed = int(a.number_input("Seed", 0, 2**31 - 1, 0, key="seed", bind="query-params"))
        device = b.selectbox("Device", devices(), key="device", bind="query-params")
        found = {"sampler": sampler, "steps": steps, "seed": seed, "device": device}
        found |= draws_input() if energies else {}
        return found | relaxation_details() if relaxes else found


def _compose(model: About) -> dict[str, Any] | None:
    """Compositions, space groups and energies; None where one cannot be read."""
    seen = model.seen
    largest = int(seen["natoms"][1]) if seen else None
    cells: list[Cell] = composition_input(seen.get("elements", ()), model.max_sites, largest)
    presets = {"all that the model saw": seen.get("space_groups", ()), "the paper's 19": PAPER_GROUPS}
    groups = group_input(presets)
    held = _hold(model) if groups else {}
    energies = energy_input(model.energy_method, cells[0].formula if cells else "")
    if not cells or groups is None or energies is None:
        return None
    return {
        "formulas": tuple(cell.formula for cell in cells),
        "space_groups": groups,
        **held,
        **_energies(energies),
    }


def _hold(model: About) -> dict[str, Any]:
    """Is a space group that is asked for kept all the way, and from which sites? Templates have what they have."""
    if is_substitution(model.name):
        return {}
    held = st.checkbox(
        "Hold the space group", True, key="hold", bind="query-params",
        help="Each candidate starts on random sites of its space group and keeps the group's symmetry while it is "
        "drawn, where the composition can have that group. Off: the group is a wish that the model rarely meets.",
    )  # fmt: skip
    if not held:
        return {"hold_group": False}
    datasets = list_datasets()
    own = next((d.name for d in datasets if d.hash == model.dataset_hash), ANY_SITES)
    names = [ANY_SITES, *(d.name for d in datasets)]
    sites = st.selectbox(
        "Starting on sites as in", names, names.index(own), key="sites", bind="query-params",
        help="Wyckoff positions are drawn as often as structures of this dataset take them that have the same "
        "stoichiometry and space group; where it has none, from all that fit.",
    )  # fmt: skip
    return {"hold_group": True, "sites": "" if sites == ANY_SITES else str(sites)}


def _energies(choice: EnergyChoice) -> dict[str, Any]:
    return {
        "energies": choice.energies,
        "ladders": choice.ladders,
        "every": choice.every,
        "ladder_hull": choice.hull,
    }


def _experiment(model: About) -> dict[str, Any]:
    """The paper's three compositions and ladders, whole or shortened."""
    st.markdown(
        "**TaWB₆, TaW₂B₅ and Ta₂WB₅** :small[8 atoms each], three ladders of 21 energies down from the hull, "
        "and the paper's space groups, one candidate of each: the paper's section 6. The run ends in a table like its "
        "Table 3, with every run of this experiment that is in the store."
    )
    choice = st.radio("Space groups", GROUPS, key="xgroups", bind="query-params")
    seen = model.seen.get("space_groups", ())
    known = groups_for(seen)
    one = (known or PAPER_GROUPS)[:1]
    groups = {GROUPS[0]: PAPER_GROUPS, GROUPS[1]: known, GROUPS[2]: tuple(seen), GROUPS[3]: one}[choice]
    st.caption(f"{len(groups)}: {compact(groups)}" if groups else "The model saw none of them.")
    if choice == GROUPS[3]:
        every = THINNED["3"]
        st.caption("1 space group × 3 energies × 3 ladders × 3 compositions = 27: to see that it runs, not to compare.")
    else:
        every = _rungs()
    if len(groups) < len(PAPER_GROUPS) or every > 1:
        st.caption(":material/info: Shortened: the paper asked for 19 groups and 21 energies, 3,591 candidates in all.")
    return {
        "formulas": FORMULAS,
        "space_groups": groups,
        **_hold(model),
        "ladders": (1, 2, 3),
        "every": every,
        "count": 1,
        "experiment": TA_W_B,
    }


def _rungs() -> int:
    """Every so manyth energy of a ladder."""
    rungs = st.segmented_control(
        "Energies per ladder", list(THINNED), default="21", key="rungs", bind="query-params", required=True,
        help="Fewer span the same range, evenly: a shorter run, and a coarser one.",
    )  # fmt: skip
    return THINNED[rungs or "21"]


def _hung(params: GenerateParams, method: Method) -> GenerateParams | None:
    """Ladders hung on their hull, and what the model never saw; None where there is no such hull, which is said."""
    with sentences():
        if params.ladders:
            levels = levels_for(params)
            params = replace(params, levels=tuple(level.energy for level in levels))
            show_ladders(levels, params)
        show_warnings(params, method)
        return params
    return None


def _start(params: GenerateParams | None, method: Method, device: str) -> None:
    """What it takes, and the button."""
    if params is not None:
        with sentences():
            count = show_cost(params, method, cost_device(device))
            label = f"Generate {count:,} candidate{'s' if count != 1 else ''}"
            if st.button(label, type="primary", icon=":material/auto_awesome:", width="stretch", **permitted()):
                go("*", job=queue.submit("generate", title_of(params), check_params(params), device))
            return
    st.button("Generate", type="primary", icon=":material/auto_awesome:", disabled=True, width="stretch")


def title_of(params: GenerateParams) -> str:
    """What the job is called."""
    if params.experiment:
        return f"The paper's experiments with {label_of(params.model)}"
    more = f" and {len(params.formulas) - 3} more" if len(params.formulas) > 3 else ""
    return f"Generate {', '.join(params.formulas[:3])}{more}"


def url_of(params: GenerateParams) -> dict[str, str | list[str]]:
    """The form's URL for a run like this one, with the next seed: other candidates of the same wish."""
    plain = GenerateParams(params.model, params.formulas)
    found: dict[str, str | list[str]] = {"model": label_of(params.model), "compare": list(params.compare)}
    found |= {"formula": ", ".join(params.formulas), "groups": compact(params.space_groups)}
    found |= {"seed": str(params.seed + 1), "steps": str(params.steps), "sampler": params.sampler}
    found |= {} if params.count == plain.count else {"count": str(params.count)}
    found["then"] = next(name for name, mode in MODES.items() if mode == _mode(params))
    if params.potential is not None:
        method = next((c.method for c in potential_choices() if c.key == params.potential and not c.problem), "")
        found |= {"potential": method, "fmax": f"{params.fmax:g}", "rsteps": str(params.relax_steps)}
        found |= {} if params.draws == 1 else {"draws": str(params.draws)}
        found |= {} if not params.rank_steps else {"ranksteps": str(params.rank_steps)}
        found |= {"processes": str(params.processes), "keep": "true" if params.keep_symmetry else ""}
        found["hull"] = next((f"{h.chemical_system} ({h.name})" for h in list_hulls() if h.id == params.hull), "")
    found |= {"symmetrise": "true" if params.symmetrise else "", "hold": "" if params.hold_group else "false"}
    found |= {"sites": params.sites or ANY_SITES} if params.hold_group and params.space_groups else {}
    if params.experiment:
        found |= {"what": WHAT[1], "formula": "", "groups": "", "count": ""}
    found |= _energies_of(params)
    return {key: value for key, value in found.items() if value}


def _mode(params: GenerateParams) -> str | None:
    return None if params.potential is None else params.relax


def _energies_of(params: GenerateParams) -> dict[str, str | list[str]]:
    if not params.ladders:
        listed = ", ".join(f"{e:g}" for e in params.energies)
        return {"energy": "list", "energies": listed} if listed else {}
    rungs = next((name for name, every in THINNED.items() if every == params.every), "21")
    if params.experiment:
        return {"rungs": rungs}
    hull = next((h for h in list_hulls() if h.id == params.ladder_hull), None)
    name = f"{hull.chemical_system} by {hull.method} ({hull.name})" if hull else ""
    return {"energy": "ladders", "ladders": [str(n) for n in params.ladders], "rungs": rungs, "ladderhull": name}
