"""Are two crystals the same? pymatgen's StructureMatcher, within a formula.

Verdicts are those of `StructureMatcher(**TOLERANCES[name]).get_rms_dist`; the work is done on arrays (`reduction`,
`pairing`), where it takes about a quarter of the time.
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from core.evaluation.pairing import Tolerances, least_rms
from core.evaluation.reduction import Cell, Reduced, cell_of, content, is_hopeless, reduce_cell

TOLERANCES: dict[str, dict[str, Any]] = {
    "paper": {"ltol": 0.2, "stol": 0.3, "angle_tol": 5.0},
    "field": {"ltol": 0.3, "stol": 0.5, "angle_tol": 10.0},
}
LIMIT_S = 20.0  # of one pair


def matcher(name: str = "paper") -> StructureMatcher:
    """The matcher of the paper, or the wider one of the field. Raises ValueError for another name."""
    check_matcher(name)
    return StructureMatcher(**TOLERANCES[name])


def check_matcher(name: str) -> None:
    """Raises ValueError for a name that is no matcher's."""
    if name not in TOLERANCES:
        raise ValueError(f"There is no matcher {name!r}: choose paper or field.")


def rms_distance(a: Structure, b: Structure, name: str = "paper") -> float | None:
    """RMS displacement normalised by (V/N)^⅓, or None where the two do not match, or one is no crystal.

    Raises ValueError for an unknown matcher, and nothing else.
    """
    check_matcher(name)
    first, second = cell_of(a), cell_of(b)
    if first is not None and second is not None:
        return cell_distance(first, second, name)
    if a.composition.reduced_formula != b.composition.reduced_formula:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = matcher(name).get_rms_dist(a, b)
    except Exception:  # a broken cell matches nothing
        return None
    return None if found is None else float(found[0])


def cell_distance(first: Cell, second: Cell, name: str = "paper") -> float | None:
    """The same for arrays; never raises but at a time limit."""
    if is_hopeless(first) or is_hopeless(second) or content(first.numbers) != content(second.numbers):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target = reduce_cell(second)
            drawn = reduce_cell(first) if target is not None else None
            if drawn is None or target is None:
                return None
            return least_rms(drawn, target, Tolerances(**TOLERANCES[name]))
    except TimeoutError:
        raise
    except Exception:  # a broken cell matches nothing
        return None


def first_match(structure: Structure, others: Sequence[Structure], name: str = "paper") -> int | None:
    """Index of the first of the others that is the same crystal, or None."""
    return next((i for i, other in enumerate(others) if rms_distance(structure, other, name) is not None), None)


def first_reduced(
    query: Reduced, others: Sequence[Reduced], name: str = "paper", limit_s: float = LIMIT_S
) -> int | None:
    """Index of the first of the others that is the same crystal, or None; a pair over the time limit is no match.

    The limit holds in a process' main thread only.
    """
    tolerances = Tolerances(**TOLERANCES[name])
    with _interruptible() as limited, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, other in enumerate(others):
            if _timed(partial(least_rms, query, other, tolerances), limit_s if limited else 0.0) is not None:
                return i
    return None


def cell_distances(pairs: Sequence[tuple[Cell, Cell]], name: str, limit_s: float = LIMIT_S) -> list[float | None]:
    """One after the other; a pair that takes longer than `limit_s` is given up and counts as None.

    The limit holds in a process' main thread, where signals can be used; elsewhere there is none.
    """
    with _interruptible() as limited:
        return [_limited(first, second, name, limit_s if limited else 0.0) for first, second in pairs]


def _limited(first: Cell, second: Cell, name: str, limit_s: float) -> float | None:
    return _timed(partial(cell_distance, first, second, name), limit_s)


def _timed(match: Callable[[], float | None], limit_s: float) -> float | None:
    """What it gives, None where that takes too long or the cell is broken; limit_s: 0 for no limit."""
    try:
        try:
            if limit_s:
                signal.setitimer(signal.ITIMER_REAL, limit_s)
            return match()
        finally:
            if limit_s:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except Exception:  # TimeoutError too: a broken cell matches nothing
        return None


@contextmanager
def _interruptible() -> Iterator[bool]:
    """SIGALRM raises TimeoutError inside; gives whether it can."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    try:
        yield True
    finally:
        signal.signal(signal.SIGALRM, before)
