"""Elemental energies that formation energies of VASP's results are counted from: one set per method in the store.

New values count for all results of their method, earlier ones too: no two of them stand on different references.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymatgen.core import Composition, Element

from core.export.vasp_run import MAX_ENERGY
from core.workflows.context import UserError
from core.workflows.store import folder, store
from db import candidates as rows

MAX_BYTES = 1_000_000
_EXAMPLE = 'write {"B": -6.7, "Ta": -11.8} in eV/atom as JSON, or a CSV with the columns element and energy'


def read_references(path: Path, name: str) -> tuple[str, dict[str, float]]:
    """(method or "", eV/atom by symbol) of a small JSON or CSV. Raises UserError.

    JSON: {"B": -6.7} or {"method": "VASP", "energies": {…}}; CSV: columns element (or symbol) and energy.
    """
    data = path.read_bytes()[: MAX_BYTES + 1]
    if len(data) > MAX_BYTES:
        raise UserError(f"{name} is too long for elemental references: {_EXAMPLE}.")
    try:
        text = data.decode("utf-8-sig")
        method, values = _from_csv(text) if name.lower().endswith(".csv") else _from_json(text)
        energies = {str(Element(str(symbol).strip())): _energy(value) for symbol, value in values.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, csv.Error) as error:
        raise UserError(f"{name} holds no elemental references: {_EXAMPLE}.") from error
    if not energies:
        raise UserError(f"{name} holds no elemental references: {_EXAMPLE}.")
    return method, energies


def remembered(method: str) -> dict[str, float]:
    """eV/atom by symbol, as far as they are known for this method."""
    path = _path(method)
    if not path.is_file():
        return {}
    return {str(k): float(v) for k, v in json.loads(path.read_text())["energies"].items()}


def remember(method: str, energies: Mapping[str, float], source: str) -> int:
    """Keep references and count all results of the method from them; returns how many of them changed."""
    known = remembered(method)
    merged = {**known, **energies}
    if merged != known:
        values = {"method": method, "energies": dict(sorted(merged.items())), "source": source[:500]}
        path = _path(method)
        part = path.with_name(f".{uuid4().hex}")
        part.write_text(json.dumps(values, indent=1) + "\n")
        part.replace(path)
    return _count_again(method, merged)


def formation_per_atom(formula: str, total: float | None, references: Mapping[str, float]) -> float | None:
    """Formation energy in eV/atom from a total in eV/atom; None where a reference is missing."""
    composition = Composition(formula)
    if total is None or missing_references(formula, references):
        return None
    shares = composition.fractional_composition.get_el_amt_dict()
    return total - sum(share * references[symbol] for symbol, share in shares.items())


def missing_references(formula: str, references: Mapping[str, float]) -> list[str]:
    """Elements of a formula without a reference."""
    return sorted({str(e) for e in Composition(formula).elements} - set(references))


def _count_again(method: str, references: Mapping[str, float]) -> int:
    changed = 0
    with store().writing() as session:
        for row, formula in rows.relaxations_by(session, method):
            if row.status.startswith("failed"):
                continue
            before = formation_per_atom(formula, row.total_before, references)
            after = formation_per_atom(formula, row.total_after, references)
            if after is not None and (row.formation_before, row.formation_after) != (before, after):
                row.formation_before, row.formation_after = before, after
                changed += 1
    return changed


def _path(method: str) -> Path:
    return folder("vasp") / f"{re.sub(r'[^A-Za-z0-9+.-]', '_', method)}.json"


def _from_json(text: str) -> tuple[str, Mapping[str, Any]]:
    values = json.loads(text)
    if "energies" in values:
        return str(values.get("method") or "")[:64], values["energies"]
    return str(values.pop("method", "") or "")[:64], values


def _from_csv(text: str) -> tuple[str, Mapping[str, Any]]:
    listed = list(csv.DictReader(io.StringIO(text)))
    lower = [{str(k).strip().lower(): v for k, v in row.items()} for row in listed]
    methods = {str(row["method"]) for row in lower if row.get("method")}
    if len(methods) > 1:
        raise ValueError("several methods")
    return "".join(methods)[:64], {row.get("element") or row["symbol"]: row["energy"] for row in lower}


def _energy(value: Any) -> float:
    number = math.nan if isinstance(value, bool) else float(value)
    if not abs(number) < MAX_ENERGY:
        raise ValueError(f"{value} is no energy in eV/atom")
    return number
