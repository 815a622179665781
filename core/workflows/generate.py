"""Generate candidates: every combination of formula, space group and energy, judged and kept in the store."""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.crystals import Crystals, pack_cells, to_structures
from core.data.formulas import FormulaError, atomic_numbers, chemical_system, parse_formula, reduced_formula
from core.data.rows import finite
from core.evaluation.matching import first_match
from core.evaluation.validity import Verdict, group_reached, judge
from core.models.state import Conditions, conditions_for
from core.samplers.drawing import draw_crystals
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.models import LoadedModel, load_model
from core.workflows.store import store
from db import candidates as rows
from db import datasets as dataset_rows

MAX_CANDIDATES = 100_000
MAX_SITES = 64
_BATCH = 32


@dataclass(frozen=True)
class GenerateParams:
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


@dataclass(frozen=True)
class Wish:
    """One candidate asked for."""

    index: int
    numbers: tuple[int, ...]
    formula: str
    group: int | None
    energy: float | None


def generate(params: GenerateParams, context: Context) -> dict[str, Any]:
    """Draw, judge and keep every candidate that is not in the store yet (after an interruption, the rest)."""
    model = load_model(params.model).drawn_by(params.sampler)
    if model.row.task != "generation":
        raise UserError(f"{params.model} modifies structures; choose a model for generation.")

    def conditions(part: list[Wish]) -> Conditions:
        return conditions_for([w.numbers for w in part], [w.group for w in part], [w.energy for w in part])

    return run_wishes(plan(params), conditions, params.steps, params.seed, Keeper(model, context.job_id), context)


def run_wishes(
    wishes: list[Wish],
    conditions_of: Callable[[list[Wish]], Conditions],
    steps: int,
    seed: int,
    keeper: Keeper,
    context: Context,
) -> dict[str, Any]:
    """Draw what is asked for and not in the store yet, batch by batch of like sizes, and keep it."""
    with store().session() as session:
        done = rows.candidate_indices(session, context.job_id)
    todo = sorted((w for w in wishes if w.index not in done), key=lambda w: len(w.numbers))
    started = time.monotonic()
    for start in range(0, len(todo), _BATCH):
        part = todo[start : start + _BATCH]
        crystals = draw(keeper.model, conditions_of(part), steps, _seeds(seed, part), context)
        keeper.keep(part, crystals)
        finished = start + len(part)
        left = (time.monotonic() - started) / finished * (len(todo) - finished)
        count = len(done) + finished
        context.progress(count / len(wishes), f"{count:,} of {len(wishes):,} candidates", left)
    return {"candidates": len(wishes), "valid": keeper.valid}


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


def check_conditions(space_groups: Sequence[int], energies: Sequence[float], count: int, steps: int) -> None:
    """Raises UserError for a space group, an energy (eV/atom) or a number that cannot be."""
    if count < 1 or steps < 1:
        raise UserError("Candidates per combination and steps must be 1 or more.")
    wrong = [g for g in space_groups if not 1 <= g <= 230]
    if wrong:
        raise UserError(f"{wrong[0]} is no space group: they are numbered 1 to 230.")
    if any(not math.isfinite(e) or abs(e) > 20 for e in energies):
        raise UserError("An energy must be a number of eV/atom between -20 and 20.")


def _content(text: str) -> tuple[tuple[int, ...], str]:
    try:
        counts = parse_formula(text)
    except FormulaError as error:
        raise UserError(str(error)) from error
    total = sum(counts.values())
    if total > MAX_SITES:
        raise UserError(f"{text} holds {total} atoms; a cell may hold {MAX_SITES}.")
    return tuple(atomic_numbers(counts)), "".join(f"{s}{n}" for s, n in counts.items())


def _seeds(seed: int, wishes: Sequence[Wish]) -> list[int]:
    """A seed per candidate, so that it comes out the same in whatever batch it is drawn."""
    return [(1_000_003 * seed + w.index) % (2**63 - 1) for w in wishes]


