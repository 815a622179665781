"""Which candidates are listed, kept in the URL: a bar of filters, and chips that take them away again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from core.ui.candidate_words import group_words
from core.ui.widgets import plain, selected, selected_int
from core.workflows import candidates as workflow
from core.workflows.context import UserError
from core.workflows.hulls import list_hulls
from core.workflows.store import store
from db import candidates as rows
from db.candidate_lists import CandidateFilter

FILTERS = ("run", "system", "formula", "below", "model", "asked", "found", "series", "is")
_PASSING = ("rows", "candidate", "undo")  # what belongs to the list as it was
_VERDICTS: dict[str, tuple[str, bool, str]] = {  # in the URL -> column, value, words
    "usable": ("usable", True, "valid or relaxed"),
    "valid": ("valid", True, "valid"),
    "new": ("novel", True, "new as drawn"),
    "unique": ("unique", True, "unique as drawn"),
    "relaxed": ("relaxed", True, "relaxed"),
    "starred": ("starred", True, "starred"),
    "invalid": ("valid", False, "not valid"),
    "known": ("novel", False, "known as drawn"),
    "repeats": ("unique", False, "repeats as drawn"),
    "unrelaxed": ("relaxed", False, "not relaxed"),
    "balanced": ("charge_balanced", True, "charge balanced"),
    "unbalanced": ("charge_balanced", False, "charge not balanced"),
}
_OFTEN = ("usable", "valid", "new", "unique", "relaxed", "starred")
EXAMPLES = {
    "run": "20", "model": "model 1", "formula": "TaB2", "system": "B-Ta-W", "asked": "191", "found": "12",
    "below": "0.05", "is": "valid.new.unique", "series": "0.1",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What the URL asks for, and sentences on what in it makes no sense."""

    wanted: CandidateFilter
    problems: tuple[str, ...] = ()


def asked(deleted: bool = False) -> Asked:
    """The filters in the URL; what makes no sense there is left out."""
    problems = []
    formula = _text("formula")
    if formula:
        try:
            formula = workflow.formula_wanted(formula)
        except UserError as error:
            problems.append(str(error))
            formula = None
    verdicts = {_VERDICTS[name][0]: _VERDICTS[name][1] for name in verdicts_asked()}
    groups = {name: g if (g := selected_int(name)) and 1 <= g <= 230 else None for name in ("asked", "found")}
    return Asked(
        CandidateFilter(
            job_id=selected_int("run"),
            model=_text("model"),
            reduced_formula=formula,
            chemical_system=_text("system"),
            group_asked=groups["asked"],
            group_found=groups["found"],
            above=below_asked(),
            series=_text("series"),
            deleted=deleted,
            **verdicts,
        ),
        tuple(problems),
    )


def verdicts_asked() -> list[str]:
    """Names of `_VERDICTS` in the URL; of two that exclude each other the first."""
    named = (selected("is") or "").split(".")
    found: dict[str, str] = {}
    for name in named:
        if name in _VERDICTS:
            found.setdefault(_VERDICTS[name][0], name)
    return list(found.values())


