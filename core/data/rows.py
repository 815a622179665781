"""Crystals as rows with AFLOW's keys: what JSON lines and CSV files hold, and what is written to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from pymatgen.core import Composition, Element

from core.crystals import Crystals, lattice_parameters


@lru_cache(maxsize=1_000_000)
def describe_composition(content: tuple[tuple[int, int], ...]) -> tuple[str, str, str]:
    """((atomic number, count), …) -> reduced formula, chemical system "B-Ta-W", full formula "B4 Ta2"-like compound."""
    named = {symbol(z): count for z, count in content}
    composition = Composition(named)
    compound = "".join(f"{s}{named[s]}" for s in sorted(named))
    return composition.reduced_formula, "-".join(sorted(named)), compound


def cell_content(numbers: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Atomic numbers of one cell (zeros are padding) -> ((number, count), …) by number."""
    found, counts = np.unique(numbers[numbers > 0], return_counts=True)
    return tuple(zip(found.tolist(), counts.tolist(), strict=True))


def row_of(
    crystals: Crystals,
    index: int,
    label: str,
    energies: Mapping[str, Mapping[str, float | None]] | None = None,
    method: str = "",
    digits: int = 8,
) -> dict[str, Any]:
    """One crystal as a row; sites are grouped by species, energies (eV/atom) are {method: {total, formation}}.

    enthalpy_formation_atom and energy_source are those of `method`.
    """
    mask = crystals.mask[index].numpy()
    numbers = crystals.numbers[index].numpy()[mask]
    frac = crystals.frac[index].double().numpy()[mask]
    symbols = [symbol(int(z)) for z in numbers]
    species = sorted(set(symbols))
    order = [i for s in species for i, name in enumerate(symbols) if name == s]
    formula, _, compound = describe_composition(cell_content(numbers))
    row: dict[str, Any] = {
        "auid": label,
        "compound": compound,
        "pretty_formula": formula,
        "nspecies": len(species),
        "natoms": len(numbers),
        "species": species,
        "composition": [symbols.count(s) for s in species],
        "geometry": [round(v, 6) for v in lattice_parameters(crystals.lattice[index : index + 1].double())[0].tolist()],
        "positions_fractional": [[round(v, digits) for v in frac[i].tolist()] for i in order],
    }
    if int(crystals.group[index]):
        row["spacegroup_relax"] = int(crystals.group[index])
    known = energies or {}
    formation = known.get(method, {}).get("formation", float(crystals.energy[index]))
    if formation is not None and math.isfinite(formation):
        row["enthalpy_formation_atom"] = round(formation, 6)
        row["energy_source"] = method
    if known:
        row["energies"] = {m: {k: None if v is None else round(v, 6) for k, v in e.items()} for m, e in known.items()}
    return row


@lru_cache(maxsize=128)
def symbol(number: int) -> str:
    """The symbol of an atomic number."""
    return Element.from_Z(number).symbol


def finite(value: Any) -> float | None:
    """A finite number, also from a string; else None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
