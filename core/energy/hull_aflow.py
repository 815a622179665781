"""Hulls and entries as AFLOW has written them over the years.

The NHULL list and the older CHULL object count in meV/atom, web hulls and AFLUX replies in eV/atom: which it is follows
from the keys, never from the size of the numbers. CHULL's keys: Oses et al., J. Chem. Inf. Model. 58, 2477 (2018), SI.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from core.data.aflow import CITATION, DFT_TYPE, METHOD, TERMS
from core.data.aflow.entries import as_row, dft_type, has_u
from core.data.readers.records import Problem, from_row
from core.energy.hull_source import (
    HullFileError,
    HullSource,
    SourcePhase,
    check_count,
    composition_of,
    group_of,
    is_formation_energy,
    number_of,
    system_of,
)

_NONE = 1e11  # AFLOW writes 1e12 where there is no energy
_SAID = 40  # of what a file says of itself, so many keys are kept
_WORDS = {
    "duplicate_entry": "duplicate entry",
    "extraneous_energy_entry": "extraneous energy",
    "incompatible_entry": "incompatible calculation",
    "outside_IQR": "outlier (interquartile range)",
    "plus_U_used": "Hubbard U",
}


@dataclass(frozen=True)
class _Format:
    """One of AFLOW's formats: its name, eV/atom per unit of its energies, and its keys."""

    name: str
    unit: float
    energy: str
    distance: str


_NHULL = _Format("AFLOW NHULL", 1e-3, "enthalpy_formation_atom", "distance_hull_enthalpy_formation_atom")
_CHULL = _Format("AFLOW CHULL", 1e-3, "enthalpy_formation_atom", "enthalpy_formation_atom_difference")
_WEB = _Format("AFLOW web", 1.0, "enthalpyFormationAtom", "distanceToHull")
_AFLUX = _Format("AFLUX reply", 1.0, "enthalpy_formation_atom", "")


def read_entries(rows: list[dict[str, Any]], name: str) -> HullSource:
    """Entries as AFLUX replies with them, energies in eV/atom; one that cannot be read is counted.

    Raises HullFileError where nothing remains.
    """
    return _aflow_source(_AFLUX, rows, {}, name, name, lenient=True)


def from_aflow(value: Any, name: str, stem: str) -> HullSource:
    """A hull out of parsed JSON; `stem` is what it is called. Raises HullFileError."""
    found = _recognise(value)
    if found is None:
        raise HullFileError(
            f"{name} is none of the hulls known here: AFLOW's NHULL list, its CHULL object (points_data), its web hull "
            "(species, points), an AFLUX reply, or this app's JSON (chemical_system, method, entries)."
        )
    return _aflow_source(*found, name, stem)


def _aflow_source(
    form: _Format, rows: list[Any], says: dict[str, Any], name: str, stem: str, lenient: bool = False
) -> HullSource:
    """The rows of one DFT type, the most common one; the others are counted."""
    check_count(rows, name)
    species = [str(s) for s in says.get("species", [])] if isinstance(says.get("species"), list) else []
    reading = _Aflow(form, name)
    for number, row in enumerate(rows, 1):
        try:
            reading.add(number, row)
        except HullFileError:
            if not lenient:
                raise
            reading.left_out["that cannot be read"] += 1
    kinds = reading.kinds
    kind = kinds.most_common(1)[0][0] if kinds else DFT_TYPE
    phases = [p for p, its in reading.phases if its in ("", kind)]
    left_out, warnings = dict(reading.left_out), []
    if others := {k: n for k, n in kinds.items() if k != kind}:
        left_out["of another DFT type"] = sum(others.values())
        named = ", ".join(f"{n:,} of {k}" for k, n in others.items())
        warnings.append(f"{name} mixes DFT types: only {kind} is on this hull, {named} are not.")
    if not phases:
        raise HullFileError(f"{name} holds no phase with a formation energy.")
    method = METHOD if kind == DFT_TYPE else f"{METHOD}-{kind}"
    notes = {"format": form.name, "dft_type": kind, "says": _sayings(says), "terms": TERMS, "citation": CITATION}
    if date := _date(says):
        notes["date"] = date
    system = system_of((e for p in phases for e in p.composition), species, name)
    return HullSource(system, method, stem, name, phases, len(rows), left_out, reading.distances, notes, warnings)


