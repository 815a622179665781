"""Modify a given structure: draw polymorphs of it, asking for space groups and changes of energy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core.crystals import Crystals, unpack_cells
from core.data.encoding import encode
from core.data.readers.parsing import parse_chunk
from core.data.readers.records import Record
from core.data.readers.sources import MAX_CIF, Raw
from core.models.state import Conditions, State, conditions_for
from core.workflows.context import Context, UserError
from core.workflows.design import MAX_CANDIDATES, MAX_SITES, Chain, check_conditions, run_wishes
from core.workflows.judging import Keeper, Wish
from core.workflows.models import load_model


@dataclass(frozen=True)
class ModifyParams(Chain):
    """cif: the structure's text; energy_changes in eV/atom, negative towards stability; the rest as for generation."""

    model: str
    cif: str
    name: str
    space_groups: tuple[int, ...] = ()
    energy_changes: tuple[float, ...] = ()
    count: int = 8
    steps: int = 50
    seed: int = 0
    sampler: str = ""


def modify(params: ModifyParams, context: Context) -> dict[str, Any]:
    """Draw, judge and keep the polymorphs asked for. Raises UserError."""
    model = load_model(params.model).drawn_by(params.sampler)
    if model.row.task != "modification":
        raise UserError(f"{params.model} generates structures; choose a model for modification.")
    start = parse_start(params.cif, params.name)
    crystal = unpack_cells([start.cell])
    wishes = plan(params, start, crystal)

    def conditions(part: list[Wish]) -> Conditions:
        asked = conditions_for([w.numbers for w in part], [w.group for w in part], [w.energy for w in part])
        return replace(asked, start=_repeat(encode(crystal, model.cell), len(part)))

    return run_wishes(wishes, conditions, params.steps, params.seed, Keeper(model, context.job_id, params), context)


def plan(params: ModifyParams, start: Record, crystal: Crystals) -> list[Wish]:
    """Every polymorph asked for. Raises UserError for conditions that cannot be."""
    check_conditions(params.space_groups, params.energy_changes, params.count, params.steps)
    asked = list(
        itertools.product(params.space_groups or (None,), params.energy_changes or (None,), range(params.count))
    )
    if len(asked) > MAX_CANDIDATES:
        raise UserError(f"That asks for {len(asked):,} candidates; {MAX_CANDIDATES:,} is the limit.")
    numbers = tuple(crystal.numbers[0].tolist())
    formula = crystal.formula(0)
    return [Wish(i, numbers, formula, group, change) for i, (group, change, _) in enumerate(asked)]


def read_start(path: Path) -> Record:
    """The structure of a CIF file. Raises UserError in a chemist's words."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.stat().st_size > MAX_CIF:
        raise UserError(f"{path.name} is larger than {MAX_CIF // 10**6} MB.")
    return parse_start(path.read_text(errors="replace"), path.name)


def parse_start(cif: str, name: str) -> Record:
    """The structure of a CIF's text, its first where there are several. Raises UserError."""
    records, problems = parse_chunk(([Raw("cif", name, cif, name.removesuffix(".cif"))], "", ()))
    if not records:
        raise UserError(f"{name}: {problems[0].detail}.")
    if records[0].natoms > MAX_SITES:
        raise UserError(f"{name} has {records[0].natoms} atoms in its cell; {MAX_SITES} can be modified.")
    return records[0]


def _repeat(state: State, count: int) -> State:
    index = torch.zeros(count, dtype=torch.int64)
    return state[index]
