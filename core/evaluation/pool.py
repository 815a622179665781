"""Many pairs of crystals matched in processes beside this one, which end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from core.evaluation.matching import LIMIT_S, cell_distances, check_matcher, rms_distance
from core.evaluation.reduction import Cell, cell_of
from core.processes import end_with_parent

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from core.crystals import Crystals  # torch is not needed by the processes

Distances = list[float | None]
CHUNK = 24  # pairs handed over at once
ALONE = 1_000  # so many pairs are done here before processes beside this one could start
_LOST = "a process that matched crystals was ended from outside"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def match_pairs(
    first: Sequence[Structure],
    second: Sequence[Structure],
    name: str = "paper",
    processes: int | None = None,
    limit_s: float = LIMIT_S,
) -> Distances:
    """For each pair the RMS displacement over (V/N)^⅓, or None where the two do not match.

    processes: None takes every core where there are many pairs; limit_s: a pair that takes longer counts as None

    Raises ValueError for an unknown matcher or sequences of two lengths, MemoryError where a process was ended from
    outside.
    """
    check_matcher(name)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} structures are no pairs")
    cells = [(cell_of(a), cell_of(b)) for a, b in zip(first, second, strict=True)]
    plain = [(i, a, b) for i, (a, b) in enumerate(cells) if a is not None and b is not None]
    found: Distances = [None] * len(cells)
    for i, distance in zip(
        [i for i, _, _ in plain], _match([(a, b) for _, a, b in plain], name, processes, limit_s), strict=True
    ):
        found[i] = distance
    for i in set(range(len(cells))) - {i for i, _, _ in plain}:  # disorder, oxidation states
        found[i] = rms_distance(first[i], second[i], name)
    return found


def _match(pairs: list[tuple[Cell, Cell]], name: str, processes: int | None, limit_s: float) -> Distances:
    here = threading.current_thread() is threading.main_thread()  # elsewhere a pair could not be interrupted
    processes = processes or len(os.sched_getaffinity(0))
    if here and (processes == 1 or len(pairs) < ALONE):
        return cell_distances(pairs, name, limit_s)
    with MatchPool(processes - here, limit_s) as pool:
        return pool.share(pairs, name) if here else pool.submit_cells(pairs, (name,)).result()[name]


def cells_of(crystals: Crystals) -> list[Cell]:
    """The crystals of a batch, each as arrays."""
    tensors = (crystals.mask, crystals.lattice, crystals.numbers, crystals.frac)
    arrays = [t.detach().cpu().numpy() for t in tensors]
    return [
        Cell(lattice.astype(np.float64), frac[keep].astype(np.float64), numbers[keep])
        for keep, lattice, numbers, frac in zip(*arrays, strict=True)
    ]


class MatchPool:
    """Processes that match while this one does something else: a context manager; they start with the first pairs.

    processes: None takes every core that this process may use; limit_s: of one pair. Each process has one thread, ends
    when this one does, however that ends, and remembers the cells that it reduced.

    With "spawn", as in `core.data.readers.parsing`: a script that uses it needs `if __name__ == "__main__"`.
    """

    def __init__(self, processes: int | None = None, limit_s: float = LIMIT_S) -> None:
        self.processes = processes or len(os.sched_getaffinity(0))
        self.limit_s = limit_s
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(wait=kind is None)

    def submit(
        self, drawn: Crystals, targets: Crystals, names: Sequence[str] = ("paper",)
    ) -> Future[dict[str, Distances]]:
        """Crystal by crystal: {matcher: RMS displacements over (V/N)^⅓, None where the two do not match}.

        Raises ValueError for an unknown matcher or batches of two lengths; the future raises MemoryError where a
        process was ended from outside.
        """
        return self.submit_cells(list(zip(cells_of(drawn), cells_of(targets), strict=True)), names)

    def submit_cells(
        self, pairs: Sequence[tuple[Cell, Cell]], names: Sequence[str] = ("paper",)
    ) -> Future[dict[str, Distances]]:
        """The same for arrays."""
        for name in names:
            check_matcher(name)
        executor = self._started()
        chunks = [pairs[i : i + CHUNK] for i in range(0, len(pairs), CHUNK)]
        parts = [executor.submit(_match_chunk, list(chunk), tuple(names), self.limit_s) for chunk in chunks]
        return _gather(parts, tuple(names))

    def share(self, pairs: Sequence[tuple[Cell, Cell]], name: str) -> Distances:
        """The same while this process matches too: from the front, the others from the back."""
        executor = self._started()
        chunks = [list(pairs[i : i + CHUNK]) for i in range(0, len(pairs), CHUNK)]
        others = [executor.submit(_match_chunk, chunk, (name,), self.limit_s) for chunk in reversed(chunks)]
        found: Distances = []
        try:
            for chunk, other in zip(chunks, reversed(others), strict=True):
                mine = other.cancel()
                found += cell_distances(chunk, name, self.limit_s) if mine else other.result()[name]
        except BrokenProcessPool as error:
            raise MemoryError(_LOST) from error
        return found

    def any_of(self, is_so: Callable[..., bool], asked: Sequence[tuple[Any, ...]]) -> bool:
        """Does a function of a module say yes to any of these arguments? What is not begun then is left.

        Raises MemoryError where a process was ended from outside.
        """
        executor = self._started()
        parts = [executor.submit(is_so, *arguments) for arguments in asked]
        try:
            found = any(part.result() for part in as_completed(parts))
        except BrokenProcessPool as error:
            raise MemoryError(_LOST) from error
        for part in parts:
            part.cancel()
        return found

    def close(self, wait: bool = True) -> None:
        """End the processes; without `wait`, pairs that are not begun are left."""
        if self._executor is not None:
            self._executor.shutdown(wait=wait, cancel_futures=not wait)
            self._executor = None

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy locks, threads and the CUDA context
            self._executor = ProcessPoolExecutor(self.processes, context, begin_process)
        return self._executor


def _gather(parts: list[Future[dict[str, Distances]]], names: tuple[str, ...]) -> Future[dict[str, Distances]]:
    """One future of all parts, in their order."""
    whole: Future[dict[str, Distances]] = Future()
    whole.set_running_or_notify_cancel()
    left, lock = [len(parts)], threading.Lock()

    def done(_: Future[dict[str, Distances]]) -> None:
        with lock:
            left[0] -= 1
            if left[0] > 0:
                return
        try:
            results = [p.result() for p in parts]
            whole.set_result({name: [d for r in results for d in r[name]] for name in names})
        except BrokenProcessPool as error:
            lost = MemoryError(_LOST)
            lost.__cause__ = error
            whole.set_exception(lost)
        except BaseException as error:  # cancelled with the pool
            whole.set_exception(error)

    for part in parts:
        part.add_done_callback(done)
    if not parts:
        whole.set_result({name: [] for name in names})
    return whole


def _match_chunk(pairs: list[tuple[Cell, Cell]], names: tuple[str, ...], limit_s: float) -> dict[str, Distances]:
    return {name: cell_distances(pairs, name, limit_s) for name in names}


def begin_process() -> None:
    """What a process does first: one thread, no warnings, the usual end at SIGTERM, and none without its parent."""
    for name in _THREADS:
        os.environ[name] = "1"
    _one_thread()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _one_thread() -> None:
    """numpy is loaded by now: its BLAS is told, too."""
    try:
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    except ImportError:
        pass
