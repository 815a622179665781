"""Relax candidates of the store, or files, with a potential."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core.crystals import Crystals, pack_cells, unpack_cells
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import SourceError, raw_rows
from core.data.rows import finite
from core.data.symmetry import detect_group, detect_groups
from core.energy.formation import formation_energy, load_references
from core.energy.load import choices, default_choice, load_potential
from core.energy.parallel import relax_on_cores
from core.energy.potential import Potential, PotentialError
from core.energy.relaxation import RelaxationConfig, Relaxed, relax, short_status
from core.energy.trajectory import MAX_FRAMES, Trajectory, TrajectoryError, load_trajectory, save_trajectory
from core.settings import settings
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.store import store
from db import candidates as rows
from db.session import write_lock
from db.tables import Job

log = logging.getLogger(__name__)

_PART = 64  # candidates whose results are written together
_PART_LARGE = 1024  # on a GPU, or on several cores
SYMPREC = 0.1  # Å, of the space group before and after relaxation


@dataclass(frozen=True)
class RelaxParams:
    """candidate_ids: of the store; potential: "m3gnet", "chgnet" or "" for the default; cell: move the cell too.

    symmetry: keep each crystal's space group; symprec: Å, of the groups kept and found; trajectories: keep the frames
    processes: cores to share the work, where the device is the CPU
    shard, shards: this is part `shard` (from 0) of so many; candidate_ids are those of the part
    """

    candidate_ids: tuple[int, ...]
    potential: str = ""
    cell: bool = True
    fmax: float = 0.05
    steps: int = 500
    symmetry: bool = False
    symprec: float = SYMPREC
    trajectories: bool = True
    processes: int = 1
    shard: int = 0
    shards: int = 1


def shard_of(ids: Sequence[int], shard: int, shards: int) -> tuple[int, ...]:
    """The part `shard` of `shards` of these candidates: the same ones whatever order they come in, and none twice."""
    return tuple(sorted(set(ids))[shard::shards])


def candidates_to_relax(names: Sequence[str]) -> tuple[int, ...]:
    """Ids of "12-3" and, for "12", of all candidates of run 12. Raises UserError."""
    found: dict[int, None] = {}
    for name in names:
        run, dash, index = name.partition("-")
        if not (run.isascii() and run.isdecimal() and (not dash or index.isdecimal()) and len(name) < 20):
            raise UserError(f"{name!r} is no candidate: write 12-3, or 12 for all of run 12.")
        with store().session() as session:
            if dash:
                one = rows.find_candidate(session, int(run), int(index))
                listed = [one.id] if one else []
            else:
                listed = rows.ordered_ids(session, rows.CandidateFilter(job_id=int(run)), limit=10**7)
        if not listed:
            raise UserError(f"There is no candidate {name}." if dash else f"Run {run} has no candidate.")
        found |= dict.fromkeys(listed)
    return tuple(found)


def relax_candidates(params: RelaxParams, context: Context) -> dict[str, Any]:
    """Relax them and keep energies and cells. One that fails is kept with its reason and stops nothing.

    After an interruption, what this job has done already is left alone. Returns relaxed, failed, method.
    """
    check_config(params)
    potential = potential_for(params.potential, context.device)
    with store().session() as session:
        done = {
            r.candidate_id: r.status
            for r in rows.relaxations(session, params.candidate_ids, potential.name)
            if r.job_id == context.job_id
        }
    todo = [i for i in params.candidate_ids if i not in done]
    statuses = list(done.values())
    started = time.monotonic()
    size = _part_of(params, context.device)
    for start in range(0, len(todo), size):
        part = todo[start : start + size]
        relaxed = _relax_rows(part, potential, params, context, len(done) + start)
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
    ids: Sequence[int], potential: Potential, params: RelaxParams, context: Context, before: int
) -> list[str]:
    config, total = check_config(params), len(params.candidate_ids)
    with store().session() as session:
        found = rows.get_candidates(session, ids)
    if not found:
        return []

    def on_step(finished: int, step: int) -> None:
        count = before + finished
        context.progress(count / total, f"{count} of {total} relaxed, step {step}")

    crystals = unpack_cells([c.cell for c in found])
    result = _relax(crystals, potential, params, context, on_step)
    ended = [i for i in range(len(found)) if has_ended(result, i)]  # all, unless it was cancelled
    values = relaxation_values(result, potential, config.symprec)
    for i in ended:
        if result.status[i].startswith("failed"):  # the row holds its word, the job's log the sentence
            log.warning("candidate %s %s", found[i].id, result.status[i])
        _write_trajectory(result, i, context.folder, found[i].id, values[i], crystals, config)
    _keep({found[i].id: values[i] for i in ended}, context.job_id, potential.name)
    return [result.status[i] for i in ended]


def _keep(values: dict[int, dict[str, Any]], job_id: int, method: str) -> None:
    """Write relaxations by candidate, each once: what another worker of this job has written meanwhile stands."""
    ids = list(values)
    with store().session() as session:
        write_lock(session)
        there = {c.id for c in rows.get_candidates(session, ids, deleted=None)}  # some may be removed for good
        there -= {r.candidate_id for r in rows.relaxations(session, ids, method) if r.job_id == job_id}
        for i in (i for i in ids if i in there):
            rows.put_relaxation(session, candidate_id=i, job_id=job_id, **values[i])


def has_ended(result: Relaxed, index: int) -> bool:
    """False for a crystal that was left on its way, because the run was cancelled."""
    return result.status[index].startswith("failed") or bool(torch.isfinite(result.energy_after[index]))


def check_config(params: RelaxParams) -> RelaxationConfig:
    """Raises UserError for numbers that cannot be meant."""
    for name, value in (("largest force", params.fmax), ("tolerance of the symmetry", params.symprec)):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"The {name} has to be larger than 0, not {value:g}.")
    if not 1 <= params.processes <= 64:
        raise UserError(f"A relaxation can share 1 to 64 processes, not {params.processes}.")
    if params.steps < 0:
        raise UserError(f"A relaxation takes 0 steps or more, not {params.steps}.")
    frames = MAX_FRAMES if params.trajectories else 0
    return RelaxationConfig(params.cell, params.fmax, params.steps, 0, params.symmetry, params.symprec, frames)


def _part_of(params: RelaxParams, device: str) -> int:
    return _PART if device == "cpu" and params.processes == 1 else _PART_LARGE


def _relax(
    crystals: Crystals,
    potential: Potential,
    params: RelaxParams,
    context: Context,
    on_step: Callable[[int, int], None],
) -> Relaxed:
    """In this process, or in several where that was asked for. Raises Cancelled where those were ended with it."""
    config = check_config(params)
    if params.processes == 1 or context.device != "cpu":
        return relax(crystals, potential, config, on_step, context.cancelled)
    key, folder = params.potential or default_choice(settings().m3gnet).key, settings().m3gnet
    try:
        return relax_on_cores(crystals, key, folder, config, params.processes, on_step, context.cancelled)
    except MemoryError:
        if context.cancelled():  # SIGTERM went to all of them
            raise Cancelled from None
        raise


def trajectory_path(folder: Path, candidate_id: int) -> Path:
    """Where a job keeps the trajectory of a candidate."""
    return folder / "trajectories" / f"{candidate_id}.safetensors"


def _write_trajectory(
    result: Relaxed,
    index: int,
    folder: Path,
    name: int,
    values: dict[str, Any],
    start: Crystals,
    config: RelaxationConfig,
) -> None:
    """The frames with what they are; a full disk costs the frames, not the relaxation."""
    found = result.trajectories[index] if result.trajectories else None
    if found is None:
        return
    about = {
        "method": str(values["method"]),
        "status": result.status[index],
        "group_before": str(detect_group(start, index, config.symprec)),
        "group_after": str(values["group_found"] or 0),
        "symprec": f"{config.symprec:g}",
        "kept_symmetry": str(config.symmetry).lower(),
    }
    try:
        save_trajectory(replace(found, about=about), trajectory_path(folder, name))
    except OSError as error:
        log.warning("no trajectory of %s: %s", name, error)


def read_trajectory(candidate_id: int, method: str = "") -> Trajectory | None:
    """The frames of a candidate's relaxation, by a method or its latest; None where none were kept.

    `about` says method, status, group_before, group_after, symprec. Raises UserError for a damaged file.
    """
    with store().session() as session:
        found = [r for r in rows.relaxations(session, [candidate_id], method or None) if r.job_id is not None]
        latest = max(found, key=lambda r: r.created_at, default=None)
        job = session.get(Job, latest.job_id) if latest else None
    path = trajectory_path(Path(job.folder), candidate_id) if job and job.folder else None
    if path is None or not path.is_file():
        return None
    try:
        return load_trajectory(path)
    except TrajectoryError as error:
        raise UserError(f"The frames of this relaxation cannot be shown: {error}. Relax it again.") from error


def relaxation_values(result: Relaxed, potential: Potential, symprec: float = SYMPREC) -> list[dict[str, Any]]:
    """Rows of relaxations: energies in eV/atom, NULL where they are unknown; a failure by its word alone."""
    crystals = result.crystals
    natoms = crystals.natoms
    try:
        references = load_references(potential.name)
        formation = [formation_energy(e, crystals, references) for e in (result.energy_before, result.energy_after)]
    except ValueError:
        formation = [result.energy_before * math.nan] * 2
    groups = detect_groups(crystals, symprec).tolist()
    cells = pack_cells(crystals)
    values = []
    for i, status in enumerate(result.status):
        failed = status.startswith("failed")
        values.append(
            {
                "method": potential.name,
                "status": short_status(status),
                "steps": int(result.steps[i]),
                "total_before": finite(result.energy_before[i] / natoms[i]),
                "total_after": finite(result.energy_after[i] / natoms[i]),
                "formation_before": finite(formation[0][i]),
                "formation_after": finite(formation[1][i]),
                "max_force": finite(result.max_force[i]),
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
    """Relax crystals that are not in the store; returns them with the values that a relaxation row has.

    Where they were asked for, trajectories are written as they would be by a job; crystals count from 1.
    """
    config = check_config(params)
    potential = potential_for(params.potential, context.device)

    def on_step(finished: int, step: int) -> None:
        context.progress(finished / len(crystals), f"{finished} of {len(crystals)} relaxed, step {step}")

    relaxed = _relax(crystals, potential, params, context, on_step)
    if context.cancelled():
        raise Cancelled
    values = relaxation_values(relaxed, potential, config.symprec)
    for i in range(len(crystals)):
        _write_trajectory(relaxed, i, context.folder, i + 1, values[i], crystals, config)
    return relaxed, values
