"""What generation and modification share: draw what is asked for, judge it, relax it, place it on a hull; one job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.crystals import Crystals, concatenate
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
from core.workflows.context import Context, UserError
from core.workflows.design_cost import Cost, cost_of
from core.workflows.judging import Keeper, Wish
from core.workflows.method import Asked, Drawn, Method, asked_of
from core.workflows.ranking import Judge, Ranked
from core.workflows.store import store
from db import candidates as rows

MAX_CANDIDATES = 100_000
_BATCH = 32

__all__ = [
    "MAX_CANDIDATES",
    "MAX_SITES",
    "Chain",
    "check_conditions",
    "run_chain",
    "run_wishes",
]


def run_chain(
    method: Method,
    wishes: list[Wish],
    steps: int,
    seed: int,
    keeper: Keeper,
    context: Context,
    chain: Chain,
    starts: Mapping[int, Crystals] | None = None,
) -> dict[str, Any]:
    """Draw, judge, relax and place as one job; started again it goes on with what is not in the store yet.

    starts: the structure to modify in cells of so many atoms, batches of one
    Returns what `core.workflows.chain.summarise` says, and where the method had fewer crystals than there are wishes,
    `missing`. Raises Cancelled (what is done is kept) and UserError.
    """
    check_chain(chain)
    stages = stages_of(chain)
    sizes = [len(w.numbers) for w in wishes]
    cost = cost_of(method, sizes, steps, chain, context.device) if len(stages) > 2 else Cost(0.0, 0.0)
    later, share = cost.relax_s, _draw_share(cost)
    draw, batch = method.draw, _BATCH
    if chain.draws > 1:
        draw = Ranked(method, chain.draws, Judge(chain.potential or "", chain.rank_steps, context)).draw
        batch = max(1, _BATCH // chain.draws)
    drawing = Stage(context, f"1–2 of {len(stages)}" if len(stages) > 2 else "", 0.0, share, later)
    missing = run_wishes(draw, wishes, steps, seed, keeper, drawing, starts, batch)
    if len(stages) > 2:
        stage = Stage(context, f"3 of {len(stages)}", share, 0.99 - share)
        (take_energies if chain.relax == "none" else relax_drawn)(chain, stage)
        context.progress(0.99, f"4 of {len(stages)} · placing on the hull")
    return summarise(context.job_id, chain) | ({"missing": missing} if missing else {})


def _draw_share(cost: Cost) -> float:
    """The part of the job that drawing takes, by what is expected of this machine."""
    if not cost.relax_s:
        return 1.0
    return min(max(cost.draw_s / cost.total_s, 0.02), 0.9)


def run_wishes(
    draw: Callable[[Asked, int, Context], Drawn],
    wishes: list[Wish],
    steps: int,
    seed: int,
    keeper: Keeper,
    context: Context,
    starts: Mapping[int, Crystals] | None = None,
    batch: int = _BATCH,
) -> int:
    """Draw what is asked for and not in the store yet, batch by batch of like sizes, and keep it.

    Returns how many wishes the method had nothing for.
    """
    with store().session() as session:
        done = rows.candidate_indices(session, context.job_id)
    todo = sorted((w for w in wishes if w.index not in done), key=lambda w: len(w.numbers))
    started, missing = time.monotonic(), 0
    for first in range(0, len(todo), batch):
        part = todo[first : first + batch]
        drawn = draw(_asked(part, seed, starts), steps, context)
        keeper.keep([part[i] for i in drawn.which], drawn.crystals, drawn.origins)
        missing += len(part) - len(drawn)
        finished = first + len(part)
        left = (time.monotonic() - started) / finished * (len(todo) - finished)
        count = len(done) + finished
        context.progress(count / len(wishes), f"drawing and judging {count:,} of {len(wishes):,}", left)
    return missing


def _asked(wishes: Sequence[Wish], seed: int, starts: Mapping[int, Crystals] | None) -> Asked:
    return asked_of(
        [w.numbers for w in wishes],
        [w.group for w in wishes],
        [w.energy for w in wishes],
        [w.sample for w in wishes],
        _seeds(seed, wishes),
        concatenate([starts[len(w.numbers)] for w in wishes]) if starts else None,
    )


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
