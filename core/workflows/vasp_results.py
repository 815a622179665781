"""Results of VASP back to their candidates: matched, kept as relaxations, counted from elemental references."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.crystals import from_structures, pack_cells
from core.data.symmetry import detect_groups
from core.export.vasp_run import CONVERGED, ELECTRONS, STOPPED, RunError, VaspRun, kind_of_run, read_run
from core.export.vasp_sources import Found, is_references, unpacked
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.made import keep_made, made_before
from core.workflows.relax import SYMPREC
from core.workflows.store import folder, store
from core.workflows.uploads import forget, forgotten_if_refused
from core.workflows.vasp_matching import Match, is_reference, match_run
from core.workflows.vasp_references import (
    formation_per_atom,
    missing_references,
    read_references,
    remember,
    remembered,
)
from db import candidates as rows
from db.tables import Candidate, Relaxation

MAX_READ = 5000  # results in one go


@dataclass(frozen=True)
class ReadParams:
    """files: paths of vasprun.xml, OUTCAR, zips of folders, elemental references (JSON, CSV); packed by gzip or not.

    uploads: their names where the paths are copies made for this, then deleted
    """

    files: tuple[str, ...]
    uploads: tuple[str, ...] = ()


@dataclass
class _Reading:
    """What has been read so far."""

    runs: list[tuple[str, VaspRun, Candidate, str]] = field(default_factory=list)  # name, run, candidate, how and note
    elements: list[tuple[str, VaspRun]] = field(default_factory=list)
    references: list[tuple[str, str, dict[str, float]]] = field(default_factory=list)  # name, method, eV/atom
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_vasp(params: ReadParams, context: Context) -> dict[str, Any]:
    """Match results with their candidates and keep them as relaxations with the method VASP.

    What cannot be used is named with its reason; the rest is kept. A second result of a candidate by the same method
    replaces the first unless it is worse: not converged where the first was.

    Returns stored, results (file, candidate, formula, method, status, energy and formation in eV/atom, note), problems
    (file, sentence), references ({method: {element: eV/atom}}), recounted, notes. Raises UserError.
    """
    copies = params.files if params.uploads else ()
    if (made := made_before(context.job_id)) is None:
        with forgotten_if_refused(copies):
            made = _store(_read(params, context), context)
    forget(copies)
    return made


def _read(params: ReadParams, context: Context) -> _Reading:
    """Raises UserError, Cancelled."""
    names = _told_apart(params.uploads or tuple(Path(f).name for f in params.files))
    paths = [Path(f) for f in params.files]
    missing = [n for n, p in zip(names, paths, strict=True) if not p.is_file()]
    if missing or not paths:
        raise UserError(f"There is no file {missing[0]}." if missing else "Choose vasprun.xml files, OUTCARs or a zip.")
    reading = _Reading()
    with tempfile.TemporaryDirectory(dir=folder("uploads")) as place:
        for number, (path, name) in enumerate(zip(paths, names, strict=True)):
            for found in unpacked(path, name, Path(place)):
                if context.cancelled():
                    raise Cancelled
                context.progress(number / len(paths), f"Reading {found.name[-80:]}")
                _read_one(found, reading)
    return reading


def _told_apart(names: Sequence[str]) -> list[str]:
    """Every upload may be called vasprun.xml: "(2 of 3) vasprun.xml"."""
    total, seen = Counter(names), Counter[str]()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if total[name] == 1 else f"({seen[name]} of {total[name]}) {name}")
    return told


def _read_one(found: Found, reading: _Reading) -> None:
    """Sort one file into what was read."""
    if len(reading.runs) + len(reading.elements) >= MAX_READ:
        reading.problems.append((found.name, f"More than {MAX_READ:,} results at once: bring the rest another time."))
        return
    if found.path is None:
        reading.problems.append((found.name, _sentence(found.problem)))
        return
    if is_references(found.name) and not kind_of_run(found.path):
        try:
            reading.references.append((found.name, *read_references(found.path, found.name.rsplit(": ", 1)[-1])))
        except UserError as error:
            reading.problems.append((found.name, str(error)))
        return
    try:
        run = read_run(found.path)
    except RunError as error:
        reading.problems.append((found.name, _sentence(str(error))))
        return
    if is_reference(run, found.name):
        if run.status == CONVERGED:
            reading.elements.append((found.name, run))
        else:
            reading.problems.append((found.name, f"It is an element, but no reference: {_words(run)}."))
        return
    match = match_run(run, found.name)
    if match.candidate is None:
        reading.problems.append((found.name, _sentence("; ".join(filter(None, (match.note, match.problem))))))
    else:
        reading.runs.append((found.name, run, match.candidate, _how(match)))


def _store(reading: _Reading, context: Context) -> dict[str, Any]:
    methods = sorted({run.method for _, run, _, _ in reading.runs})
    references, recounted = _learn_references(reading, methods)
    best: dict[tuple[int, str], int] = {}
    for number, (_, run, candidate, _) in enumerate(reading.runs):
        key = (candidate.id, run.method)
        if key not in best or _rank(run) > _rank(reading.runs[best[key]][1]):
            best[key] = number
    results = []
    with store().writing() as session:
        for number, (name, run, candidate, note) in enumerate(reading.runs):
            kept = best[candidate.id, run.method]
            if kept != number:
                note = f"not kept: {reading.runs[kept][0]} is of the same candidate and better, or came first"
            else:
                before = rows.relaxations(session, [candidate.id], run.method)
                if any(_is_better(old, run) for old in before):
                    kept, note = -1, f"not kept: the result that is here is {before[0].status}"
                else:
                    values = _values(run, candidate, references.get(run.method, {}))
                    rows.put_relaxation(session, candidate_id=candidate.id, job_id=context.job_id or None, **values)
            results.append(_report(name, run, candidate, note, references, kept == number))
        said = {
            "stored": sum(r["stored"] for r in results),
            "results": results,
            "problems": reading.problems,
            "references": {m: references[m] for m in sorted(references)},
            "recounted": recounted,
            "notes": [*reading.notes, *_unlike(reading)],
        }
        keep_made(session, context.job_id, said)
    return said


def _learn_references(reading: _Reading, methods: Sequence[str]) -> tuple[dict[str, dict[str, float]], int]:
    """References of the methods at hand: what is known, what elements were computed, what a file says (it wins)."""
    recounted = 0
    touched = set(methods)
    lowest: dict[tuple[str, str], tuple[float, str]] = {}
    for name, run in reading.elements:
        key = (run.method, str(run.final.composition.elements[0]))
        lowest[key] = min(lowest.get(key, (run.energy, name)), (run.energy, name))
    for (method, symbol), (energy, name) in sorted(lowest.items()):
        recounted += remember(method, {symbol: energy}, name)
        touched.add(method)
    for name, named, energies in reading.references:
        method = named or _only_method(methods)
        if not method:
            reading.problems.append(
                (name, 'It does not say of which method it is: write {"method": "VASP", "energies": {…}}.')
            )
            continue
        recounted += remember(method, energies, name)
        touched.add(method)
    return {method: remembered(method) for method in touched}, recounted


def _only_method(methods: Sequence[str]) -> str:
    """The one method that references without a name are of: that of the results at hand, else of those in the store."""
    if not methods:
        with store().session() as session:
            methods = [m for m in rows.relaxation_methods(session) if m.startswith("VASP")] or ["VASP"]
    return methods[0] if len(methods) == 1 else ""


def _values(run: VaspRun, candidate: Candidate, references: dict[str, float]) -> dict[str, Any]:
    """The row of a result; without energies and cell where the electrons did not converge."""
    empty = dict.fromkeys(("total_before", "total_after", "formation_before", "formation_after", "group_found", "cell"))
    values: dict[str, Any] = {
        "method": run.method,
        "status": run.status,
        "steps": run.steps,
        "max_force": None,
        **empty,
    }
    if run.status == ELECTRONS:
        return values
    crystals = from_structures([run.final.copy().remove_oxidation_states()])
    return values | {
        "total_before": run.first_energy,
        "total_after": run.energy,
        "formation_before": formation_per_atom(candidate.formula, run.first_energy, references),
        "formation_after": formation_per_atom(candidate.formula, run.energy, references),
        "max_force": run.max_force,
        "group_found": int(detect_groups(crystals, SYMPREC)[0]) or None,
        "cell": pack_cells(crystals)[0],
    }


def _report(
    name: str, run: VaspRun, candidate: Candidate, note: str, references: dict[str, dict[str, float]], stored: bool
) -> dict[str, Any]:
    known = references.get(run.method, {})
    usable = run.status != ELECTRONS
    missing = missing_references(candidate.formula, known) if usable else []
    words = [note, _words(run) if run.status != CONVERGED or run.static else ""]
    if missing:
        words.append(f"formation energy missing: no reference for {', '.join(missing)} by {run.method}")
    return {
        "file": name,
        "candidate": f"{candidate.job_id}-{candidate.index}",
        "candidate_id": candidate.id,
        "formula": candidate.formula,
        "method": run.method,
        "status": run.status,
        "stored": stored,
        "energy": run.energy if usable else None,
        "formation": formation_per_atom(candidate.formula, run.energy, known) if usable else None,
        "note": "; ".join(filter(None, words)),
    }


def _unlike(reading: _Reading) -> list[str]:
    """Elements that were computed with other settings than the candidates that are counted from them."""
    notes: dict[str, None] = {}
    for _, element, symbol in ((n, e, str(e.final.composition.elements[0])) for n, e in reading.elements):
        for _, run, _, _ in reading.runs:
            if run.method != element.method or symbol not in {str(e) for e in run.final.composition.elements}:
                continue
            if run.encut and element.encut and abs(run.encut - element.encut) > 1:
                notes[
                    f"{symbol} was computed with ENCUT {element.encut:g} eV, candidates with {run.encut:g} eV: compute "
                    "both with the same settings."
                ] = None
            if element.potcars and element.potcars[0] not in run.potcars:
                used = " or ".join(t for t in run.potcars if t.split()[1:2] and t.split()[1].split("_")[0] == symbol)
                notes[
                    f"{symbol} was computed with the pseudopotential {element.potcars[0]}, candidates with {used}: "
                    "compute both with the same."
                ] = None
    return list(notes)


def _rank(run: VaspRun) -> tuple[bool, bool, bool, bool]:
    """Better results of one candidate are larger: converged, of a static run after the relaxation, of a vasprun.xml."""
    return run.status == CONVERGED, run.status != ELECTRONS, run.static, run.kind == "vasprun.xml"


def _is_better(old: Relaxation, run: VaspRun) -> bool:
    order = {CONVERGED: 2, STOPPED: 1}
    return order.get(old.status, 0) > order.get(run.status, 0)


def _words(run: VaspRun) -> str:
    if run.status == ELECTRONS:
        return "the electrons of its last step did not converge: raise NELM or change ALGO, and run it again"
    if run.status == STOPPED:
        return f"its ions had not converged after {run.steps} steps: copy CONTCAR to POSCAR and run it again"
    return "a static run" if run.static else "converged"


def _how(match: Match) -> str:
    how = "" if match.how == "by its SYSTEM" else f"found {match.how}"
    return "; ".join(filter(None, (match.note, how)))


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."