def _recognise(value: Any) -> tuple[_Format, list[Any], dict[str, Any]] | None:
    """Format, rows, and what stands beside them; None where it is no hull of AFLOW's."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        if _NHULL.distance in value[0] or "flagged_entry" in value[0]:
            return _NHULL, value, {}
        if "aurl" in value[0] or "dft_type" in value[0]:
            return _AFLUX, value, {}
        return None
    if not isinstance(value, dict):
        return None
    if "points_data" in value:
        says = value.get("hull_data")
        return _CHULL, _flat(value["points_data"]), says if isinstance(says, dict) else {}
    if isinstance(value.get("points"), list):
        return _WEB, value["points"], {k: v for k, v in value.items() if k != "points"}
    if value and all(re.fullmatch(r"\d+ of \d+", str(k)) for k in value):
        return _AFLUX, list(value.values()), {}
    return None


def _flat(value: Any) -> list[Any]:
    """CHULL's points: a list, or lists by number of species."""
    if isinstance(value, list):
        return value
    groups = value.values() if isinstance(value, dict) else []
    return [row for group in groups for row in (group if isinstance(group, list) else [group])]


class _Aflow:
    """Reads rows of one of AFLOW's formats; what has no energy is counted, what is nonsense is refused by name."""

    def __init__(self, form: _Format, name: str) -> None:
        self.form, self.name = form, name
        self.phases: list[tuple[SourcePhase, str]] = []
        self.distances: dict[str, float] = {}
        self.left_out: Counter[str] = Counter()
        self._seen: set[str] = set()

    @property
    def kinds(self) -> Counter[str]:
        """DFT type -> phases."""
        return Counter(kind for _, kind in self.phases if kind)

    def add(self, number: int, row: Any) -> None:
        place = f"{self.name}, row {number}"
        if not isinstance(row, dict):
            raise HullFileError(f"{place}: it is no object with keys.")
        if self.form is _AFLUX:
            row = as_row(row)
        auid = str(row.get("auid") or "")
        place += f" ({auid})" if auid else ""
        energy = number_of(row.get(self.form.energy), place, self.form.energy)
        if energy is None or abs(energy) >= _NONE:
            flag = _flag(row)
            self.left_out[f"without an energy{', ' if flag else ''}{flag}"] += 1
            return
        if self.form is _AFLUX and has_u(row):
            self.left_out["with a Hubbard U"] += 1
            return
        if auid and auid in self._seen:
            self.left_out["listed twice"] += 1
            return
        self._seen.add(auid)
        self._take(row, auid, energy * self.form.unit, place)

    def _take(self, row: dict[str, Any], auid: str, energy: float, place: str) -> None:
        composition = composition_of(row, place)
        pinned = len(composition) == 1 and not auid
        if not is_formation_energy(energy):
            raise HullFileError(f"{place}: {energy:g} is no formation energy in eV/atom.")
        prototype = str(row.get("prototype") or "")
        source = f"AFLOW prototype {prototype}"[:500] if prototype not in ("", "0") else ""
        phase = SourcePhase(
            auid[:200] or next(iter(composition)),
            composition,
            0.0 if pinned else energy,
            group_of(row),
            "reference, at 0" if pinned else source,
            _flag(row),
            _cell(row),
        )
        distance = number_of(row.get(self.form.distance), place, self.form.distance) if self.form.distance else None
        if distance is not None and abs(distance) < _NONE:
            self.distances[phase.label] = distance * self.form.unit
        self.phases.append((phase, "" if pinned else dft_type(row)))  # a reference is of whatever type the rest is


def _flag(row: dict[str, Any]) -> str:
    """Why AFLOW keeps the entry off its hull, in words; "" where it does not."""
    if not row.get("flagged_entry"):
        return ""
    flags = row.get("flags")
    said = [_WORDS.get(k, k.replace("_", " ")) for k, v in flags.items() if v] if isinstance(flags, dict) else []
    return ", ".join(said)[:200] or "flagged without a reason"


def _cell(row: dict[str, Any]) -> bytes | None:
    """The structure of an AFLUX entry that came with positions."""
    if row.get("geometry") is None or row.get("positions_fractional") is None:
        return None
    try:
        return from_row(row, "", METHOD).cell
    except Problem:
        return None


def _date(says: dict[str, Any]) -> str:
    return next((str(v)[:40] for k, v in says.items() if "date" in k.lower() and isinstance(v, (str, int))), "")


def _sayings(says: dict[str, Any]) -> dict[str, Any]:
    """Plain values that a file says of itself, bounded."""
    plain = {str(k)[:60]: v for k, v in says.items() if isinstance(v, (str, int, float, bool))}
    kept = {k: v[:200] if isinstance(v, str) else v for k, v in plain.items()}
    return dict([(k, v) for k, v in kept.items() if not isinstance(v, float) or math.isfinite(v)][:_SAID])
