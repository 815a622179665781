"""What generation and modification share: draw what is asked for, judge it, relax it, place it on a hull; one job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from core.crystals import Crystals
from core.models.state import Conditions
from core.samplers.drawing import draw_crystals
from core.workflows.chain import (
    Chain,
    Stage,
    check_chain,
    relax_drawn,
    stages_of,
    summarise,
    take_energies,
)
from core.workflows.compositions import MAX_SITES
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.design_cost import draw_seconds, relax_seconds
from core.workflows.held import draw_held
from core.workflows.judging import Keeper, Wish
from core.workflows.models import LoadedModel
from core.workflows.store import store
from db import candidates as rows

MAX_CANDIDATES = 100_000
_BATCH = 32

__all__ = [
    "MAX_CANDIDATES",
    "MAX_SITES",
    "Chain",
    "check_conditions",
    "check_sites",
    "draw",
    "run_chain",
    "run_wishes",
]


def run_chain(
    wishes: list[Wish],
    conditions_of: Callable[[list[Wish]], Conditions],
    steps: int,
    seed: int,
    keeper: Keeper,
    context: Context,
    chain: Chain,
) -> dict[str, Any]:
    """Draw, judge, relax and place as one job; started again it goes on with what is not in the store yet.

    Returns what `core.workflows.chain.summarise` says. Raises Cancelled (what is done is kept) and UserError.
    """
    check_chain(chain)
    stages = stages_of(chain)
    sizes = [len(w.numbers) for w in wishes]
    later = relax_seconds(chain, sizes, context.device) if len(stages) > 2 else 0.0
    share = _draw_share(keeper.model, sizes, steps, later, context.device)
    run_wishes(
        wishes,
        conditions_of,
        steps,
        seed,
        keeper,
        Stage(context, f"1–2 of {len(stages)}" if len(stages) > 2 else "", 0.0, share, later),
    )
    if len(stages) > 2:
        stage = Stage(context, f"3 of {len(stages)}", share, 0.99 - share)
        (take_energies if chain.relax == "none" else relax_drawn)(chain, stage)
        context.progress(0.99, f"4 of {len(stages)} · placing on the hull")
    return summarise(context.job_id, chain)


def _draw_share(model: LoadedModel, sizes: Sequence[int], steps: int, later_s: float, device: str) -> float:
    """The part of the job that drawing takes, by what is expected of this machine."""
    if not later_s:
        return 1.0
    drawing = draw_seconds(model, sizes, steps, device)
    return min(max(drawing / (drawing + later_s), 0.02), 0.9)


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
        context.progress(count / len(wishes), f"drawing and judging {count:,} of {len(wishes):,}", left)
    return {"candidates": len(wishes), "valid": keeper.valid}


def check_conditions(space_groups: Sequence[int], energies: Sequence[float], count: int, steps: int) -> None:
    """Raises UserError for a space group, an energy (eV/atom) or a number that cannot be."""
    if count < 1 or steps < 1:
        raise UserError("Candidates per combination and steps must be 1 or more.")
    wrong = [g for g in space_groups if not 1 <= g <= 230]
    if wrong:
        raise UserError(f"{wrong[0]} is no space group: they are numbered 1 to 230.")
    if any(not math.isfinite(e) or abs(e) > 20 for e in energies):
        raise UserError("An energy must be a number of eV/atom between -20 and 20.")


def _seeds(seed: int, wishes: Sequence[Wish]) -> list[int]:
    """A seed per candidate, so that it comes out the same in whatever batch it is drawn."""
    return [(1_000_003 * seed + w.index) % (2**63 - 1) for w in wishes]


def draw(model: LoadedModel, conditions: Conditions, steps: int, seeds: Sequence[int], context: Context) -> Crystals:
    """Sample one crystal per condition, each from a seed of its own. Raises Cancelled between steps, and UserError."""
    check_sites(model, conditions.numbers.shape[1])

    def stop(_: int) -> bool:
        return context.cancelled()

    drawing = draw_held if model.hold_group else draw_crystals
    crystals = drawing(model.network.to(context.device), model.sampler, conditions, seeds, steps, stop)
    if context.cancelled():
        raise Cancelled
    return crystals


def check_sites(model: LoadedModel, natoms: int) -> None:
    """Raises UserError where the model's network cannot hold so many atoms."""
    limit = getattr(model.network, "max_sites", None)
    if limit and natoms > limit:
        raise UserError(f"{model.row.name} holds {limit} atoms in a cell; {natoms} are asked for.")
