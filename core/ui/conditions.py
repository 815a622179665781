"""Inputs for what is asked of a crystal: space groups and energies."""

from __future__ import annotations

from functools import cache

import streamlit as st

from core.workflows.context import UserError

CRYSTAL_SYSTEMS = (
    ("triclinic", 1, 2),
    ("monoclinic", 3, 15),
    ("orthorhombic", 16, 74),
    ("tetragonal", 75, 142),
    ("trigonal", 143, 167),
    ("hexagonal", 168, 194),
    ("cubic", 195, 230),
)


def space_group_picker(key: str = "groups") -> tuple[int, ...]:
    """Space groups by number, symbol or crystal system; none means no wish."""
    names = _space_groups()
    chosen = st.multiselect(
        "Space groups",
        list(names),
        format_func=names.__getitem__,
        placeholder="any; type a number, a symbol or a crystal system",
        key=key,
    )
    return tuple(chosen)


def parse_energies(text: str) -> tuple[float, ...]:
    """ "-0.4, -0.3" -> eV/atom. Raises UserError."""
    values = []
    for part in text.replace(";", ",").replace("−", "-").split(","):
        if part.strip():
            try:
                values.append(float(part))
            except ValueError as error:
                raise UserError(f"{part.strip()[:20]!r} is no number: write energies as -0.4, -0.3.") from error
    return tuple(values)


@cache
def _space_groups() -> dict[int, str]:
    from pymatgen.symmetry.groups import sg_symbol_from_int_number

    return {
        number: f"{number} · {sg_symbol_from_int_number(number)} · {system}"
        for system, first, last in CRYSTAL_SYSTEMS
        for number in range(first, last + 1)
    }
