"""Candidates to VASP: one folder of input each, as a zip or on disk. `vasp_results` takes the results back."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from core.crystals import to_structures, unpack_cells
from core.energy.elemental_forms import form_of
from core.energy.formation import load_references
from core.energy.load import choices
from core.export.vasp import SETS, VaspItem, find_tag, vasp_files, vasp_folder, vasp_zip
from core.workflows.audit import record_alone
from core.workflows.candidate_owners import words_of
from core.workflows.context import UserError
from core.workflows.store import store
from core.workflows.vasp_matching import candidate_tag
from db import candidates as rows
from db.tables import Candidate, Relaxation

MAX_WRITTEN = 2000  # candidates in one hand-off
_PACKAGES = ("pymatgen", "spglib", "numpy")


@dataclass(frozen=True)
class WriteParams:
    """settings: "paper" or "mp"; relaxed: cells as relaxed, by `method` or else the latest, where they are known.

    potcars: write the real POTCAR where pymatgen is set up for it; elements: add a folder for each element, in the
    lowest form that a potential knows, so that its result is the reference of formation energies
    """

    settings: str = "paper"
    relaxed: bool = True
    method: str = ""
    potcars: bool = True
    elements: bool = False


def candidate_ids(names: Sequence[str]) -> list[int]:
    """Ids of "12-3" and, for "12", of a run's valid or relaxed candidates. Raises UserError."""
    found: dict[int, None] = {}
    for name in names:
        run, dash, index = name.partition("-")
        if not (run.isascii() and run.isdecimal() and (not dash or index.isdecimal()) and len(name) < 20):
            raise UserError(f"{name!r} is no candidate: write 12-3, or 12 for all of run 12 that are valid or relaxed.")
        with store().session() as session:
            if dash:
                one = rows.find_candidate(session, int(run), int(index))
                listed = [one] if one else []
            else:
                listed = rows.page_candidates(
                    session, rows.CandidateFilter(job_id=int(run), usable=True), MAX_WRITTEN + 1
                )
        if not listed:
            raise UserError(f"There is no candidate {name}." if dash else f"Run {run} has no valid candidate.")
        found |= dict.fromkeys(c.id for c in listed)
    return list(found)


def write_vasp(chosen: Sequence[int], params: WriteParams) -> bytes:
    """A zip of one input folder per candidate, with README.txt and manifest.json. Raises UserError."""
    packed = vasp_zip(_files(chosen, params))
    record_alone("download", "bundle", f"{len(chosen):,} candidates for VASP", words_of(chosen))
    return packed


def write_vasp_to(chosen: Sequence[int], params: WriteParams, out: Path) -> int:
    """The same into a folder, or a zip where `out` ends in .zip; returns how many candidates. Raises UserError."""
    files = list(_files(chosen, params))
    try:
        if out.suffix == ".zip":
            part = out.with_name(f".{out.name}.part")
            part.write_bytes(vasp_zip(files))
            part.replace(out)
        else:
            vasp_folder(files, out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
    return sum(name.endswith("/POSCAR") and find_tag(name) is not None for name, _ in files)


def _files(chosen: Sequence[int], params: WriteParams) -> Iterable[tuple[str, str]]:
    if params.settings not in SETS:
        raise UserError(f"There are no settings {params.settings!r}: choose {' or '.join(SETS)}.")
    if len(chosen) > MAX_WRITTEN:
        raise UserError(f"{len(chosen):,} candidates are too many for one hand-off: at most {MAX_WRITTEN:,}.")
    with store().session() as session:
        found = rows.get_candidates(session, chosen)
        relaxed = rows.relaxations(session, chosen) if params.relaxed else []
    if not found:
        raise UserError("No candidate was chosen.")
    items, left_out = [], {}
    for candidate in found:
        item = _item(candidate, [r for r in relaxed if r.candidate_id == candidate.id], params.method)
        volume = abs(item.structure.lattice.volume)
        if 0.5 < volume / len(item.structure) < 2000:  # false for NaN
            items.append(item)
        else:
            left_out[f"{candidate.job_id}-{candidate.index}"] = "its cell is no crystal's"
    if not items:
        raise UserError("None of these candidates has a cell that VASP could take.")
    references, unknown = _elements(items) if params.elements else ([], [])
    manifest = {
        "made_by": f"Subhull {_version('subhull') or '0.1.0'}",
        "cells": "relaxed" if params.relaxed else "as generated",
        "left_out": left_out,
        "elements_without_a_form": unknown,
        "versions": {p: _version(p) for p in _PACKAGES} | {"python": platform.python_version()},
    }
    return vasp_files([*items, *references], manifest, params.settings, params.potcars)


def _item(candidate: Candidate, relaxed: Sequence[Relaxation], method: str) -> VaspItem:
    """With its cell by that method, else by the latest that gave one, else as generated."""
    good = [r for r in relaxed if r.cell is not None]
    chosen = max(good, key=lambda r: (r.method == method, r.created_at), default=None)
    cell = chosen.cell if chosen is not None and chosen.cell is not None else candidate.cell
    about = {
        "candidate": f"{candidate.job_id}-{candidate.index}",
        "formula": candidate.formula,
        "model": candidate.model,
        "cell": f"relaxed with {chosen.method}" if chosen else "as generated",
    }
    return VaspItem(candidate_tag(candidate), to_structures(unpack_cells([cell]))[0], about)


def _elements(items: Sequence[VaspItem]) -> tuple[list[VaspItem], list[str]]:
    """Each element of the crystals in its lowest form by M3GNet, else by CHGNet; and the elements without one."""
    forms: dict[str, tuple[str, str]] = {}
    for choice in reversed(choices(None)):
        with suppress(ValueError):
            known = load_references(choice.method).forms
            forms |= {symbol: (form, choice.method) for symbol, form in known.items()}
    symbols = sorted({str(e) for item in items for e in item.structure.composition.elements})
    found = []
    for symbol in symbols:
        if symbol in forms:
            form, method = forms[symbol]
            about = {"element": symbol, "cell": f"{form}, the element's lowest form by {method}"}
            found.append(VaspItem(f"subhull-element-{symbol}", form_of(symbol, form), about))
    return found, [s for s in symbols if s not in forms]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except Exception:  # an optional package that is not here has no version
        return None
