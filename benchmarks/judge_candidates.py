"""How fast candidates are judged: `python -m benchmarks.judge_candidates [COUNT] [--formula F] [--processes N]`.

Draws COUNT candidates of one formula with the starter generator, in a store of its own, and prints the rate of each
step and of `Keeper.keep`, which does them all and writes the rows. Then the worst case of telling what is unique: cells
of those candidates widened until all of them are valid, so that nearly all pairs have to be compared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from core.crystals import Crystals, concatenate
from core.data.formulas import atomic_numbers, parse_formula, reduced_formula
from core.evaluation.charge_balance import charge_balanced
from core.evaluation.contacts import find_contacts
from core.evaluation.family import Family, repeats
from core.evaluation.pool import MatchPool, cells_of
from core.evaluation.reduction import Cell
from core.evaluation.symmetrising import symmetrise
from core.evaluation.validity import TIGHT, judge
from core.models.state import conditions_for
from core.samplers.drawing import draw_crystals
from core.workflows.chain import Chain
from core.workflows.judging import Keeper, Wish
from core.workflows.methods import Trained
from core.workflows.models import LoadedModel, load_model
from core.workflows.novelty import Novelty
from core.workflows.starter import install
from core.workflows.store import store
from db import jobs

_BATCH = 50


def drawn(model: LoadedModel, numbers: Sequence[int], count: int, steps: int = 30) -> Crystals:
    """`count` candidates of one cell content, half of them with space group 191 asked for."""
    parts = []
    for start in range(0, count, _BATCH):
        groups = [191 if k % 2 else None for k in range(_BATCH)]
        asked = conditions_for([tuple(numbers)] * _BATCH, groups, [-0.4] * _BATCH)
        seeds = list(range(start, start + _BATCH))
        parts.append(draw_crystals(model.network, model.sampler, asked, seeds, steps))
    return concatenate(parts)[:count]


def widened(crystals: Crystals) -> Crystals:
    """The same with every cell that is too tight scaled up until its closest atoms are apart enough."""
    lattice = crystals.lattice.clone()
    for i, cell in enumerate(cells_of(crystals)):
        lattice[i] *= max(1.0, 1.01 * TIGHT / find_contacts(cell).tight[3])
    return replace(crystals, lattice=lattice)


def timed(what: str, count: int, work: Callable[[], Any]) -> Any:
    started, cpu = time.perf_counter(), time.process_time()
    found = work()
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"  {what}: {took:.2f} s ({cpu:.2f} s of this process), {count / took:,.0f} structures/s", flush=True)
    return found


def report_steps(model: LoadedModel, crystals: Crystals, formula: str) -> None:
    """Each step by itself, in one process."""
    count = len(crystals)
    verdicts = timed("distances, volume, gaps", count, lambda: judge(crystals, ()))
    grouped = timed("the same and space groups at five tolerances", count, lambda: judge(crystals))
    valid = crystals[[v.valid for v in verdicts]]
    print(f"  valid: {len(valid)} of {count}")
    some = [(i, v.groups) for i, v in enumerate(grouped) if v.groups][:100]
    found = timed(
        "symmetrised to the group that they have at 0.3 Å",
        len(some),
        lambda: [symmetrise(crystals[[i]], groups[0.3], groups) for i, groups in some],
    )
    print(f"  on that group within 0.001 Å: {sum(f is not None for f in found)} of {len(some)}")
    charge_balanced.cache_clear()
    timed("charges, a formula", 1, lambda: charge_balanced(formula))
    novelty = Novelty(model.row.card.get("dataset_hash", ""))
    cells = cells_of(valid)
    timed(
        "new against what the model learned from", len(cells), lambda: [novelty.new_against(c, formula) for c in cells]
    )
    twice = timed("unique among siblings", len(cells), lambda: repeats(cells, Family()))
    print(f"  repeats: {sum(twice)}")


def keep_all(model: LoadedModel, crystals: Crystals, wishes: list[Wish]) -> None:
    with store().session() as session:
        job_id = jobs.add_job(session, kind="generate", title="benchmark", params={}, device="cpu")
    keeper = Keeper(Trained(model).about, job_id, Chain(symmetrise=True))
    for start in range(0, len(crystals), 32):
        keeper.keep(wishes[start : start + 32], crystals[start : start + 32])


def report_worst(cells: list[Cell], processes: int) -> None:
    alone = timed("unique among siblings, one process", len(cells), lambda: repeats(cells, Family()))
    with MatchPool(processes) as pool:
        pool.submit_cells([(cells[0], cells[0])]).result()
        found = timed(f"the same with {processes} processes", len(cells), lambda: repeats(cells, Family(), pool))
    differ = sum(a != b for a, b in zip(alone, found, strict=True))
    print(f"  different: {len(cells) - sum(alone)}; verdicts that differ: {differ}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=1000)
    parser.add_argument("--formula", default="Ta1W1B6")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SUBHULL_VAR"] = folder
        install()
        model, counts = load_model("starter-generator"), parse_formula(asked.formula)
        numbers = tuple(atomic_numbers(counts))
        wishes = [Wish(i, numbers, asked.formula, 191 if i % 2 else None, -0.4) for i in range(asked.count)]
        print(f"{asked.count:,} candidates {asked.formula}, load {os.getloadavg()[0]:.1f}")
        crystals = timed("drawn in 30 steps", asked.count, lambda: drawn(model, numbers, asked.count))
        report_steps(model, crystals, reduced_formula(counts))
        timed("judged, symmetrised and kept", asked.count, lambda: keep_all(model, crystals, wishes))
        print("all of them made valid:")
        report_worst(cells_of(widened(crystals)), asked.processes)


if __name__ == "__main__":
    main()
