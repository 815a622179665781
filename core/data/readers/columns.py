"""AFLOW's columns in a CSV: lists as JSON, as AFLOW's "1,2;3,4", or as Python prints them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_LISTS = ("species", "composition", "geometry", "positions_fractional", "energies")


def row_values(row: Mapping[str, str | None]) -> dict[str, Any]:
    """One CSV row as the JSON object it would be."""
    values: dict[str, Any] = {k: v for k, v in row.items() if isinstance(k, str) and v not in (None, "")}
    for key in _LISTS:
        if key in values:
            values[key] = as_list(values[key])
    group = values.get("spacegroup_relax")
    if isinstance(group, str) and group.strip().isdigit():
        values["spacegroup_relax"] = int(group)
    return values


def as_list(text: str) -> Any:
    """ "[1, 2]", "['B', 'Ta']" or "1,2;3,4" -> lists; what is neither stays text, for the parser to refuse."""
    text = text.strip()
    if text[:1] in "[({":
        try:
            return json.loads(text.replace("'", '"').replace("(", "[").replace(")", "]"))
        except (ValueError, RecursionError):
            return text
    if ";" in text:
        return [as_list(part) for part in text.strip(";").split(";")]
    return [_value(part.strip()) for part in text.split(",")]


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
