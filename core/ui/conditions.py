"""Inputs for what is asked of a crystal: space groups and energies."""

from __future__ import annotations

import math
import re
from functools import cache

import streamlit as st

from core.data.space_groups import symbols
from core.data.symmetry import CRYSTAL_SYSTEMS
from core.ui.model_card import match_rate, percent
from core.ui.text import said
from core.ui.widgets import go, plain, selected, sentences
from core.workflows.context import UserError
from core.workflows.method import About, Method
from core.workflows.methods import BEST, REFINE, SUBSTITUTION, is_substitution, label_of, method_for, name_of, parts_of
from core.workflows.models import get_model

ABOUT = {
    SUBSTITUTION: "Known structures of this dataset with the new elements put in and the volume fitted, the likeliest "
    "first. No network: in seconds, and as many as there are templates.",
    REFINE: "Known structures with the new elements put in, the likeliest first, and each moved by the network from "
    "there; its symmetry is kept.",
    BEST: "Known structures with the new elements put in where they are likely, and the "
    "network's own crystals beside them.",
}


def space_group_picker(key: str = "groups") -> tuple[int, ...]:
    """Space groups by number, symbol or crystal system; none means no wish."""
    names = group_names()
    chosen = st.multiselect(
        "Space groups",
        list(names),
        format_func=names.__getitem__,
        placeholder="any; type a number, a symbol or a crystal system",
        key=key,
    )
    return tuple(chosen)


def parse_energies(text: str) -> tuple[float, ...]:
    """ "-0.4, -0.3" or "-0,4; -0,3" -> eV/atom.

    Where semicolons or spaces separate, a comma between digits is a decimal one. Raises UserError, also where a comma
    could be either.
    """
    values = []
    for part in re.split(r"[,;\s]+", _pointed(text.replace("−", "-").strip())):
        if part:
            try:
                values.append(float(part))
            except ValueError as error:
                raise UserError(f"{part[:20]!r} is no number: write energies as -0.4, -0.3.") from error
    return tuple(values)


def _pointed(text: str) -> str:
    """The text with decimal points for decimal commas. Raises UserError where a comma could also separate."""
    between = r"(?<=\d),(?=\d)"
    apart = ";" in text or (" " in text and not re.search(r",(?!\d)|(?<!\d),", text))
    if apart and not re.search(r"\d\.\d*,\d|\d,\d*\.\d|\d,\d+,\d", text):
        return re.sub(between, ".", text)
    if doubt := re.search(r"(?<![\d.])\d+,\d+(?![\d.])", text):
        raise UserError(
            f"{doubt[0][:20]!r} can be one number or two: write energies with a point, as -0.4, -0.3, or separate "
            "them by semicolons, as -0,4; -0,3."
        )
    return text


@cache
def group_names() -> dict[int, str]:
    """ "225 · Fm-3m · cubic", by number."""
    return {
        number: f"{number} · {symbols()[number]} · {system}"
        for system, first, last in CRYSTAL_SYSTEMS
        for number in range(first, last + 1)
    }


def usable_method(task: str, name: str) -> Method:
    """The method of this name; one that cannot be used ends the page with its sentence."""
    try:
        return method_for(task, name)
    except UserError as error:
        st.error(said(str(error)), icon=":material/error:")
        st.stop()


def sampler_picker(about: About, bound: bool = False) -> tuple[str, int]:
    """(way of drawing, "" for the method's own; steps); nothing to choose where there is no sampler.

    bound: both choices are in the URL, as `sampler` and `steps`; no steps are as many as are usual
    """
    ways = about.samplers
    if is_substitution(about.name):
        return "", 1
    if bound:
        return _bound_sampler(ways, about.steps)
    way = st.selectbox("Sampler", ways, help="Heun takes two evaluations a step.") if ways else None
    if about.fixed:
        st.caption("This model answers in one step, and always the same: one candidate per combination is enough.")
        return "", 1
    steps = st.number_input("Steps of the sampler", 1, 1000, about.steps, key=f"steps-{about.name}")
    return ("" if way is None or way == ways[0] else way), int(steps)


def drop_infinite(*names: str) -> None:
    """Take numbers out of the URL that no widget can hold (1e999), before widgets read it."""
    bad = [name for name in names if _infinite(selected(name) or "")]
    if bad:
        go(*bad)


def _infinite(text: str) -> bool:
    try:
        return math.isinf(float(text))
    except ValueError:
        return False


def _bound_sampler(ways: tuple[str, ...], usual: int) -> tuple[str, int]:
    left, right = st.columns(2)
    way = None
    if ways:
        help_ = "Heun takes two evaluations a step."
        way = left.selectbox("Sampler", ways, help=help_, key="sampler", bind="query-params")
    steps = right.number_input(
        "Steps of the sampler", 1, 1000, None, key="steps", bind="query-params", placeholder=f"{usual}, as usual"
    )
    return ("" if way is None or way == ways[0] else way), int(steps or usual)


def model_picker(models: list[str], bound: bool = False) -> str:
    """A method of the list, the URL's where it names one; says so where that is not here.

    bound: what is chosen is in the URL, as `model`
    """
    wanted = selected("model") or ""
    if wanted and name_of(wanted) not in models:
        st.info(f"The link names a model that is not here: {plain(wanted[:80])}.", icon=":material/info:")
    if bound:
        if wanted in models and label_of(wanted) != wanted:  # a bound URL carries labels; names are understood too
            st.session_state["model"] = wanted
        chosen: str = st.selectbox("Model", models, format_func=label_of, key="model", bind="query-params")
    else:
        name = name_of(wanted)
        first = models.index(name) if name in models else 0
        chosen = st.selectbox("Model", models, index=first, format_func=label_of)
    return chosen


def show_how(name: str) -> None:
    """What a method of templates does, in a line; of a trained model how often it finds what is known."""
    if kind := parts_of(name)[0]:
        st.caption(ABOUT[kind])
        return
    with sentences():
        rate = match_rate(get_model(name).card)
        if rate is not None:
            st.caption(
                f"One draw finds a held-out structure in {percent(rate)} of cases, by its card. Substitution finds "
                "more where its dataset has templates; a network draws also what has none."
            )
