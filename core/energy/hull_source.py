"""What a hull is made of before it is one: phases of one method, and what their source says of itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Composition

from core.data.formulas import FormulaError, parse_formula
from core.data.readers.records import NAMES

MAX_PHASES = 200_000
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


class HullFileError(ValueError):
    """A file that is no hull, or a row of it that cannot be; the message is a sentence."""


def composition_of(row: dict[str, Any], place: str) -> dict[str, float]:
    """From `compound` ("Mn4Pd8"), else from species and composition."""
    compound = row.get("compound") or row.get("pretty_formula")
    try:
        if isinstance(compound, str) and compound:
            return {s: float(n) for s, n in parse_formula(compound).items()}
        species, amounts = row.get("species"), row.get("composition")
        if isinstance(species, list) and isinstance(amounts, list) and len(species) == len(amounts):
            found = {str(s): float(n) for s, n in zip(species, amounts, strict=True) if float(n) > 0}
            if found and set(found) <= set(NAMES) and all(math.isfinite(n) and n <= 1000 for n in found.values()):
                return found
    except (FormulaError, TypeError, ValueError) as error:
        raise HullFileError(f"{place}: {error}") from error
    raise HullFileError(f"{place}: it has no compound that can be read.")


def group_of(row: dict[str, Any]) -> int:
    """The space group: a number, or CHULL's symbol with its number ("Pm-3m #221")."""
    value = row.get("spacegroup_relax") or row.get("space_group_relax") or 0
    found = re.search(r"(\d{1,3})(\.0*)?\D*$", str(value))
    number = int(found.group(1)) if found else 0
    return number if 1 <= number <= 230 else 0


def check_count(rows: Sequence[Any], name: str) -> None:
    if not rows:
        raise HullFileError(f"{name} holds no phases.")
    if len(rows) > MAX_PHASES:
        raise HullFileError(f"{name} holds {len(rows):,} phases; {MAX_PHASES:,} can be read.")


def system_of(found: Iterable[str], said: Sequence[str], name: str) -> str:
    """The chemical system of the phases, and of what the file says beside them. Raises HullFileError."""
    present = set(found)
    elements = sorted(present | {s.strip() for s in said if s.strip()})
    unknown = [e for e in elements if e not in NAMES]
    if unknown:
        raise HullFileError(f"{name}: {unknown[0][:20]!r} is no element.")
    strangers = sorted(present - set(said)) if said else []
    if strangers:
        raise HullFileError(f"{name}: {', '.join(strangers)} is no element of its system {'-'.join(said)}.")
    return "-".join(elements)


def number_of(value: Any, place: str, key: str) -> float | None:
    """A number, also from text; None where there is none. Raises HullFileError for what is neither."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise HullFileError(f"{place}: its {key} is no number.") from error
