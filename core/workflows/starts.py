"""Where a modification starts: texts that users gave, structures of the store, candidates; and their energies."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymatgen.core import Structure

from core.crystals import pack_cells, to_structures, unpack_cells
from core.data.formulas import parse_formula
from core.data.orderings import OrderingError, Orderings, orderings
from core.data.readers.records import Record, from_structure
from core.data.rows import finite
from core.data.starts import MAX_TEXT, Found, StartError, crystals_of, from_values, is_quick, read_structures
from core.energy.formation import formation_energy, load_references
from core.energy.hull import HullError
from core.settings import ROOT
from core.workflows.chain import hull_for
from core.workflows.context import UserError
from core.workflows.relax import potential_for
from core.workflows.store import folder, store
from db import candidates as candidate_rows
from db import structures as structure_rows

SECONDS = 60.0  # that a text may take to be read
MAX_RANKED = 12  # orderings of which the potential's energy is found


@dataclass(frozen=True)
class StartEnergy:
    """What a potential says of a start, eV/atom. problem: "" or why it says nothing, a sentence.

    above: over the newest hull of the same method that holds its elements, None where there is none
    """

    method: str
    total: float | None = None
    formation: float | None = None
    above: float | None = None
    hull: str = ""
    problem: str = ""


def keep_text(text: str, name: str) -> str:
    """Keep what a user gave under var/uploads; returns the hash by which a link finds it. Raises UserError."""
    if len(text) > MAX_TEXT:
        raise UserError(f"{name} is longer than {MAX_TEXT // 10**6} MB: give one structure alone.")
    values = json.dumps({"name": Path(name).name[:200], "text": text})
    token = hashlib.sha256(values.encode()).hexdigest()[:16]
    path = _path(token)
    if not path.is_file():
        part = path.with_suffix(f".{uuid4().hex}")
        part.write_text(values)
        part.replace(path)
    return token


def kept_text(token: str) -> tuple[str, str]:
    """(text, name) of what was kept. Raises UserError."""
    path = _path(token) if re.fullmatch(r"[0-9a-f]{16}", token) else None
    if path is None or not path.is_file():
        raise UserError("The structure of this link is not kept here any more: give it again.")
    values = json.loads(path.read_text())
    return str(values["text"]), str(values["name"])


def _path(token: str) -> Path:
    return folder("uploads") / f"start-{token}.json"


def read_file(path: Path) -> tuple[str, str]:
    """(text, name) of a file. Raises UserError."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.stat().st_size > MAX_TEXT:
        raise UserError(f"{path.name} is larger than {MAX_TEXT // 10**6} MB: give one structure alone.")
    return decoded(path.read_bytes()), path.name


def decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 where a mark at its beginning says so; other bytes become �."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


@lru_cache(maxsize=64)
def read_text(text: str, name: str, remedies: tuple[str, ...] = ()) -> tuple[Found, ...]:
    """Every structure of a text (`core.data.starts.read_structures`), in bounded time. Raises UserError.

    What may take long is read by a process of its own, which is ended after `SECONDS`.
    """
    try:
        if is_quick(text) or len(text) > MAX_TEXT:
            return tuple(read_structures(text, name, remedies))
        asked = json.dumps({"text": text, "name": name, "remedies": list(remedies)})
        command = [sys.executable, "-W", "ignore", "-m", "core.data.starts"]
        done = subprocess.run(command, input=asked, capture_output=True, text=True, cwd=ROOT, timeout=SECONDS)
        answer = json.loads(done.stdout)
    except StartError as error:
        raise UserError(str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{name} was given up after {SECONDS:.0f} s: its atoms and symmetry make too large a crystal."
        ) from error
    except (ValueError, OSError) as error:
        raise UserError(f"{name} cannot be read: its atoms or symmetry are broken.") from error
    if "error" in answer:
        raise UserError(answer["error"])
    return tuple(from_values(values) for values in answer["found"])


