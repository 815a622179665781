"""Relax candidates of the store, or files, with a potential."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.crystals import Crystals, concatenate, pack_cells, unpack_cells
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import SourceError, raw_rows
from core.data.symmetry import detect_groups
from core.energy.formation import formation_energy, load_references
from core.energy.load import choices, default_choice, load_potential
from core.energy.potential import Potential, PotentialError
from core.energy.relaxation import RelaxationConfig, Relaxed, relax
from core.settings import settings
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.store import store
from db import candidates as rows

_BATCH = 16
SYMPREC = 0.1  # Å, of the space group after relaxation


@dataclass(frozen=True)
class RelaxParams:
    """candidate_ids: of the store; potential: "m3gnet", "chgnet" or "" for the default; cell: move the cell too."""

    candidate_ids: tuple[int, ...]
    potential: str = ""
    cell: bool = True
    fmax: float = 0.05
    steps: int = 500


def relax_candidates(params: RelaxParams, context: Context) -> dict[str, Any]:
    """Relax them and keep energies and cells. One that fails is kept with its reason and stops nothing.

    After an interruption, what this job has done already is left alone. Returns relaxed, failed, method.
    """
    potential = potential_for(params.potential, context.device)
    config = RelaxationConfig(params.cell, params.fmax, params.steps)
    with store().session() as session:
        done = {
            r.candidate_id: r.status
            for r in rows.relaxations(session, params.candidate_ids, potential.name)
            if r.job_id == context.job_id
        }
    todo = [i for i in params.candidate_ids if i not in done]
    statuses = list(done.values())
    started = time.monotonic()
    for start in range(0, len(todo), _BATCH):
        part = todo[start : start + _BATCH]
        relaxed = _relax_rows(part, potential, config, context, len(params.candidate_ids), len(done) + start)
        statuses += relaxed
        if context.cancelled():
            raise Cancelled
        finished = start + len(part)
        left = (time.monotonic() - started) / finished * (len(todo) - finished)
        count = len(done) + finished
        context.progress(count / len(params.candidate_ids), f"{count} of {len(params.candidate_ids)} relaxed", left)
    failed = sum(s.startswith("failed") for s in statuses)
    return {"relaxed": len(statuses) - failed, "failed": failed, "method": potential.name}


def _relax_rows(
    ids: Sequence[int], potential: Potential, config: RelaxationConfig, context: Context, total: int, before: int
) -> list[str]:
    with store().session() as session:
        found = rows.get_candidates(session, ids)
    if not found:
        return []

    def on_step(finished: int, step: int) -> None:
        count = before + finished
        context.progress(count / total, f"{count} of {total} relaxed, step {step}")

    crystals = unpack_cells([c.cell for c in found])
    result = relax(crystals, potential, config, on_step, context.cancelled)
    if context.cancelled():
        return []
    values = relaxation_values(result, potential)
    with store().session() as session:
        for candidate, value in zip(found, values, strict=True):
            rows.put_relaxation(session, candidate_id=candidate.id, job_id=context.job_id, **value)
    return result.status


def relaxation_values(result: Relaxed, potential: Potential) -> list[dict[str, Any]]:
    """Rows of relaxations: energies in eV/atom, NULL where they are unknown."""
    crystals = result.crystals
    natoms = crystals.natoms
    try:
        references = load_references(potential.name)
        formation = [formation_energy(e, crystals, references) for e in (result.energy_before, result.energy_after)]
    except ValueError:
        formation = [result.energy_before * math.nan] * 2
    groups = detect_groups(crystals, SYMPREC).tolist()
    cells = pack_cells(crystals)
    values = []
    for i, status in enumerate(result.status):
        failed = status.startswith("failed")
        values.append(
            {
                "method": potential.name,
                "status": status,
                "steps": int(result.steps[i]),
                "total_before": _number(result.energy_before[i] / natoms[i]),
                "total_after": _number(result.energy_after[i] / natoms[i]),
                "formation_before": _number(formation[0][i]),
                "formation_after": _number(formation[1][i]),
                "max_force": _number(result.max_force[i]),
                "group_found": None if failed else groups[i] or None,
                "cell": None if failed else cells[i],
            }
        )
    return values


def potential_for(key: str, device: str = "cpu") -> Potential:
    """The potential of that name, or the default one. Raises UserError."""
    try:
        return load_potential(key or default_choice(settings().m3gnet).key, settings().m3gnet, device)
    except PotentialError as error:
        raise UserError(str(error)) from error


def method_of(key: str) -> str:
    """The energy method of a potential by its name ("" is the default one), without loading it. Raises UserError."""
    if not key:
        return default_choice(settings().m3gnet).method
    found = next((c for c in choices(settings().m3gnet) if c.key == key), None)
    if found is None or found.problem:
        raise UserError(f"{key} cannot be used: {found.problem if found else 'there is no such potential'}.")
    return found.method


def potential_choices() -> list[Any]:
    """Every potential with what keeps it from being used here."""
    return choices(settings().m3gnet)


def read_structures(paths: Sequence[Path]) -> tuple[list[str], Crystals, list[tuple[str, str]]]:
    """Labels and crystals of files (and of the files in folders), and (place, sentence) of what could not be read."""
    files = [f for p in paths for f in (sorted(p.glob("*.cif")) if p.is_dir() else [p])]
    if not files:
        raise UserError("There is no file to read: name CIFs, JSON lines, or a folder of CIFs.")
    labels: list[str] = []
    cells: list[bytes] = []
    problems: list[tuple[str, str]] = []
    for path in files:
        if not path.is_file():
            raise UserError(f"There is no file {path}.")
        try:
            for records, bad in parse_rows(raw_rows(path), "", processes=1):
                labels += [r.label for r in records]
                cells += [r.cell for r in records]
                problems += [(f"{path.name}, {p.place}" if p.place != path.name else p.place, p.detail) for p in bad]
        except SourceError as error:
            raise UserError(str(error)) from error
    if not cells:
        raise UserError(
            f"None of the files could be used. {problems[0][0]}: {problems[0][1]}." if problems else "Empty."
        )
    return labels, unpack_cells(cells), problems


def relax_crystals(crystals: Crystals, params: RelaxParams, context: Context) -> tuple[Relaxed, list[dict[str, Any]]]:
    """Relax crystals that are not in the store; returns them with the values that a relaxation row has."""
    potential = potential_for(params.potential, context.device)
    parts = []
    config = RelaxationConfig(params.cell, params.fmax, params.steps)
    for start in range(0, len(crystals), _BATCH):
        context.progress(start / len(crystals), f"{start} of {len(crystals)} relaxed")
        parts.append(relax(crystals[start : start + _BATCH], potential, config, None, context.cancelled))
        if context.cancelled():
            raise Cancelled
    values = [value for part in parts for value in relaxation_values(part, potential)]
    return _join(parts), values


def _join(parts: Sequence[Relaxed]) -> Relaxed:
    return Relaxed(
        concatenate([p.crystals for p in parts]),
        torch.cat([p.energy_before for p in parts]),
        torch.cat([p.energy_after for p in parts]),
        torch.cat([p.steps for p in parts]),
        torch.cat([p.max_force for p in parts]),
        [status for p in parts for status in p.status],
    )


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
