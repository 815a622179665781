"""Modify a given structure: draw polymorphs of it, asking for space groups and changes of energy."""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from core.crystals import Crystals, from_structures, unpack_cells
from core.data.fitted_pairs import starts_of
from core.data.readers.records import Record
from core.evaluation.displacement import change
from core.workflows.chain import Stage, check_chain
from core.workflows.context import Context, UserError
from core.workflows.design import MAX_CANDIDATES, MAX_SITES, Chain, check_conditions, run_chain
from core.workflows.judging import Keeper, Wish
from core.workflows.method import Method
from core.workflows.methods import method_for
from core.workflows.relax import RelaxParams, relax_crystals
from core.workflows.starts import as_start, energies_of, read_text

START = "start.json"  # in the job's folder


@dataclass(frozen=True)
class ModifyParams(Chain):
    """model: a name of `core.workflows.methods`; cif: the structure's text

    energy_changes in eV/atom, negative towards stability; the rest as for generation

    cells: how many times the start's content each result holds: a polymorph often needs a larger cell than the start's
    """

    model: str
    cif: str
    name: str
    space_groups: tuple[int, ...] = ()
    energy_changes: tuple[float, ...] = ()
    count: int = 8
    steps: int = 50
    seed: int = 0
    sampler: str = ""
    cells: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class StartState:
    """The start as the run's potential sees it, eV/atom; the same work was done on it as on the candidates.

    drawn: total energy of the structure as given; relaxed: after relaxation, None where there was none
    formation, formation_relaxed: of the same, None without references; cell: relaxed, as `pack_cells` writes it
    """

    method: str
    status: str
    drawn: float | None
    relaxed: float | None
    formation: float | None = None
    formation_relaxed: float | None = None
    cell: bytes | None = None


def modify(params: ModifyParams, context: Context) -> dict[str, Any]:
    """Draw, judge and keep the polymorphs asked for, with the start's energies beside them. Raises UserError."""
    method = modifier(params.model, params.sampler)
    start = parse_start(params.cif, params.name)
    crystal = unpack_cells([start.cell])
    wishes = plan(params, start, crystal)

    method.check({wish.formula for wish in wishes}, params.space_groups, cells_asked(crystal, params.cells))

    def moved(structure: Any, _: int) -> Mapping[str, Any]:
        found = change(crystal, from_structures([structure]))
        return {"displacement": found.displacement, "volume_change": found.volume, "same_as_start": found.same}

    state = evaluate_start(crystal, params, context)
    own = start_energy(method, crystal, state)
    given = replace(crystal, energy=torch.tensor([math.nan if own is None else own], dtype=torch.float64))
    grown = {int(cell.natoms[0]): cell for cell in cells_asked(given, params.cells)}
    keeper = Keeper(method.about, context.job_id, params, moved)
    result = run_chain(method, wishes, params.steps, params.seed, keeper, context, params, grown)
    return result | ({"start": _told(state)} if state else {})


def start_energy(method: Method, crystal: Crystals, state: StartState | None = None) -> float | None:
    """The start's formation energy on the method's scale, eV/atom: by the run's potential where that is the scale."""
    if state is not None and state.method == method.about.energy_method and state.formation is not None:
        return state.formation
    return method.start_energy(crystal)


def modifier(name: str, sampler: str = "") -> Method:
    """A method for modification. Raises UserError."""
    return method_for("modification", name, sampler)


def plan(params: ModifyParams, start: Record, crystal: Crystals) -> list[Wish]:
    """Every polymorph asked for. Raises UserError for conditions that cannot be."""
    check_conditions(params.space_groups, params.energy_changes, params.count, params.steps)
    check_chain(params)
    check_cells(params.cells, int(crystal.natoms[0]), params.name)
    combinations = len(params.cells) * max(1, len(params.space_groups)) * max(1, len(params.energy_changes))
    if combinations * params.count > MAX_CANDIDATES:
        raise UserError(f"That asks for {combinations * params.count:,} candidates; {MAX_CANDIDATES:,} is the limit.")
    contents = [(tuple(cell.numbers[0].tolist()), cell.formula(0)) for cell in cells_asked(crystal, params.cells)]
    asked = itertools.product(
        contents, params.space_groups or (None,), params.energy_changes or (None,), range(params.count)
    )
    return [
        Wish(i, numbers, formula, group, change, "", k)
        for i, ((numbers, formula), group, change, k) in enumerate(asked)
    ]