def below_asked() -> float | None:
    try:
        value = float(selected("below") or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def change(*gone: str, **values: object) -> None:
    """Set what the URL says of the list, and begin it anew; None and `gone` are taken away. For callbacks."""
    kept = {k: v for k, v in st.query_params.to_dict().items() if k not in (*_PASSING, *gone)}
    for name, value in values.items():
        if value is None or value == "":
            kept.pop(name, None)
        else:
            kept[name] = str(value)
    st.query_params.from_dict(kept)


def filter_bar() -> None:
    """The most used filters side by side, the others behind a button, the active ones as chips."""
    with store().session() as session:
        runs = {job: f"{job} · {model} · {n:,}" for job, model, n in rows.runs(session)}
    first, second, third, fourth, more = st.columns([3, 2, 2, 2, 1.25], vertical_alignment="bottom")
    with first:
        _choice("Run", "run", runs, selected_int("run"), "all runs")
    with second:
        systems = {str(k): f"{k} · {n:,}" for k, n in workflow.choices("chemical_system").items()}
        _choice("Chemical system", "system", systems, _text("system"), "all systems")
    with third:
        _typed("Formula", "formula", "any, such as TaB2", "As cell or unit: Ta2B4 finds TaB2.")
    with fourth:
        _typed("Above hull, at most", "below", "eV/atom", "eV/atom; 0 leaves those on the hull or below it.")
    with more, st.popover("More", icon=":material/filter_alt:", width="stretch"):
        _more()
    _chips(runs)


def verdict_pills() -> None:
    """The most used verdicts, several at once."""
    active = verdicts_asked()
    often = [n for n in active if n in _OFTEN]
    key = f"is-{'.'.join(active)}"
    st.pills(
        "Verdicts",
        _OFTEN,
        selection_mode="multi",
        default=often,
        format_func=lambda n: (":material/star: " if n == "starred" else "") + _VERDICTS[n][2],
        key=key,
        label_visibility="collapsed",
        on_change=lambda: _put_verdicts([n for n in active if n not in _OFTEN] + list(st.session_state[key])),
    )


def _put_verdicts(names: list[str]) -> None:
    """The last one chosen wins over what it excludes."""
    kept = {_VERDICTS[name][0]: name for name in names}
    change(**{"is": ".".join(kept.values())})


def _more() -> None:
    _choice("Model", "model", _counted("model"), _text("model"), "any")
    left, right = st.columns(2)
    for column, name, label in ((left, "asked", "Space group asked"), (right, "found", "Space group found")):
        with column:
            groups = {
                g: f"{g} · {group_words(int(str(g)))} · {n:,}" for g, n in workflow.choices(f"group_{name}").items()
            }
            _choice(label, name, groups, selected_int(name), "any")
    if series := _counted("series"):
        _choice("Series", "series", series, _text("series"), "any")
    active = verdicts_asked()
    rare = [n for n in _VERDICTS if n not in _OFTEN]
    key = f"rare-{'.'.join(active)}"
    st.pills(
        "Verdicts, the others",
        rare,
        selection_mode="multi",
        default=[n for n in active if n in rare],
        format_func=lambda n: _VERDICTS[n][2],
        key=key,
        on_change=lambda: _put_verdicts([n for n in active if n in _OFTEN] + list(st.session_state[key])),
    )


def _counted(column: str) -> dict[Any, str]:
    return {value: f"{value} · {n:,}" for value, n in workflow.choices(column).items()}


def _choice(label: str, name: str, options: Mapping[Any, str], current: Any, none: str) -> None:
    """A box of values in the URL under `name`; one that is there no more is offered as long as the URL says it."""
    shown = {None: none, **options}
    if current not in shown:
        shown[current] = f"{current} · 0"
    key = f"{name}-{current}"
    st.selectbox(
        label,
        list(shown),
        index=list(shown).index(current),
        format_func=shown.__getitem__,
        key=key,
        on_change=lambda: change(**{name: st.session_state[key]}),
    )


def _typed(label: str, name: str, placeholder: str, about: str) -> None:
    current = selected(name) or ""
    key = f"{name}-{current}"
    st.text_input(
        label,
        current,
        key=key,
        placeholder=placeholder,
        help=about,
        max_chars=100,
        on_change=lambda: change(**{name: st.session_state[key].strip().replace("−", "-").replace(",", ".")}),
    )


def _chips(runs: Mapping[int, str]) -> None:
    """A button for each filter that is active, which takes it away; verdicts show themselves."""
    wanted = asked().wanted
    words = {
        "run": f"run {wanted.job_id}",
        "system": f"system {wanted.chemical_system}",
        "formula": str(wanted.reduced_formula),
        "below": f"at most {wanted.above} eV/atom above the hull".replace("-", "−"),
        "model": f"model {wanted.model}",
        "asked": f"asked for {group_words(wanted.group_asked)}",
        "found": f"found {group_words(wanted.group_found)}",
        "series": f"series {wanted.series}",
    }
    values = (
        wanted.job_id, wanted.chemical_system, wanted.reduced_formula, wanted.above, wanted.model, wanted.group_asked,
        wanted.group_found, wanted.series,
    )  # fmt: skip
    active = [name for name, value in zip(words, values, strict=True) if value is not None]
    rare = [n for n in verdicts_asked() if n not in _OFTEN]
    if not active and not rare:
        return
    with st.container(horizontal=True, gap="small"):
        for name in active:
            _chip(plain(words[name]), name, partial(change, name))
        for name in rare:
            left = [n for n in verdicts_asked() if n != name]
            _chip(_VERDICTS[name][2], f"is-{name}", partial(_put_verdicts, left))
        if len(active) + len(rare) > 1:
            st.button(
                "All filters", icon=":material/filter_alt_off:", key="chip-all", type="tertiary",
                help="Take every filter away", on_click=lambda: change(*FILTERS),
            )  # fmt: skip


def _chip(words: str, name: str, take: Callable[[], None]) -> None:
    st.button(words, icon=":material/close:", key=f"chip-{name}", help="Take this filter away", on_click=take)


def hull_choice() -> None:
    """On which hull, and by which method: every system on its own, or all on one."""
    methods = workflow.energy_methods()
    hulls = list_hulls()
    names = {"": f"Each system's own hull by {methods[0]}"}
    names |= {f"by.{m}": f"Each system's own hull by {m}" for m in methods[1:]}
    names |= {str(h.id): f"Hull {h.chemical_system} by {h.method} ({h.name})" for h in hulls}
    current = selected("hull") or ""
    current = current if current in names else ""
    key = f"hull-{current}"
    st.selectbox(
        "Hull and energies",
        list(names),
        index=list(names).index(current),
        format_func=names.__getitem__,
        key=key,
        label_visibility="collapsed",
        on_change=lambda: change(hull=st.session_state[key]),
    )


def _text(name: str) -> str | None:
    text = (selected(name) or "").replace("\0", "").strip()[:200]
    return text or None
