"""The same crystal twice: within a formula, the lowest in energy is kept."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np

from core.crystals import Crystals, to_structures
from core.data.recipe import Columns
from core.evaluation.matching import matcher
from core.processes import end_with_parent

_AHEAD = 64  # formulas handed out before the first comes back

Work = tuple[np.ndarray, Crystals, np.ndarray]


def find_duplicates(
    columns: Columns, keep: np.ndarray, energy: np.ndarray, processes: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Formula by formula: (structures compared, rows that match a lower one of their formula).

    keep: (M,) bool rows to compare; energy: (M,) eV/atom, unknown counts as highest. Same crystal: the paper's matcher.
    """
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(columns.formula[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(columns.formula[rows])) + 1)
    work = (_content(columns, group, energy) for group in groups if len(group) > 1)
    count = processes or os.cpu_count() or 1
    if count == 1:
        yield from map(_of_one_formula, work)
        return
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        pending: deque[Future[tuple[int, np.ndarray]]] = deque()
        try:
            for one in work:
                pending.append(pool.submit(_of_one_formula, one))
                if len(pending) >= _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _content(columns: Columns, group: np.ndarray, energy: np.ndarray) -> Work:
    order = group[np.argsort(np.where(np.isfinite(energy[group]), energy[group], np.inf), kind="stable")]
    parts = {k: columns.arrays[k] for k in np.unique(columns.part[order]).tolist()}
    if len(parts) == 1:
        crystals = next(iter(parts.values())).crystals(columns.row[order])
    else:
        from core.crystals import concatenate

        crystals = concatenate([parts[int(columns.part[i])].crystals(columns.row[[i]]) for i in order])
    return order, crystals, energy[order]


def _of_one_formula(work: Work) -> tuple[int, np.ndarray]:
    rows, crystals, _ = work
    same = matcher("paper")
    kept: list[int] = []
    twice: list[int] = []
    structures = to_structures(crystals)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, structure in enumerate(structures):
            try:
                found = any(same.fit(structure, structures[k]) for k in kept)
            except Exception:  # a broken cell matches nothing
                found = False
            (twice if found else kept).append(i)
    return len(rows), rows[twice]
