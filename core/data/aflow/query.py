"""A question to AFLUX, composed from what a person picks, or written by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

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
        if low > high:
            raise ValueError(f"{name}: {low:g} is above {high:g}.")
        parts.append(f"{name}({low:g})" if low == high else f"{name}({low:g}*,*{high:g})")
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
    text = "".join(text.split())
    text = re.sub(r"^https?://[^?]*\?", "", text).removeprefix("?")
    text = re.sub(r",?\$?paging(\([^)]*\))?", "", text)
    text = re.sub(r",?format\([^)]*\)", "", text).strip(",")
    if not text:
        raise ValueError("The summons is empty: write properties such as species(B,Ta),nspecies(2).")
    if len(text) > _LONGEST:
        raise ValueError(f"The summons has {len(text):,} characters; {_LONGEST:,} can be sent.")
    wrong = re.search(r"[^A-Za-z0-9_(),:!*$'.+\-/]", text)
    if wrong:
        raise ValueError(f"The summons holds {wrong.group()!r}, which AFLUX does not know.")
    if text.count("(") != text.count(")"):
        raise ValueError("The summons has brackets that do not close.")
    names = set(re.findall(r"(?:^|,)\$?([A-Za-z_0-9]+)", text))
    missing = [name for name in _SHOWN if name not in names]
    return ",".join([text, *missing])


def _species(query: Query) -> str:
    if query.mode not in _MODES:
        raise ValueError(f"{query.mode!r} is none of {', '.join(_MODES)}.")
    for symbol in query.elements:
        if not Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is no element.")
    if query.mode == "all":
        return f"species({','.join(query.elements)})"
    either = ":".join(query.elements)
    return f"species({either})" if query.mode == "any" else f"species(({either}),{_others(query.elements)})"


def _others(elements: Sequence[str]) -> str:
    """ "!H,!He,…": AFLUX has no word for "nothing else"."""
    return ",".join(
        f"!{e.symbol}" for e in sorted(Element, key=lambda e: e.Z) if e.Z <= 94 and e.symbol not in elements
    )
