"""A hull from AFLOW: every entry of a chemical system and its sub-systems, asked of its search API; and structures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.data.aflow import CITATION, DFT_TYPE, METHOD, TERMS
from core.data.aflow.client import AfluxError
from core.data.aflow.entries import as_row
from core.data.aflow.query import Query, check_summons, summons
from core.data.readers.records import Problem, from_row
from core.energy.hull_aflow import read_entries
from core.energy.hull_source import HullFileError, HullSource
from core.workflows.aflow import AflowParams, client_for, fetch
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import check_name
from core.workflows.hulls import as_system
from core.workflows.hulls_build import hull_result
from core.workflows.hulls_store import check_new_hull, put_hull
from core.workflows.made import made_before

_AUIDS = 20  # asked for at once


@dataclass(frozen=True)
class AflowHullParams:
    """system: "B-Ta-W"; name: of the hull, "" for "AFLOW"; dft_type: the one on the hull; the rest as for datasets."""

    system: str
    name: str = ""
    dft_type: str = DFT_TYPE
    page_size: int = 1000
    pause_s: float = 0.5


def hull_from_aflow(params: AflowHullParams, context: Context) -> dict[str, Any]:
    """Fetch all entries of the system and its sub-systems (a cut run goes on at its page) and make a hull of them.

    Entries with a Hubbard U or of another DFT type are counted, not used. Returns what every job that makes a hull
    returns, and `matching`: how many entries AFLOW counted. Raises UserError.
    """
    if (made := made_before(context.job_id)) is not None:
        return hull_result(made["hull_id"]) | {"matching": made["matching"]}
    system, name = as_system(params.system), check_name(params.name or "AFLOW")
    check_new_hull(system, METHOD if params.dft_type == DFT_TYPE else f"{METHOD}-{params.dft_type}", name)
    question = summons_of(system, params.dft_type)
    path = context.folder / "entries.jsonl"
    asked = AflowParams(question, name, params.dft_type, params.page_size, params.pause_s)
    state = fetch(question, asked, path, context)
    if not path.stat().st_size:
        raise UserError(f"AFLOW has no entry of {system} by {params.dft_type}: check the elements.")
    try:
        source = read_entries(list(_lines(path)), "AFLOW's reply")
    except HullFileError as error:
        raise UserError(str(error)) from error
    more = {"matching": state.total}
    hull_id = put_hull(_about(source, system, name, question, state.total), context.job_id, more)
    path.unlink()
    return hull_result(hull_id) | more


def summons_of(system: str, dft_type: str = DFT_TYPE) -> str:
    """What AFLUX is asked for a hull: nothing but these elements, in any number. Raises UserError."""
    try:
        return check_summons(summons(Query(tuple(system.split("-")), "only", dft_type=dft_type)))
    except ValueError as error:
        raise UserError(str(error)) from error


def structures_from_aflow(auids: Sequence[str], context: Context) -> dict[str, bytes]:
    """{auid: packed cell} of the entries that AFLOW has with positions. Raises UserError where it cannot be reached."""
    client = client_for(AflowParams("", ""), retries=1, timeout_s=20)
    found: dict[str, bytes] = {}
    for start in range(0, len(auids), _AUIDS):
        part = auids[start : start + _AUIDS]
        context.progress(None, f"Asking AFLOW for {len(auids):,} structures")
        question = check_summons("auid(" + ":".join(f"'{a}'" for a in part) + ")")
        try:
            for page, _ in client.walk(question, set()):
                found |= _cells(page.entries, set(part))
                if context.cancelled():
                    raise Cancelled
        except AfluxError as error:
            raise UserError(str(error)) from error
    return found


def _cells(entries: Sequence[dict[str, Any]], wanted: set[str]) -> dict[str, bytes]:
    found = {}
    for entry in entries:
        if str(entry.get("auid")) in wanted:
            try:
                found[str(entry["auid"])] = from_row(as_row(entry), "", "").cell
            except Problem:
                continue  # without positions it stays missing, and is named as such
    return found


def _about(source: HullSource, system: str, name: str, question: str, total: int | None) -> HullSource:
    strangers = {e for p in source.phases for e in p.composition} - set(system.split("-"))
    if strangers:
        raise UserError(f"AFLOW answered with entries that hold {', '.join(sorted(strangers))}: try again later.")
    notes = {"summons": question, "terms": TERMS, "citation": CITATION, "matching": total}
    said = f"AFLOW: its entries of {system} and all sub-systems"
    return replace(source, chemical_system=system, name=name, source=said, notes={**source.notes, **notes})


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)
