"""Which candidate a result of VASP belongs to: by its name, else by its crystal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pymatgen.core import Structure

from core.crystals import to_structures, unpack_cells
from core.data.formulas import reduced_formula
from core.evaluation.matching import rms_distance
from core.export.vasp import find_tag, tag_of
from core.export.vasp_run import VaspRun
from core.workflows.store import store
from db import candidates as rows
from db.tables import Candidate

MAX_COMPARED = 500  # candidates of one formula: at about 100 pairs a second, no more are compared with a result
_SAME = 2e-3  # normalised RMS of what is the same crystal but for the digits that are written


@dataclass(frozen=True)
class Match:
    """The candidate of a result and how it was found; without one, `problem` is the end of a sentence."""

    candidate: Candidate | None = None
    how: str = ""
    problem: str = ""
    note: str = ""


def candidate_tag(candidate: Candidate) -> str:
    """The name under which a candidate goes to VASP; it holds for this crystal in this store only."""
    return tag_of(candidate.job_id, candidate.index, fingerprint(candidate))


def fingerprint(candidate: Candidate) -> str:
    return hashlib.sha256(candidate.cell).hexdigest()[:8]


def match_run(run: VaspRun, name: str) -> Match:
    """The candidate by the tag in SYSTEM or POSCAR's comment, else in the folder's name, else by its crystal."""
    note = ""
    for text, how in ((run.system, "by its SYSTEM"), (name, "by its folder's name")):
        tag = find_tag(text)
        if tag is None:
            continue
        with store().session() as session:
            found = rows.find_candidate(session, tag[0], tag[1])
        if found is None or fingerprint(found) != tag[2]:
            note = f"it names candidate {tag[0]}-{tag[1]} of another store"
            continue
        formula = _formula(run)
        if formula != found.reduced_formula:
            named = f"candidate {found.job_id}-{found.index}, which is {found.reduced_formula}"
            return Match(problem=f"it names {named}, but holds {formula}: the folders were mixed up")
        return Match(found, how)
    if run.final.is_ordered and len(run.final.composition) == 1 and not note:
        return Match(problem="it is an element and names no candidate")
    found_by_crystal = _by_crystal(run)
    return Match(found_by_crystal.candidate, found_by_crystal.how, found_by_crystal.problem, note)


def is_reference(run: VaspRun, name: str) -> bool:
    """Is it an element that names no candidate?"""
    return len(run.final.composition) == 1 and find_tag(run.system) is None and find_tag(name) is None


def _formula(run: VaspRun) -> str:
    """Reduced, as the store has it."""
    return reduced_formula({str(e): round(n) for e, n in run.final.composition.items()})


def _by_crystal(run: VaspRun) -> Match:
    formula = _formula(run)
    wanted = rows.CandidateFilter(reduced_formula=formula)
    with store().session() as session:
        listed = rows.page_candidates(session, wanted, MAX_COMPARED + 1)
        relaxed = rows.relaxations(session, [c.id for c in listed])
    if not listed:
        return Match(problem=f"there is no candidate of {formula}")
    if len(listed) > MAX_COMPARED:
        return Match(
            problem=f"it names no candidate, and {formula} has more than {MAX_COMPARED} to compare with: keep SYSTEM"
        )
    cells: dict[int, list[bytes]] = {c.id: [c.cell] for c in listed}
    for row in relaxed:
        if row.cell is not None:
            cells[row.candidate_id].append(row.cell)
    for structure in (run.initial, run.final):
        found = _closest(structure, listed, cells)
        if found.candidate is not None or "several" in found.problem:
            return found
    return Match(problem=f"it names no candidate, and its crystal is none of the {len(listed)} candidates of {formula}")


def _closest(structure: Structure, listed: Sequence[Candidate], cells: dict[int, list[bytes]]) -> Match:
    """The one candidate with this crystal as generated or as relaxed, by the paper's tolerances."""
    hits: list[tuple[float, Candidate]] = []
    for candidate in listed:
        known = to_structures(unpack_cells(cells[candidate.id]))
        distances = [d for s in known if (d := rms_distance(structure, s)) is not None]
        if distances:
            hits.append((min(distances), candidate))
    same = [hit for hit in hits if hit[0] < _SAME] or hits
    if len(same) == 1:
        return Match(same[0][1], "by its crystal")
    names = ", ".join(f"{c.job_id}-{c.index}" for _, c in same[:5]) + (" …" if len(same) > 5 else "")
    return Match(problem=f"it names no candidate, and its crystal fits several: {names}" if same else "")