def draw(model: LoadedModel, conditions: Conditions, steps: int, seeds: Sequence[int], context: Context) -> Crystals:
    """Sample one crystal per condition, each from a seed of its own. Raises Cancelled between steps, and UserError."""
    check_sites(model, conditions.numbers.shape[1])

    def stop(_: int) -> bool:
        return context.cancelled()

    crystals = draw_crystals(model.network.to(context.device), model.sampler, conditions, seeds, steps, stop)
    if context.cancelled():
        raise Cancelled
    return crystals


def check_sites(model: LoadedModel, natoms: int) -> None:
    """Raises UserError where the model's network cannot hold so many atoms."""
    limit = getattr(model.network, "max_sites", None)
    if limit and natoms > limit:
        raise UserError(f"{model.row.name} holds {limit} atoms in a cell; {natoms} are asked for.")


class Keeper:
    """Judges candidates and writes them; remembers what it has seen to tell what is unique and what is new."""

    def __init__(self, model: LoadedModel, job_id: int) -> None:
        self.model, self.job_id, self.valid = model, job_id, 0
        self._siblings: dict[str, list[Any]] = defaultdict(list)
        self._known: dict[str, list[Any]] = {}

    def keep(self, wishes: Sequence[Wish], crystals: Crystals) -> None:
        """Write one batch of candidates, in one transaction."""
        values = [
            self._row(wish, verdict, structure, cell)
            for wish, verdict, structure, cell in zip(
                wishes, judge(crystals), _structures(crystals), _cells(crystals), strict=True
            )
        ]
        with store().session() as session:
            rows.add_candidates(session, values)
        self.valid += sum(v["valid"] for v in values)

    def _row(self, wish: Wish, verdict: Verdict, structure: Any, cell: bytes) -> dict[str, Any]:
        counts = parse_formula(wish.formula)
        reduced = reduced_formula(counts)
        group, symprec = group_reached(verdict, wish.group)
        novel = unique = None
        if verdict.valid:
            unique = first_match(structure, self._siblings[reduced]) is None
            novel = first_match(structure, self._training(reduced)) is None
            self._siblings[reduced].append(structure)
        return {
            "job_id": self.job_id,
            "index": wish.index,
            "model": self.model.row.name,
            "formula": wish.formula,
            "reduced_formula": reduced,
            "chemical_system": chemical_system(counts),
            "natoms": len(wish.numbers),
            "group_asked": wish.group,
            "group_found": group,
            "symprec": symprec,
            "energy_asked": wish.energy,
            "energy_method": self.model.row.energy_method,
            "min_distance": finite(verdict.min_distance),
            "volume": finite(verdict.volume),
            "valid": verdict.valid,
            "problem": verdict.problem,
            "novel": novel,
            "unique": unique,
            "cell": cell,
        }

    def _training(self, formula: str) -> list[Any]:
        """Structures of this formula in the dataset the model learned from, where that is still in the store."""
        if formula not in self._known:
            self._known[formula] = list(training_structures(self.model, formula))
        return self._known[formula]


def training_structures(model: LoadedModel, formula: str) -> Iterator[Any]:
    """Structures of a reduced formula in the model's dataset; none where that is gone."""
    from core.workflows.datasets import load_tensors

    with store().session() as session:
        dataset = dataset_rows.find_dataset(session, str(model.row.card.get("dataset_hash", "")))
    if dataset is None:
        return
    data = load_tensors(dataset)
    if formula in data.formulas:
        chosen = torch.nonzero(data.formula == data.formulas.index(formula)).flatten()
        yield from to_structures(data.crystals[chosen])


def _structures(crystals: Crystals) -> list[Any]:
    finite = torch.isfinite(crystals.lattice).flatten(1).all(1)
    return [to_structures(crystals[[i]])[0] if bool(finite[i]) else None for i in range(len(crystals))]


def _cells(crystals: Crystals) -> list[bytes]:
    frac = crystals.frac.nan_to_num()
    return pack_cells(Crystals(frac, crystals.lattice, crystals.numbers, crystals.group, crystals.energy))
