"""Hulls from files: the project's own JSON and CSV, and AFLOW's formats. What a file is, it says itself."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from typing import Any

from core.data.formulas import FormulaError, parse_formula
from core.data.readers.records import Problem, from_row, with_species
from core.data.rows import finite
from core.energy.hull_aflow import from_aflow
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

MAX_UNPACKED = 150_000_000  # bytes


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
    return from_aflow(value, name, stem)


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


def _own(values: dict[str, Any], name: str, stem: str) -> HullSource:
    """The project's JSON: chemical_system, method, entries with AFLOW's keys or pretty_formula, eV/atom."""
    missing = [k for k in ("chemical_system", "method") if not values.get(k)]
    if missing:
        raise HullFileError(f"{name}: it does not say its {' and its '.join(missing)}.")
    rows, method = values["entries"], str(values["method"])[:64]
    check_count(rows, name)
    phases = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise HullFileError(f"{name}, entry {number}: it is no object with keys.")
        phases.append(_own_phase(row, method, f"{name}, entry {number}"))
    system = system_of((e for p in phases for e in p.composition), str(values["chemical_system"]).split("-"), name)
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
    energy = number_of(row.get("enthalpy_formation_atom"), place, "enthalpy_formation_atom")
    if energy is None or not is_formation_energy(energy):
        raise HullFileError(f"{place}: {energy} is no formation energy in eV/atom.")
    source, flag = str(row.get("source") or "")[:500], str(row.get("flag") or "")[:200]
    if "geometry" not in row:
        composition = composition_of({"compound": row.get("pretty_formula") or row.get("compound")}, place)
        made = SourcePhase(label, composition, energy, group_of(row), source, flag)
        return made if label else SourcePhase(made.formula, composition, energy, group_of(row), source, flag)
    try:
        row = with_species(row)
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
    check_count(listed, name)
    phases = [_csv_phase(row, f"{name}, line {number}", number) for number, row in enumerate(listed, 2)]
    one = {key: _only(listed, key, name) for key in ("method", "name", "source")}
    system = system_of((e for p in phases for e in p.composition), [], name)
    label, source = one["name"] or stem, one["source"] or name
    return HullSource(
        system, (one["method"] or "unknown")[:64], label, source[:500], phases, len(listed), notes={"format": "CSV"}
    )


def _csv_phase(row: dict[str, Any], place: str, number: int) -> SourcePhase:
    try:
        composition = {s: float(n) for s, n in parse_formula(row["formula"] or "").items()}
        energy = finite(row["formation_energy"])
    except (FormulaError, ValueError, TypeError) as error:
        raise HullFileError(f"{place}: {error}.".replace("..", ".")) from error
    if energy is None or not is_formation_energy(energy):
        written = str(row["formation_energy"])[:40]
        raise HullFileError(f"{place}: {written!r} is no formation energy in eV/atom.")
    label = row.get("label") or f"{row['formula']} (line {number})"
    group = group_of({"spacegroup_relax": row.get("space_group")})
    return SourcePhase(str(label)[:200], composition, energy, group, flag=str(row.get("flag") or "")[:200])


def _only(listed: Sequence[dict[str, Any]], key: str, name: str) -> str:
    """The one value of a column. Methods that differ are refused: a hull holds one."""
    values = sorted({str(row.get(key) or "") for row in listed})
    if len(values) > 1 and key == "method":
        named = ", ".join(v or "unknown" for v in values)
        raise HullFileError(f"{name} mixes the methods {named}: a hull holds one.")
    return values[0] if len(values) == 1 else ""
