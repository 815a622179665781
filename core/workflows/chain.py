"""What happens to candidates after they are drawn: relaxed, or their energies taken, and placed on a hull."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sqlalchemy.orm import Session

from core.crystals import unpack_cells
from core.data.formulas import chemical_system, formula_unit, parse_formula, reduced_formula
from core.data.rows import finite
from core.energy.formation import formation_energy, load_references
from core.energy.hull import HullError
from core.energy.potential import Potential
from core.energy.relaxation import short_status
from core.evaluation.validity import MAX_VOLUME_PER_ATOM, MIN_DISTANCE, MIN_VOLUME_PER_ATOM
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import get_dataset
from core.workflows.hulls import HullView, get_hull_by_id, own_hull
from core.workflows.relax import RelaxParams, method_of, potential_for, relax_candidates
from core.workflows.relax_once import firsts_of, share
from core.workflows.store import store
from db import candidates as rows
from db import chains

AS_DRAWN = "energy as drawn"
MODES = {
    "cell": "relax cell and sites",
    "positions": "relax the sites alone",
    "none": "energy as drawn",
}
MAX_DRAWS = 100  # of which one candidate is kept
_PART = 512  # candidates that are relaxed together: what an interruption keeps is written more often
_ENERGIES = 64
_MOVING = 50  # of about eight atoms fit a potential's batch
_USUAL_STEPS = 120.0


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What happens to candidates after they are drawn, in the same job.

    symmetrise: move sites and cell onto the group asked for, where that is found within a tolerance
    compare: datasets of the store that a candidate must be new against, beside the one its model learned from
    potential: None for no energies, "" for the default one, "m3gnet", "chgnet"
    relax: "cell" moves the cell too, "positions" the sites alone, "none" takes the energy as drawn
    fmax: eV/Å; keep_symmetry: of the group found; hull: its id, None for the newest of the potential's method
    draws: crystals drawn for each candidate, of which the best by the potential is kept (`core.workflows.ranking`),
    after rank_steps of relaxation
    """

    symmetrise: bool = False
    compare: tuple[str, ...] = ()
    potential: str | None = None
    relax: str = "cell"
    fmax: float = 0.05
    relax_steps: int = 500
    keep_symmetry: bool = False
    processes: int = 1
    hull: int | None = None
    draws: int = 1
    rank_steps: int = 0


def check_chain(chain: Chain) -> None:
    """Raises UserError for what cannot be done, before anything is drawn."""
    for name in chain.compare:
        get_dataset(name)
    if not 1 <= chain.draws <= MAX_DRAWS or not 0 <= chain.rank_steps <= 1000:
        raise UserError(f"For each candidate 1 to {MAX_DRAWS} crystals are drawn, and ranked after 0 to 1000 steps.")
    if chain.potential is None and chain.draws > 1:
        raise UserError(
            "A potential says which of several crystals is the best, and there is none: relax, or draw one each."
        )
    if chain.potential is None:
        return
    if chain.relax not in MODES:
        raise UserError(f"There is no way {chain.relax!r} to relax: choose {', '.join(MODES)}.")
    if not (math.isfinite(chain.fmax) and chain.fmax > 0):
        raise UserError(f"The largest force has to be larger than 0, not {chain.fmax:g}.")
    if chain.relax_steps < 0 or not 1 <= chain.processes <= 64:
        raise UserError("A relaxation takes 0 steps or more and shares 1 to 64 processes.")
    method = method_of(chain.potential)
    if chain.hull is not None and (hull := get_hull_by_id(chain.hull).row).method != method:
        raise UserError(
            f"The hull {hull.name!r} is by {hull.method}, the candidates get energies by {method}: energies of two "
            "methods never meet on one hull. Choose one by that method, or evaluate this one again on the Hulls page."
        )


def stages_of(chain: Chain) -> tuple[str, ...]:
    """What is done to candidates, in order: "draw" and "judge" go hand in hand, batch by batch."""
    if chain.potential is None:
        return ("draw", "judge")
    return ("draw", "judge", "energies" if chain.relax == "none" else "relax", "place")


class Stage:
    """A `Context` that is one stage of another: its share of the progress, and its place in every message."""

    def __init__(self, context: Context, label: str, start: float, width: float, later_s: float = 0.0) -> None:
        self._context, self._label, self._start, self._width, self._later = context, label, start, width, later_s
        self.job_id: int = context.job_id
        self.folder: Path = context.folder
        self.device: str = context.device

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        share = None if fraction is None else self._start + self._width * min(max(fraction, 0.0), 1.0)
        whole = f"{self._label} · {message}" if self._label else message
        self._context.progress(share, whole, None if eta_s is None else eta_s + self._later)

    def metrics(self, step: int, **values: float) -> None:
        self._context.metrics(step, **values)

    def cancelled(self) -> bool:
        return self._context.cancelled()