def cells_asked(crystal: Crystals, cells: Sequence[int]) -> list[Crystals]:
    """The start (a batch of one) as the model is given it: reduced, and each so many times as large."""
    return [starts_of(crystal, [times]) for times in cells]


def check_cells(cells: Sequence[int], natoms: int, name: str, most: int = MAX_SITES) -> None:
    """Raises UserError for multiples of the start's content that cannot be."""
    if not cells or len(set(cells)) < len(cells) or min(cells) < 1:
        raise UserError("The cell size of the result is 1, 2, 3 … times the start's, each asked for once.")
    if max(cells) * natoms > most and max(cells) > 1:
        raise UserError(
            f"{name} has {natoms} atoms in its cell: {max(cells)} times that is {max(cells) * natoms}; {most} can be "
            "drawn."
        )


def parse_start(text: str, name: str) -> Record:
    """The structure of a text, its first where there are several. Raises UserError in a chemist's words."""
    first = read_text(text, name)[0]
    if first.problem or first.structure is None:
        raise UserError(f"{name}: {first.problem}")
    record = as_start(first.structure, name)
    check_size(record.natoms, name)
    return record


def sites_of(method: Method) -> int:
    """How many atoms a cell may have for this method."""
    return min(MAX_SITES, method.about.max_sites or MAX_SITES)


def check_size(natoms: int, name: str, most: int = MAX_SITES) -> None:
    """Raises UserError for a cell of more atoms than can be modified."""
    if natoms > most:
        raise UserError(f"{name} has {natoms} atoms in its cell; {most} can be modified.")


def evaluate_start(crystal: Crystals, params: ModifyParams, context: Context) -> StartState | None:
    """The start's energies by the run's potential, as given and relaxed as the candidates are; None without one.

    They are kept in the job's folder: an interrupted run reads them there. Raises UserError and Cancelled.
    """
    if params.potential is None:
        return None
    kept = start_of(context.folder)
    if kept is not None:
        return kept
    context.progress(0.0, "the energy of the start")
    if params.relax == "none":
        (found,) = energies_of([_structure(crystal)], params.potential)
        state = StartState(found.method, found.problem or "energy as drawn", found.total, None, found.formation)
    else:
        asked = RelaxParams(
            (), params.potential, params.relax == "cell", params.fmax, params.relax_steps, params.keep_symmetry,
            trajectories=False,
        )  # fmt: skip
        _, (values,) = relax_crystals(crystal, asked, Stage(context, "relaxing the start", 0.0, 0.02))
        state = StartState(
            values["method"], values["status"], values["total_before"], values["total_after"],
            values["formation_before"], values["formation_after"], values["cell"],
        )  # fmt: skip
    _keep(state, context.folder)
    return state


def start_of(folder: Path | str) -> StartState | None:
    """What a run found of its start, None where it has found nothing (yet)."""
    path = Path(folder) / START
    try:
        values = json.loads(path.read_text())
        cell = values.pop("cell")
        return StartState(**values, cell=base64.b64decode(cell) if cell else None)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(state: StartState, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cell = base64.b64encode(state.cell).decode() if state.cell else ""
    part = folder / f"{START}.{uuid4().hex}"
    part.write_text(json.dumps({**vars(state), "cell": cell}, indent=1))
    part.replace(folder / START)


def _told(state: StartState) -> dict[str, Any]:
    """For the job's result: the numbers without the cell."""
    return {k: v for k, v in vars(state).items() if k != "cell"}


def _structure(crystal: Crystals) -> Any:
    from core.crystals import to_structures

    return to_structures(crystal)[0]
