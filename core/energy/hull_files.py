"""Hulls from files: the project's own JSON and CSV, and what AFLOW has made over the years.

AFLOW's NHULL list and its older CHULL object count in meV/atom, its web hulls, AFLUX replies and the project's own
files in eV/atom: which it is follows from the keys, never from the size of the numbers.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.aflow import DFT_TYPE, METHOD
from core.data.aflow.entries import as_row, dft_type, has_u
from core.data.formulas import FormulaError, parse_formula
from core.data.readers.records import NAMES, Problem, from_row
from core.energy.hull_source import HullSource, SourcePhase, is_formation_energy

MAX_UNPACKED = 150_000_000  # bytes
MAX_PHASES = 200_000
_NONE = 1e11  # AFLOW writes 1e12 where there is no energy
_SAID = 40  # of what a file says of itself, so many keys are kept
_WORDS = {
    "duplicate_entry": "duplicate entry",
    "extraneous_energy_entry": "extraneous energy",
    "incompatible_entry": "incompatible calculation",
    "outside_IQR": "outlier (interquartile range)",
    "plus_U_used": "Hubbard U",
}


class HullFileError(ValueError):
    """A file that is no hull, or a row of it that cannot be; the message is a sentence."""


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


def read_hull(data: bytes, name: str) -> HullSource:
    """The phases of a file, by what it holds. `name` is the file's: it names the hull and is cited, nothing else.

    Raises HullFileError, with the row named where it is a row.
    """
    text = _unpack(data, name)
    stem = re.sub(r"(\.(json|csv|gz))+$", "", name, flags=re.IGNORECASE) or "hull"
    if re.search(r"\.csv(\.gz)?$", name, re.IGNORECASE):
        return _from_csv(text, name, stem)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HullFileError(f"{name} is no JSON that can be read: {error}.") from error
    if isinstance(value, dict) and isinstance(value.get("entries"), list):
        return _own(value, name, stem)
    return _from_aflow(value, name, stem)


def _unpack(data: bytes, name: str) -> str:
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(MAX_UNPACKED + 1)
        if len(data) > MAX_UNPACKED:
            raise HullFileError(f"{name} holds more than {MAX_UNPACKED // 10**6} MB.")
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise HullFileError(f"{name} is damaged or cut off: {error}. Copy it again.") from error
    except UnicodeDecodeError as error:
        raise HullFileError(f"{name} is no text: a hull is JSON or CSV, or one of them packed with gzip.") from error


# --- AFLOW ---------------------------------------------------------------------------------------------------------


def _from_aflow(value: Any, name: str, stem: str) -> HullSource:
    found = _recognise(value)
    if found is None:
        raise HullFileError(
            f"{name} is none of the hulls known here: AFLOW's NHULL list, its CHULL object (points_data), its web hull "
            "(species, points), an AFLUX reply, or this app's JSON (chemical_system, method, entries)."
        )
    form, rows, says = found
    _check_count(rows, name)
    species = [str(s) for s in says.get("species", [])] if isinstance(says.get("species"), list) else []
    reading = _Aflow(form, name)
    for number, row in enumerate(rows, 1):
        reading.add(number, row)
    kinds = reading.kinds
    kind = kinds.most_common(1)[0][0] if kinds else DFT_TYPE
    phases = [p for p, its in reading.phases if its == kind]
    left_out, warnings = dict(reading.left_out), []
    if others := {k: n for k, n in kinds.items() if k != kind}:
        left_out["of another DFT type"] = sum(others.values())
        named = ", ".join(f"{n:,} of {k}" for k, n in others.items())
        warnings.append(f"The file mixes DFT types: only {kind} is on this hull, {named} are not.")
    if not phases:
        raise HullFileError(f"{name} holds no phase with a formation energy.")
    method = METHOD if kind == DFT_TYPE else f"{METHOD}-{kind}"
    notes = {"format": form.name, "dft_type": kind, "says": _sayings(says)}
    if date := _date(says):
        notes["date"] = date
    system = _system((e for p in phases for e in p.composition), species, name)
    return HullSource(
        system, method, stem, name, phases, len(rows), left_out, reading.distances, notes, warnings
    )  # fmt: skip


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
        return Counter(kind for _, kind in self.phases)

    def add(self, number: int, row: Any) -> None:
        place = f"{self.name}, row {number}"
        if not isinstance(row, dict):
            raise HullFileError(f"{place}: it is no object with keys.")
        if self.form is _AFLUX:
            row = as_row(row)
        auid = str(row.get("auid") or "")
        place += f" ({auid})" if auid else ""
        energy = _number(row.get(self.form.energy), place, self.form.energy)
        if energy is None or abs(energy) >= _NONE:
            self.left_out["without an energy"] += 1
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
        composition = _composition(row, place)
        pinned = len(composition) == 1 and not auid
        if not is_formation_energy(energy):
            raise HullFileError(f"{place}: {energy:g} is no formation energy in eV/atom.")
        prototype = str(row.get("prototype") or "")
        source = f"AFLOW prototype {prototype}"[:500] if prototype not in ("", "0") else ""
        phase = SourcePhase(
            auid[:200] or next(iter(composition)),
            composition,
            0.0 if pinned else energy,
            _group(row),
            "reference, at 0" if pinned else source,
            _flag(row),
            _cell(row),
        )
        distance = _number(row.get(self.form.distance), place, self.form.distance) if self.form.distance else None
        if distance is not None and abs(distance) < _NONE:
            self.distances[phase.label] = distance * self.form.unit
        self.phases.append((phase, dft_type(row)))


def _composition(row: dict[str, Any], place: str) -> dict[str, float]:
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


def _flag(row: dict[str, Any]) -> str:
    """Why AFLOW keeps the entry off its hull, in words; "" where it does not."""
    if not row.get("flagged_entry"):
        return ""
    flags = row.get("flags")
    said = [_WORDS.get(k, k.replace("_", " ")) for k, v in flags.items() if v] if isinstance(flags, dict) else []
    return ", ".join(said)[:200] or "flagged without a reason"


def _group(row: dict[str, Any]) -> int:
    """The space group: a number, or CHULL's symbol with its number ("Pm-3m #221")."""
    value = row.get("spacegroup_relax") or row.get("space_group_relax") or 0
    found = re.search(r"(\d{1,3})(\.0*)?\D*$", str(value))
    number = int(found.group(1)) if found else 0
    return number if 1 <= number <= 230 else 0


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