class _Part(Stage):
    """Some of the candidates that are relaxed: counts over all of them, and when they will be done.

    Those that move together end at about the same time, so what moves counts too, by its steps of the usual number.
    """

    def __init__(self, context: Context, before: int, size: int, done: int, total: int, usual: float) -> None:
        super().__init__(context, "", 0.0, 1.0)
        self._before, self._size, self._done, self._total, self._usual = before, size, done, total, usual
        self._started = time.monotonic()

    def at(self, before: int, size: int) -> _Part:
        """The same for the next part."""
        self._before, self._size = before, size
        return self

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        ended = round((fraction or 0.0) * self._size)
        count, step = self._before + ended, message.partition(", step ")[2]
        on_way = min(self._size - ended, _MOVING) * min(int(step or 0) / self._usual, 0.5)
        done = count + on_way - self._done
        left = (time.monotonic() - self._started) / done * (self._total - count - on_way) if done > 0 else None
        text = f"relaxing {count:,} of {self._total:,} that can be" + (f", step {step}" if step else "")
        self._context.progress((count + on_way) / self._total, text, left)


def usual_steps(method: str, most: int) -> float:
    """Steps until a drawn crystal is relaxed: the store's experience with a method, where it has any."""
    with store().session() as session:
        known = chains.mean_steps(session, method)
    return min(known or _USUAL_STEPS, max(most, 1))


def count_energies(job_id: int, method: str) -> chains.Energies:
    """How far the energies of a run have come, by what is in the store."""
    with store().session() as session:
        volumes = (MIN_VOLUME_PER_ATOM, MAX_VOLUME_PER_ATOM)
        return chains.count_energies(session, job_id, method, MIN_DISTANCE, volumes)


def relax_drawn(chain: Chain, context: Context) -> None:
    """Relax a run's candidates (`_worth_it`), the same cell once. What this job has relaxed already is left alone.

    Raises Cancelled, UserError.
    """
    potential = potential_for(chain.potential or "", context.device)  # loaded before the clock starts
    with store().session() as session:
        firsts = firsts_of(session, _worth_it(session, context.job_id))
        done = chains.statuses_of_run(session, context.job_id, potential.name)
    alone = dict.fromkeys(firsts.values())
    ids = [*(i for i in alone if i in done), *(i for i in alone if i not in done)]
    usual = usual_steps(potential.name, chain.relax_steps)
    watch = _Part(context, 0, 0, sum(i in done for i in ids), len(ids), usual)
    for start in range(0, len(ids), _PART):
        part = ids[start : start + _PART]
        params = RelaxParams(
            tuple(part),
            chain.potential or "",
            chain.relax == "cell",
            chain.fmax,
            chain.relax_steps,
            chain.keep_symmetry,
            processes=chain.processes if context.device == "cpu" else 1,
        )
        relax_candidates(params, watch.at(start, len(part)))
    with store().writing() as session:
        share(session, firsts, potential.name, context.job_id, context.folder)


def _worth_it(session: Session, job_id: int) -> list[int]:
    """What meets the field's own criterion: contacts that make a candidate not valid often relax away."""
    return chains.ids_within(session, job_id, MIN_DISTANCE, (MIN_VOLUME_PER_ATOM, MAX_VOLUME_PER_ATOM))


def take_energies(chain: Chain, context: Context) -> None:
    """The potential's energies of a run's candidates (`_worth_it`) as drawn; those that have one are left alone.

    They are relaxations of no steps by the status "energy as drawn", without a cell and an energy after.
    """
    potential = potential_for(chain.potential or "", context.device)
    with store().session() as session:
        ids = _worth_it(session, context.job_id)
        done = chains.statuses_of_run(session, context.job_id, potential.name)
    todo = [i for i in ids if i not in done]
    started = time.monotonic()
    for start in range(0, len(todo), _ENERGIES):
        if context.cancelled():
            raise Cancelled
        part = todo[start : start + _ENERGIES]
        with store().session() as session:
            found = rows.get_candidates(session, part)
        values = _energies([c.cell for c in found], potential)
        with store().session() as session:
            for candidate, value in zip(found, values, strict=True):
                rows.put_relaxation(session, candidate_id=candidate.id, job_id=context.job_id, **value)
        finished = start + len(part)
        left = (time.monotonic() - started) / finished * (len(todo) - finished)
        count = len(ids) - len(todo) + finished
        context.progress(count / len(ids), f"energies of {count:,} of {len(ids):,} that can have one, as drawn", left)


