"""Generate candidates: every combination of formula, space group and energy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from core.data.formulas import FormulaError, atomic_numbers, parse_formula
from core.models.state import Conditions, conditions_for
from core.workflows.context import Context, UserError
from core.workflows.design import MAX_CANDIDATES, MAX_SITES, Chain, check_conditions, run_wishes
from core.workflows.judging import Keeper, Wish
from core.workflows.models import load_model
from core.workflows.store import store
from db import candidates as rows


@dataclass(frozen=True)
class GenerateParams(Chain):
    """formulas: cell contents as typed; space_groups and energies (eV/atom): empty asks for none in particular.

    count: candidates per combination; sampler: a way of drawing (`core.samplers.registry.draws_of`), "" the model's
    """

    model: str
    formulas: tuple[str, ...]
    space_groups: tuple[int, ...] = ()
    energies: tuple[float, ...] = ()
    count: int = 8
    steps: int = 50
    seed: int = 0
    sampler: str = ""


def generate(params: GenerateParams, context: Context) -> dict[str, Any]:
    """Draw, judge and keep every candidate that is not in the store yet (after an interruption, the rest)."""
    model = load_model(params.model).drawn_by(params.sampler)
    if model.row.task != "generation":
        raise UserError(f"{params.model} modifies structures; choose a model for generation.")

    def conditions(part: list[Wish]) -> Conditions:
        return conditions_for([w.numbers for w in part], [w.group for w in part], [w.energy for w in part])

    return run_wishes(
        plan(params), conditions, params.steps, params.seed, Keeper(model, context.job_id, params), context
    )


def candidates_of(job_id: int) -> list[int]:
    """Ids of a run's candidates, in order."""
    with store().session() as session:
        wanted = rows.CandidateFilter(job_id=job_id)
        return [c.id for c in rows.page_candidates(session, wanted, limit=MAX_CANDIDATES)]


def plan(params: GenerateParams) -> list[Wish]:
    """Every candidate asked for, in order. Raises UserError for conditions that cannot be."""
    if not params.formulas:
        raise UserError("Write a formula, such as Ta1W1B6.")
    check_conditions(params.space_groups, params.energies, params.count, params.steps)
    combinations = len(params.formulas) * max(1, len(params.space_groups)) * max(1, len(params.energies))
    if combinations * params.count > MAX_CANDIDATES:
        raise UserError(f"That asks for {combinations * params.count:,} candidates; {MAX_CANDIDATES:,} is the limit.")
    contents = [_content(text) for text in params.formulas]
    asked = itertools.product(contents, params.space_groups or (None,), params.energies or (None,), range(params.count))
    return [Wish(i, numbers, name, group, energy) for i, ((numbers, name), group, energy, _) in enumerate(asked)]


def _content(text: str) -> tuple[tuple[int, ...], str]:
    try:
        counts = parse_formula(text)
    except FormulaError as error:
        raise UserError(str(error)) from error
    total = sum(counts.values())
    if total > MAX_SITES:
        raise UserError(f"{text} holds {total} atoms; a cell may hold {MAX_SITES}.")
    return tuple(atomic_numbers(counts)), "".join(f"{s}{n}" for s, n in counts.items())
