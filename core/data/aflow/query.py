"""A question to AFLUX, composed from what a person picks, or written by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
from pymatgen.core import Element

from core.data.aflow import DFT_TYPE

CATALOGS = ("ICSD", "LIB1", "LIB2", "LIB3", "LIB4", "LIB5", "LIB6", "LIB7")
DFT_TYPES = ("PAW_PBE", "PAW_LDA", "PAW_PBE_KIN:SCAN", "US", "GGA", "PBE", "LDA")
_SHOWN = (
    "compound",
    "auid",
    "aurl",
    "species",
    "composition",
    "geometry",
    "positions_fractional",
    "spacegroup_relax",
    "enthalpy_formation_atom",
    "energy_atom",
    "natoms",
    "nspecies",
    "dft_type",
    "ldau_type",
    "catalog",
)
_LONGEST = 4000  # characters: servers cut longer addresses
_MODES = ("only", "all", "any")


@dataclass(frozen=True)
class Query:
    """What to ask for. Empty or None leaves a property free.

    mode: "only" structures of nothing but these elements (all sub-systems too), "all" of them and maybe others, "any"
    energy: window of the formation enthalpy, eV/atom; catalogs: parts of AFLOW; dft_type: one, or "" for all
    """

    elements: tuple[str, ...] = ()
    mode: str = "only"
    nspecies: tuple[int, int] | None = None
    natoms: tuple[int, int] | None = None
    groups: tuple[int, ...] = ()
    energy: tuple[float, float] | None = None
    catalogs: tuple[str, ...] = ()
    dft_type: str = DFT_TYPE


def summons(query: Query) -> str:
    """The text that AFLUX is sent, without paging. Raises ValueError where the query asks for nothing or nonsense."""
    parts = [_species(query)] if query.elements else []
    ranges = {"nspecies": query.nspecies, "natoms": query.natoms, "enthalpy_formation_atom": query.energy}
    for name, window in ranges.items():
        if window is None:
            continue
        low, high = window
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{name}: {low:g} to {high:g} holds what is no number.")
        if low > high:
            raise ValueError(f"{name}: {low:g} is above {high:g}.")
        parts.append(f"{name}({_plain(low)})" if low == high else f"{name}({_plain(low)}*,*{_plain(high)})")
    if query.groups:
        if not all(1 <= g <= 230 for g in query.groups):
            raise ValueError("Space groups are numbers from 1 to 230.")
        parts.append(f"spacegroup_relax({':'.join(map(str, query.groups))})")
    if query.catalogs:
        parts.append(f"catalog({':'.join(query.catalogs)})")
    if query.dft_type:
        parts.append(f"dft_type('{query.dft_type}')" if ":" in query.dft_type else f"dft_type({query.dft_type})")
    if not parts or not (query.elements or query.groups or query.nspecies):
        raise ValueError(
            "Choose at least some elements, space groups or a number of species: all of AFLOW is too much."
        )
    asked = {part.split("(")[0] for part in parts}
    return ",".join([*parts, *(name for name in _SHOWN if name not in asked)])


def check_summons(text: str) -> str:
    """A summons as it was typed or pasted, made ready to send: without address, paging and format.

    Raises ValueError with a sentence where it cannot be one.
    """
    text = re.sub(r"^[A-Za-z0-9.:/_-]*\?", "", unquote("".join(text.split())))  # browsers encode quotes
    if not text.strip("$!,"):
        raise ValueError("The summons is empty: write properties such as species(B,Ta),nspecies(2).")
    if len(text) > _LONGEST:
        raise ValueError(f"The summons has {len(text):,} characters; {_LONGEST:,} can be sent.")
    wrong = re.search(r"[^A-Za-z0-9_(),:!*$'.+\-/]", text)
    if wrong:
        raise ValueError(f"The summons holds {wrong.group()!r}, which AFLUX does not know.")
    parts = [p for p in _parts(text) if p and not re.match(r"\$?(paging|format)\b", p)]
    if not parts:
        raise ValueError("The summons is empty: write properties such as species(B,Ta),nspecies(2).")
    parts = [p[1:] if p.startswith("$") and _name(p) in _SHOWN else p for p in parts]  # hidden, it would not come
    names = {_name(p) for p in parts}
    return ",".join([*parts, *(name for name in _SHOWN if name not in names)])


def _parts(text: str) -> list[str]:
    """A summons at the commas that stand in no bracket. Raises ValueError where the brackets do not fit."""
    parts, depth = [""], 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            raise ValueError(f"The summons closes a bracket that is not open, before {text[place + 1 : place + 20]!r}.")
        if depth == 0 and letter == ",":
            parts.append("")
            continue
        if depth == 0 and text[place - 1 : place] == ")" and letter not in "):":
            raise ValueError(f"The summons lacks a comma before {text[place : place + 20]!r}.")
        parts[-1] += letter
    if depth:
        raise ValueError("The summons has brackets that do not close.")
    return parts


def _name(part: str) -> str:
    """ "$species(B,Ta)" -> "species"."""
    return part.removeprefix("$").split("(")[0]


def _plain(value: float) -> str:
    """A number without an exponent, which AFLUX cannot read."""
    return str(np.format_float_positional(float(value), trim="-"))


def _species(query: Query) -> str:
    if query.mode not in _MODES:
        raise ValueError(f"{query.mode!r} is none of {', '.join(_MODES)}.")
    for symbol in query.elements:
        if not Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is no element.")
    exact = query.nspecies == (len(set(query.elements)),) * 2  # as many as there are: nothing needs to be ruled out
    if query.mode == "all" or (query.mode == "only" and exact):
        return f"species({','.join(query.elements)})"
    either = ":".join(query.elements)
    return f"species({either})" if query.mode == "any" else f"species(({either}),{_others(query.elements)})"


def _others(elements: Sequence[str]) -> str:
    """ "!H,!He,…": AFLUX has no word for "nothing else"."""
    return ",".join(
        f"!{e.symbol}" for e in sorted(Element, key=lambda e: e.Z) if e.Z <= 94 and e.symbol not in elements
    )