def _energies(cells: list[bytes], potential: Potential) -> list[dict[str, Any]]:
    """Rows of relaxations without a step."""
    crystals = unpack_cells(cells) if cells else None
    if crystals is None:
        return []
    found = potential.evaluate(crystals)
    try:
        formation = formation_energy(found.energy, crystals, load_references(potential.name))
    except ValueError:  # a potential without references
        formation = found.energy * math.nan
    force = found.forces.norm(dim=2).amax(1)
    natoms = crystals.natoms
    return [
        {
            "method": potential.name,
            "status": short_status(f"failed: {problem}") if problem else AS_DRAWN,
            "steps": 0,
            "total_before": finite(found.energy[i] / natoms[i]),
            "formation_before": finite(formation[i]),
            "max_force": finite(force[i]) if bool(torch.isfinite(force[i])) else None,
        }
        for i, problem in enumerate(found.problem)
    ]


def new_of(novel: int | None) -> str:
    """ "3 new", or that nobody looked."""
    return "not compared with known ones" if novel is None else f"{novel:,} new"


def summarise(job_id: int, chain: Chain) -> dict[str, Any]:
    """What came of a run: its counts and, where energies were taken, where it stands on the hull.

    Keys: candidates, valid, unique, novel; relaxed, as_drawn (energies without a relaxation), failed, method; hulls,
    below_hull, unplaced, and lowest: for each formula and series the candidate lowest above the hull, with `above` and
    `formation` in eV/atom.
    """
    with store().session() as session:
        counts = chains.run_counts(session, job_id)
    result: dict[str, Any] = counts._asdict()
    if chain.potential is None:
        return result
    method = method_of(chain.potential)
    with store().session() as session:
        energies = chains.run_energies(session, job_id, method)
    failed = sum(e.status.startswith("failed") for e in energies)
    drawn = sum(e.status == AS_DRAWN for e in energies)
    result |= {"relaxed": len(energies) - failed - drawn, "as_drawn": drawn, "failed": failed, "method": method}
    return result | place_run(energies, method, chain.hull)


def place_run(energies: list[chains.RunEnergy], method: str, hull_id: int | None = None) -> dict[str, Any]:
    """Candidates against their hulls, by relaxed energies where there are any, else by those as drawn.

    Returns hulls, below_hull, unplaced (formula units without a hull), lowest; `above` is `core.energy.hull`'s.
    """
    groups: dict[tuple[str, str], list[tuple[float, chains.RunEnergy]]] = {}
    for energy in energies:
        value = energy.formation_before if energy.status == AS_DRAWN else energy.formation_after
        if value is not None:
            reduced = reduced_formula(parse_formula(energy.formula))
            groups.setdefault((reduced, energy.series), []).append((value, energy))
    lowest: list[dict[str, Any]] = []
    used: dict[int, str] = {}
    unplaced: set[str] = set()
    below = 0
    for (_, series), found in groups.items():
        counts = parse_formula(found[0][1].formula)
        view = hull_for(chemical_system(counts), method, hull_id)
        above = _above(view, counts, [value for value, _ in found])
        if view is None or above is None:
            unplaced.add(formula_unit(counts))
            continue
        used[view.row.id] = f"{view.row.chemical_system} by {view.row.method} ({view.row.name})"
        below += sum(a < 0 for a in above)
        best = min(range(len(above)), key=above.__getitem__)
        value, energy = found[best]
        lowest.append(
            {
                "formula": formula_unit(counts),
                "series": series,
                "above": above[best],
                "formation": value,
                "candidate": energy.id,
                "name": f"{energy.job_id}-{energy.number}",
                "relaxed": energy.status != AS_DRAWN,
                "placed": len(found),
                "hull": view.row.id,
            }
        )
    lowest.sort(key=lambda row: row["above"])
    hulls = {str(i): about for i, about in used.items()}
    return {"hulls": hulls, "below_hull": below, "unplaced": sorted(unplaced), "lowest": lowest}


def hull_for(system: str, method: str, hull_id: int | None = None) -> HullView | None:
    """The hull that was chosen, else the newest of a method that holds these elements; None where none does."""
    if hull_id is not None:
        try:
            return get_hull_by_id(hull_id)
        except UserError:  # deleted since
            return None
    return own_hull(system, method)


def _above(view: HullView | None, counts: Mapping[str, int], values: list[float]) -> list[float] | None:
    if view is None:
        return None
    try:
        return view.hull.above_of([counts] * len(values), values)
    except HullError:
        return None