# --- the project's own -----------------------------------------------------------------------------------------------


def _own(values: dict[str, Any], name: str, stem: str) -> HullSource:
    """The project's JSON: chemical_system, method, entries with AFLOW's keys or pretty_formula, eV/atom."""
    missing = [k for k in ("chemical_system", "method") if not values.get(k)]
    if missing:
        raise HullFileError(f"{name}: it does not say its {' and its '.join(missing)}.")
    rows, method = values["entries"], str(values["method"])[:64]
    _check_count(rows, name)
    phases = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise HullFileError(f"{name}, entry {number}: it is no object with keys.")
        phases.append(_own_phase(row, method, f"{name}, entry {number}"))
    system = _system((e for p in phases for e in p.composition), str(values["chemical_system"]).split("-"), name)
    notes = {k: str(values[k])[:4000] for k in ("about", "references", "date") if values.get(k)}
    label = str(values.get("name") or stem)
    return HullSource(
        system,
        method,
        label,
        str(values.get("source") or name)[:500],
        phases,
        len(rows),
        notes={"format": "own", **notes},
    )


def _own_phase(row: dict[str, Any], method: str, place: str) -> SourcePhase:
    label = str(row.get("auid") or "")[:200]
    place += f" ({label})" if label else ""
    energy = _number(row.get("enthalpy_formation_atom"), place, "enthalpy_formation_atom")
    if energy is None or not is_formation_energy(energy):
        raise HullFileError(f"{place}: {energy} is no formation energy in eV/atom.")
    source, flag = str(row.get("source") or "")[:500], str(row.get("flag") or "")[:200]
    if "geometry" not in row:
        composition = _composition({"compound": row.get("pretty_formula") or row.get("compound")}, place)
        made = SourcePhase(label, composition, energy, _group(row), source, flag)
        return made if label else SourcePhase(made.formula, composition, energy, _group(row), source, flag)
    try:
        record = from_row(row, "", method)
    except Problem as problem:
        raise HullFileError(f"{place}: {problem.detail}.") from problem
    composition = dict(zip(row["species"], map(float, row["composition"]), strict=True))
    return SourcePhase(record.label, composition, energy, record.space_group, source, flag, record.cell)