def of_candidate(candidate_id: int) -> Found:
    """A candidate as it was relaxed last, else as it was drawn. Raises UserError."""
    with store().session() as session:
        found = next(iter(candidate_rows.get_candidates(session, [candidate_id])), None)
        relaxed = [r for r in candidate_rows.relaxations(session, [candidate_id]) if r.cell is not None]
    if found is None:
        raise UserError(f"There is no candidate {candidate_id}: it was deleted, or the link is wrong.")
    latest = max(relaxed, key=lambda r: r.created_at, default=None)
    crystals = unpack_cells([latest.cell if latest and latest.cell else found.cell])
    if not bool(crystals.lattice.isfinite().all()):
        raise UserError(f"Candidate {found.job_id}-{found.index} has no finite cell: nothing can start from it.")
    label = f"candidate {found.job_id}-{found.index}"
    state = f"relaxed with {latest.method}" if latest else "as drawn"
    return Found(label, to_structures(crystals)[0], notes=(f"It is {label}, {state}.",))


def of_dataset(dataset: str, structure_id: int) -> Found:
    """A structure of the store by its id; the dataset is where the link came from. Raises UserError."""
    with store().session() as session:
        found = next(iter(structure_rows.get_structures(session, [structure_id])), None)
    if found is None:
        raise UserError(f"There is no structure {structure_id} in the store: its dataset may be deleted.")
    structure = to_structures(unpack_cells([found.cell]))[0]
    return Found(
        f"{found.formula} ({found.label})", structure, notes=(f"From the dataset {dataset}.",) if dataset else ()
    )


@lru_cache(maxsize=32)
def _ordered(text: str, most: int, max_atoms: int) -> Orderings:
    return orderings(Structure.from_str(text, fmt="json"), most, max_atoms)


def order(structure: Structure, max_atoms: int, most: int = MAX_RANKED) -> Orderings:
    """The lowest orderings of a disordered structure, by electrostatics where they can tell. Raises UserError."""
    try:
        return _ordered(json.dumps(structure.as_dict()), most, max_atoms)
    except OrderingError as error:
        raise UserError(str(error)) from error


def as_start(structure: Structure, name: str) -> Record:
    """What the model starts from. Raises UserError."""
    from core.data.readers.records import Problem

    try:
        return from_structure(structure, name, name, {})
    except Problem as problem:
        raise UserError(f"{name}: {problem.detail}.") from problem


def energies_of(structures: list[Structure], potential: str = "") -> list[StartEnergy]:
    """Energies of structures as they are, by a potential ("" is the default one), each found once. Raises UserError."""
    cells = [pack_cells(crystals_of(s))[0] for s in structures]
    return list(_energies(tuple(cells), potential))


@lru_cache(maxsize=64)
def _energies(cells: tuple[bytes, ...], key: str) -> tuple[StartEnergy, ...]:
    potential = potential_for(key)
    crystals = unpack_cells(cells)
    found = potential.evaluate(crystals)
    try:
        formation = formation_energy(found.energy, crystals, load_references(potential.name))
    except ValueError:
        formation = found.energy * math.nan
    made = []
    for i, problem in enumerate(found.problem):
        total = finite(found.energy[i] / crystals.natoms[i])
        about = f"{potential.name} has no energy for it: {problem.partition(': ')[2] or problem}." if problem else ""
        energy = StartEnergy(potential.name, total, finite(formation[i]), problem=about)
        made.append(on_hull(energy, crystals.formula(i)))
    return tuple(made)


def on_hull(energy: StartEnergy, formula: str) -> StartEnergy:
    """The same with its distance to the newest hull of its method that holds its elements."""
    (above,), name = heights_above(formula, [energy.formation], energy.method)
    return replace(energy, above=above, hull=name)


def heights_above(formula: str, formation: Sequence[float | None], method: str) -> tuple[list[float | None], str]:
    """eV/atom above the newest hull of a method, of one formula with these energies, and the hull's name.

    None where an energy is unknown; all None and "" where no hull of the method holds the elements.
    """
    counts: dict[str, Any] = parse_formula(formula)
    nothing: tuple[list[float | None], str] = [None] * len(formation), ""
    view = hull_for("-".join(sorted(counts)), method) if any(f is not None for f in formation) else None
    if view is None:
        return nothing
    try:
        level = view.hull.place(counts, 0.0).hull
    except HullError:
        return nothing
    return [None if f is None else f - level for f in formation], f"{view.row.chemical_system} ({view.row.name})"
