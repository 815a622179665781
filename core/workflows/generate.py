"""Generate candidates: every combination of formula, space group and energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from core.data.formulas import atomic_numbers, parse_formula
from core.workflows.chain import check_chain
from core.workflows.compositions import read_cell
from core.workflows.context import Context, UserError
from core.workflows.design import MAX_CANDIDATES, MAX_SITES, Chain, check_conditions, run_chain
from core.workflows.judging import Keeper, Wish
from core.workflows.ladders import Level, levels_of, rungs, series_of
from core.workflows.methods import find_method, method_for
from core.workflows.store import store
from db import candidates as rows


@dataclass(frozen=True)
class GenerateParams(Chain):
    """model: a name of `core.workflows.methods`; formulas: cell contents as typed
    space_groups and energies (eV/atom): empty asks for none in particular
    count: candidates per combination; sampler: a way of drawing (`core.samplers.registry.draws_of`), "" the model's
    ladders: 1, 2, 3 of `core.workflows.ladders`, each of their energies beside `energies`; every: of a ladder's 21
    energies the 1st and every so manyth after it; ladder_hull: the hull they hang on, None for the newest of the
    model's method; levels: that hull's energy for each formula, written by `with_levels` so that a run is repeatable
    hold_group: crystals start on the space group that is asked for, where the cell content can have it, and keep it;
    sites: a dataset whose structures of the same stoichiometry and group say on which sites, "" for any that fit
    experiment: the name of the experiment that this run is a part of (`core.workflows.experiments`)
    """

    model: str
    formulas: tuple[str, ...]
    space_groups: tuple[int, ...] = ()
    energies: tuple[float, ...] = ()
    count: int = 8
    steps: int = 50
    seed: int = 0
    sampler: str = ""
    ladders: tuple[int, ...] = ()
    every: int = 1
    ladder_hull: int | None = None
    levels: tuple[float, ...] = ()
    experiment: str = ""
    hold_group: bool = True
    sites: str = ""


def generate(params: GenerateParams, context: Context) -> dict[str, Any]:
    """Draw, judge, relax and place every candidate that is not in the store yet (after an interruption, the rest)."""
    method = method_for("generation", params.model, params.sampler, params.hold_group, params.sites)
    wishes = plan(with_levels(params))
    keeper = Keeper(method.about, context.job_id, params)
    return run_chain(method, wishes, params.steps, params.seed, keeper, context, params)


def check_params(params: GenerateParams) -> GenerateParams:
    """The params as a job takes them, ladders hung on their hull. Raises UserError for what would end it at once."""
    method = method_for("generation", params.model, params.sampler, params.hold_group, params.sites)
    check_chain(params)
    ready = with_levels(params)
    method.check({wish.formula for wish in plan(ready)}, params.space_groups)
    return ready


def candidates_of(job_id: int) -> list[int]:
    """Ids of a run's candidates, in order."""
    with store().session() as session:
        wanted = rows.CandidateFilter(job_id=job_id)
        return rows.ordered_ids(session, wanted, limit=MAX_CANDIDATES)


def levels_for(params: GenerateParams) -> list[Level]:
    """Where the ladders of each formula hang. Raises UserError where no hull of the model's method holds it."""
    return levels_of(params.formulas, find_method(params.model).about.energy_method, params.ladder_hull)


def with_levels(params: GenerateParams) -> GenerateParams:
    """The same with the hull's energy for each formula, where ladders are asked for and it is not there yet."""
    if not params.ladders or len(params.levels) == len(params.formulas):
        return params
    return replace(params, levels=tuple(level.energy for level in levels_for(params)))


def count_of(params: GenerateParams) -> int:
    """How many candidates that asks for. Raises UserError for a ladder that is none."""
    energies = len(params.energies) + sum(len(rungs(0.0, ladder, params.every)) for ladder in params.ladders)
    return len(params.formulas) * max(1, len(params.space_groups)) * max(1, energies) * params.count


def plan(params: GenerateParams) -> list[Wish]:
    """Every candidate asked for, in order: formulas, groups, energies, count. Raises UserError for what cannot be."""
    if not params.formulas:
        raise UserError("Write a formula, such as Ta1W1B6.")
    check_conditions(params.space_groups, params.energies, params.count, params.steps)
    if (total := count_of(params)) > MAX_CANDIDATES:
        raise UserError(f"That asks for {total:,} candidates; {MAX_CANDIDATES:,} is the limit.")
    params = with_levels(params)
    return [Wish(i, *asked) for i, asked in enumerate(_asked(params))]


def _asked(params: GenerateParams) -> Iterator[tuple[tuple[int, ...], str, int | None, float | None, str, int]]:
    """(numbers, formula, group, energy, series, sample) of each candidate."""
    for i, text in enumerate(params.formulas):
        numbers, name = _content(text)
        energies: list[tuple[float | None, str]] = [(energy, "") for energy in params.energies]
        for ladder in params.ladders:
            energies += [(e, series_of(ladder)) for e in rungs(params.levels[i], ladder, params.every)]
        for group in params.space_groups or (None,):
            for energy, series in energies or [(None, "")]:
                for sample in range(params.count):
                    yield numbers, name, group, energy, series, sample


def _content(text: str) -> tuple[tuple[int, ...], str]:
    cell = read_cell(text)
    if cell.natoms > MAX_SITES:
        raise UserError(f"{text} holds {cell.natoms} atoms; a cell may hold {MAX_SITES}.")
    return tuple(atomic_numbers(parse_formula(cell.formula))), cell.formula
