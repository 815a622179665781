"""What a hull is made of before it is one: phases of one method, and what their source says of itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Composition

HIGHEST = 20.0  # eV/atom: no formation energy is larger; what is has another unit or is a mark for "none"


@dataclass(frozen=True)
class SourcePhase:
    """One phase: composition {element: amount}, formation energy in eV/atom.

    flag: why its source keeps it off the hull ("duplicate entry"), "" where it shapes the hull
    cell: what `core.crystals.pack_cells` writes, None where the structure is not known
    """

    label: str
    composition: Mapping[str, float]
    formation: float
    space_group: int = 0
    source: str = ""
    flag: str = ""
    cell: bytes | None = None

    @property
    def formula(self) -> str:
        return Composition(self.composition).reduced_formula


@dataclass(frozen=True)
class HullSource:
    """Phases of one chemical system by one energy method, and where they are from.

    rows: entries that the source has; left_out: reason -> how many of them could not be used
    distances: eV/atom above the hull by label, as the source says them
    notes: what else is worth keeping: date, what the file says of itself, how it was made
    warnings: sentences that are known already
    """

    chemical_system: str
    method: str
    name: str
    source: str
    phases: list[SourcePhase]
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)
    distances: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def shaping(self) -> list[SourcePhase]:
        """The phases that shape the hull."""
        return [p for p in self.phases if not p.flag]


def is_formation_energy(value: float) -> bool:
    """Can this be a formation energy in eV/atom?"""
    return math.isfinite(value) and abs(value) <= HIGHEST
