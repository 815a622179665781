"""AFLOW's entries as rows: AFLUX replies, aflowlib.json and the REST `key=value` text, with their oddities mended."""

from __future__ import annotations

import html
import re
from typing import Any

from core.data.aflow import DFT_TYPE, METHOD
from core.data.readers.columns import as_list

_LISTS = ("species", "composition", "geometry", "positions_fractional")
_NUMBERS = ("enthalpy_formation_atom", "energy_atom", "energy_cell", "natoms", "spacegroup_relax")


def is_entry(row: dict[str, Any]) -> bool:
    """Does a row come from AFLOW itself?"""
    return str(row.get("auid") or "").startswith("aflow:") and "energy_source" not in row


def dft_type(entry: dict[str, Any]) -> str:
    """The functional and potential family of an entry ("PAW_PBE"); from its address where it does not say.

    An entry of several ("PAW_PBE,HSE06") is of neither of them: "PAW_PBE+HSE06".
    """
    value = entry.get("dft_type")
    said = value if isinstance(value, list) else [value]
    kinds = [kind.strip() for v in said if isinstance(v, str) for kind in v.split(",") if kind.strip()]
    if kinds:
        return "+".join(dict.fromkeys(kinds))
    found = re.search(r":((?:PAW|US|GGA|LDA(?!U))[A-Z_]*(?::SCAN)?)", str(entry.get("aurl") or ""))
    return found.group(1) if found else DFT_TYPE


def has_u(entry: dict[str, Any]) -> bool:
    """Was a Hubbard U added? AFLOW keeps such entries off its hulls (`plus_U_used`): their energies do not compare."""
    kind = _number(entry.get("ldau_type"))
    given = bool(entry.get("ldau_TLUJ")) if kind in (None, "") else kind != 0
    return given or re.search(r":LDAU\d", str(entry.get("aurl") or "")) is not None


def as_row(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as `records.from_row` wants it: numbers from strings, lists from text, energies named by their method.

    What cannot be mended is left as it is, for `from_row` to refuse.
    """
    row = {k: v for k, v in entry.items() if v is not None}
    if isinstance(row.get("species"), str):
        row["species"] = row["species"].replace(":", ",")  # older entries have colons
    for key in _LISTS:
        if isinstance(row.get(key), str):
            row[key] = as_list(row[key])
    if _is_number(row.get("composition")):
        row["composition"] = [row["composition"]]  # one species
    if isinstance(row.get("species"), list):
        row["species"] = [str(s).split("_")[0].split(":")[0].strip() for s in row["species"]]
    for key in ("composition", "geometry"):
        if isinstance(row.get(key), list):
            row[key] = [_number(v) for v in row[key]]
    positions = row.get("positions_fractional")
    if isinstance(positions, list) and positions and not isinstance(positions[0], list):
        positions = [positions]  # one atom
    if isinstance(positions, list):
        row["positions_fractional"] = [[_number(v) for v in p] if isinstance(p, list) else p for p in positions]
    for key in _NUMBERS:
        if key in row:
            row[key] = _number(row[key])
    if isinstance(row.get("composition"), list):
        row["composition"] = [int(v) if isinstance(v, float) and v.is_integer() else v for v in row["composition"]]
    group = row.get("spacegroup_relax")
    if isinstance(group, float) and group.is_integer():
        row["spacegroup_relax"] = int(group)
    if "energy_atom" not in row and _is_number(row.get("energy_cell")) and isinstance(row.get("composition"), list):
        atoms = sum(v for v in row["composition"] if _is_number(v))
        if atoms:
            row["energy_atom"] = row["energy_cell"] / atoms
    kind = dft_type(entry)
    row["energy_source"] = (METHOD if kind == DFT_TYPE else f"{METHOD}-{kind}") + ("+U" if has_u(entry) else "")
    return row


def parse_rest_text(text: str) -> dict[str, Any]:
    """The REST API's `key=value` pairs: lines or fields between bars, as text or as the page it shows. {} if none."""
    if "<br" in text[:20_000].lower() or "<html" in text[:2_000].lower():
        text = re.sub(r"<br\s*/?>", "\n", text, flags=re.IGNORECASE)
        text = html.unescape(re.sub(r"<[^>]*>", "", text))
    entry: dict[str, Any] = {}
    for field in re.split(r"[\n|]", text):
        key, equals, value = field.strip().partition("=")
        if equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            entry.setdefault(key, value.strip())
    return entry if "geometry" in entry or "species" in entry else {}


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
