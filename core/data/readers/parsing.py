"""Raw rows into records, in processes beside this one where there are many; a row that hangs is given up."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

import orjson

from core.data.aflow.entries import as_row, dft_type, is_entry
from core.data.readers.batch import from_rows
from core.data.readers.records import Energies, Problem, Record, from_row
from core.data.readers.sources import MAX_CIF, MAX_LINE, Raw, kind_of
from core.data.readers.structures import (
    Parsed,
    parse_aflow_text,
    parse_cif,
    parse_extxyz,
    parse_poscar,
    parse_pymatgen,
)
from core.processes import end_with_parent

CHUNK = 500
ALONE = 4_000  # so many quick rows are parsed here before processes beside this one could start
_ALONE_BYTES = 20_000_000
AHEAD = 32  # chunks handed to the parsing processes before the first comes back
SECONDS_PER_ROW = 20.0


def parse_rows(
    rows: Iterable[Raw], method: str, processes: int | None = None, dft_types: tuple[str, ...] = ()
) -> Iterator[Parsed]:
    """Records and problems, chunk by chunk, in the order of the rows; `method` names energies without a source.

    dft_types: AFLOW's entries of other DFT types are problems (none given: all are taken, as methods of their own)
    """
    rows = iter(rows)
    few, more = _look_ahead(rows)
    processes = processes or os.cpu_count() or 1
    if not more or processes == 1:
        for chunk in _chunks(chain(few, rows)):
            yield parse_chunk((chunk, method, dft_types))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the heartbeat's locks and connections
    with ProcessPoolExecutor(processes, context, _quiet) as pool:
        pending: deque[Future[Parsed]] = deque()
        try:
            for chunk in _chunks(chain(few, rows)):
                pending.append(pool.submit(parse_chunk, (chunk, method, dft_types)))
                if len(pending) >= AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise MemoryError("a process that parsed rows was ended from outside") from error
        finally:
            for future in pending:
                future.cancel()


def parse_chunk(work: tuple[list[Raw], str, tuple[str, ...]]) -> Parsed:
    """Every row of a chunk, in order: its records, or its problem."""
    raws, method, dft_types = work
    rows: dict[int, Any] = {}
    others: dict[int, str] = {}  # entries of a DFT type that was not asked for
    for number, raw in enumerate(raws):
        if raw.kind == "json":
            with suppress(ValueError, TypeError, OverflowError, RecursionError):  # said in words below
                row = orjson.loads(raw.text)
                entry = isinstance(row, dict) and is_entry(row)
                rows[number] = as_row(row) if entry else row
                if entry and dft_types and (kind := dft_type(row)) not in dft_types:
                    others[number] = kind
    quick = from_rows([(n, raws[n].place, row) for n, row in rows.items() if isinstance(row, dict)], method)
    records: list[Record] = []
    problems: list[Problem] = []
    for number, raw in enumerate(raws):
        if number in others:
            sentence = f"it was computed with {others[number]}, not with {' or '.join(dft_types)}"
            problems.append(Problem("other DFT type", sentence, raw.place))
            continue
        if number in quick:
            records.append(quick[number])
            continue
        try:
            with _time_limit(SECONDS_PER_ROW), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                some, lost = _parse(raw, method)
                records += some
                problems += [Problem(p.reason, p.detail, raw.place) for p in lost]
        except Problem as problem:
            problems.append(Problem(problem.reason, problem.detail, raw.place))
        except TimeoutError:
            problems.append(Problem("too slow", f"it was given up after {SECONDS_PER_ROW:.0f} s", raw.place))
        except RecursionError:
            problems.append(Problem("malformed", "its JSON is nested too deeply", raw.place))
        except Exception as error:
            # readers of foreign formats fail in many ways; the file goes on
            detail = " ".join(str(error).split())[:200] or type(error).__name__
            problems.append(Problem("unreadable", detail, raw.place))
    return records, problems


def _parse(raw: Raw, method: str) -> Parsed:
    energies: Energies = {method: (None, raw.energy)} if raw.energy is not None else {}
    if raw.kind in ("json", "pymatgen"):
        try:
            row = json.loads(raw.text)
        except ValueError as error:
            raise Problem("malformed", f"it is no JSON: {error}") from error
        if raw.kind == "pymatgen":
            return parse_pymatgen(row, raw.place, raw.label, method)
        return [from_row(as_row(row) if isinstance(row, dict) and is_entry(row) else row, raw.place, method)], []
    if raw.kind == "cif":
        return parse_cif(raw.text, raw.place, raw.label, energies)
    if raw.kind == "poscar":
        return parse_poscar(raw.text, raw.place, raw.label, energies)
    if raw.kind == "extxyz":
        return parse_extxyz(raw.text, raw.place, raw.label, method)
    if raw.kind == "aflow":
        return parse_aflow_text(raw.text, raw.place, method)
    if raw.kind == "too long":
        limit = MAX_CIF if kind_of(raw.place) else MAX_LINE
        raise Problem("too large", f"it is longer than {limit // 10**6} MB")
    raise Problem("unreadable", raw.text)


def _look_ahead(rows: Iterator[Raw]) -> tuple[list[Raw], bool]:
    """The first rows, and whether there is more work than one process should do. CIFs count for many rows."""
    few: list[Raw] = []
    weight = size = 0
    for raw in rows:
        few.append(raw)
        weight += 1 if raw.kind == "json" else ALONE // CHUNK
        size += len(raw.text)
        if weight > ALONE or size > _ALONE_BYTES:
            return few, True
    return few, False


def _chunks(rows: Iterable[Raw]) -> Iterator[list[Raw]]:
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _quiet() -> None:
    end_with_parent()
    gc.set_threshold(100_000)  # rows are lists of lists, none of them a cycle
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError after so many seconds, where signals can be used (a process' main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
