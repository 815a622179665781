"""Relaxations on several cores: the same batches in processes beside this one, which end with it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from core.crystals import Crystals, concatenate
from core.energy.load import load_potential
from core.energy.relaxation import RelaxationConfig, Relaxed, relax
from core.evaluation.pool import begin_process

CHUNK = 24  # crystals handed over at once
_POLL_S = 0.3
_stop: Event | None = None


def relax_on_cores(
    crystals: Crystals,
    key: str,
    m3gnet_folder: Path | None,
    config: RelaxationConfig,
    processes: int,
    on_step: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Relaxed:
    """What `relax` gives, with one thread and one potential (loaded by its key) in each of so many processes.

    on_step(finished, 0) follows every chunk. Each process takes some seconds and 0.7 GB to start. Raises
    PotentialError where the potential cannot be used, MemoryError where a process was ended from outside. With "spawn":
    a script that uses it needs `if __name__ == "__main__"`.
    """
    order = sorted(range(len(crystals)), key=lambda i: -int(crystals.natoms[i]))
    size = max(1, min(CHUNK, -(-len(order) // (4 * processes))))
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    context = multiprocessing.get_context("spawn")  # a fork would copy locks and threads
    stop = context.Event()
    found: dict[int, Relaxed] = {}
    with ProcessPoolExecutor(processes, context, _begin, (stop,)) as pool:
        futures = {
            pool.submit(_relax_chunk, crystals[rows].trim(), key, m3gnet_folder, config): i
            for i, rows in enumerate(chunks)
        }
        try:
            _collect(futures, found, [len(rows) for rows in chunks], stop, on_step, cancelled)
        except BrokenProcessPool as error:
            raise MemoryError("a process that relaxed crystals was ended from outside") from error
        except BaseException:
            stop.set()
            raise
    return _in_order([found[i] for i in range(len(chunks))], [row for rows in chunks for row in rows])


def _collect(
    futures: dict[Future[Relaxed], int],
    found: dict[int, Relaxed],
    sizes: list[int],
    stop: Event,
    on_step: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    left = set(futures)
    while left:
        done, left = wait(left, _POLL_S, FIRST_COMPLETED)
        for future in done:
            found[futures[future]] = future.result()
        if on_step and done:
            on_step(sum(sizes[i] for i in found), 0)
        if cancelled and cancelled():
            stop.set()


def _in_order(parts: list[Relaxed], rows: list[int]) -> Relaxed:
    """The parts as one, crystal rows[k] being the k-th of them."""
    back = torch.tensor(rows).argsort()
    status = [s for p in parts for s in p.status]
    trajectories = [t for p in parts for t in p.trajectories]
    order = back.tolist()
    return Relaxed(
        concatenate([p.crystals for p in parts])[back],
        torch.cat([p.energy_before for p in parts])[back],
        torch.cat([p.energy_after for p in parts])[back],
        torch.cat([p.steps for p in parts])[back],
        torch.cat([p.max_force for p in parts])[back],
        [status[i] for i in order],
        [trajectories[i] for i in order] if trajectories else [],
    )


def _relax_chunk(crystals: Crystals, key: str, m3gnet_folder: Path | None, config: RelaxationConfig) -> Relaxed:
    return relax(crystals, load_potential(key, m3gnet_folder), config, None, _stop.is_set if _stop else None)


def _begin(stop: Event) -> None:
    global _stop
    begin_process()
    torch.set_num_threads(1)
    _stop = stop