def _from_csv(text: str, name: str, stem: str) -> HullSource:
    """Columns formula and formation_energy (eV/atom); label, method, name, source and space_group where they are."""
    try:
        reader = csv.DictReader(io.StringIO(text))
        columns = reader.fieldnames or []
        listed = list(reader)
    except csv.Error as error:
        raise HullFileError(f"{name} is no CSV that can be read: {error}.") from error
    if not {"formula", "formation_energy"} <= set(columns):
        raise HullFileError(f"{name}: a hull's CSV needs the columns formula and formation_energy (eV/atom).")
    if not listed:
        raise HullFileError(f"{name} holds no phases.")
    _check_count(listed, name)
    phases = [_csv_phase(row, f"{name}, line {number}", number) for number, row in enumerate(listed, 2)]
    one = {key: _only(listed, key, name) for key in ("method", "name", "source")}
    system = _system((e for p in phases for e in p.composition), [], name)
    label, source = one["name"] or stem, one["source"] or name
    return HullSource(
        system, (one["method"] or "unknown")[:64], label, source[:500], phases, len(listed), notes={"format": "CSV"}
    )


def _csv_phase(row: dict[str, Any], place: str, number: int) -> SourcePhase:
    try:
        composition = {s: float(n) for s, n in parse_formula(row["formula"] or "").items()}
        energy = float(row["formation_energy"])
    except (FormulaError, ValueError, TypeError) as error:
        raise HullFileError(f"{place}: {error}.".replace("..", ".")) from error
    if not is_formation_energy(energy):
        raise HullFileError(f"{place}: {energy:g} is no formation energy in eV/atom.")
    label = row.get("label") or f"{row['formula']} (line {number})"
    group = _group({"spacegroup_relax": row.get("space_group")})
    return SourcePhase(str(label)[:200], composition, energy, group, flag=str(row.get("flag") or "")[:200])


def _only(listed: Sequence[dict[str, Any]], key: str, name: str) -> str:
    """The one value of a column. Methods that differ are refused: a hull holds one."""
    values = sorted({str(row.get(key) or "") for row in listed})
    if len(values) > 1 and key == "method":
        named = ", ".join(v or "unknown" for v in values)
        raise HullFileError(f"{name} mixes the methods {named}: a hull holds one.")
    return values[0] if len(values) == 1 else ""


# --- shared ----------------------------------------------------------------------------------------------------------


def _check_count(rows: Sequence[Any], name: str) -> None:
    if not rows:
        raise HullFileError(f"{name} holds no phases.")
    if len(rows) > MAX_PHASES:
        raise HullFileError(f"{name} holds {len(rows):,} phases; {MAX_PHASES:,} can be read.")


def _system(found: Iterable[str], said: Sequence[str], name: str) -> str:
    """The chemical system of the phases, and of what the file says beside them. Raises HullFileError."""
    elements = sorted(set(found) | {s.strip() for s in said if s.strip()})
    unknown = [e for e in elements if e not in NAMES]
    if unknown:
        raise HullFileError(f"{name}: {unknown[0][:20]!r} is no element.")
    strangers = sorted(set(found) - set(said)) if said else []
    if strangers:
        raise HullFileError(f"{name}: {', '.join(strangers)} is no element of its system {'-'.join(said)}.")
    return "-".join(elements)


def _number(value: Any, place: str, key: str) -> float | None:
    """A number, also from text; None where there is none. Raises HullFileError for what is neither."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise HullFileError(f"{place}: its {key} is no number.") from error
