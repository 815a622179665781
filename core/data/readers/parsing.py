"""Raw rows into records, in processes beside this one where there are many; a row that hangs is given up."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

import orjson

from core.data.readers.batch import from_rows
from core.data.readers.records import Problem, Record, from_row, from_structure
from core.data.readers.sources import MAX_CIF, MAX_LINE, Raw

CHUNK = 500
ROUND = 32  # chunks read ahead of the parsing
SECONDS_PER_ROW = 20.0

Parsed = tuple[list[Record], list[Problem]]


def parse_rows(rows: Iterable[Raw], method: str, processes: int | None = None) -> Iterator[Parsed]:
    """Records and problems, chunk by chunk, in the order of the rows; `method` names energies without a source."""
    rows = iter(rows)
    first = list(islice(rows, CHUNK))
    second = list(islice(rows, CHUNK))
    processes = processes or os.cpu_count() or 1
    if not second or processes == 1:
        yield parse_chunk((first, method))
        for chunk in _chunks(chain(second, rows)):
            yield parse_chunk((chunk, method))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the heartbeat's locks and connections
    with context.Pool(processes, initializer=_quiet) as pool:
        work = ((chunk, method) for chunk in chain([first, second], _chunks(rows)))
        while some := list(islice(work, ROUND)):  # imap would read the whole file ahead
            yield from pool.imap(parse_chunk, some)


def parse_chunk(work: tuple[list[Raw], str]) -> Parsed:
    """Every row of a chunk, in order: its records, or its problem."""
    raws, method = work
    rows: dict[int, Any] = {}
    for number, raw in enumerate(raws):
        if raw.kind == "json":
            with suppress(ValueError, RecursionError):  # said in words below
                rows[number] = orjson.loads(raw.text)
    quick = from_rows([(n, raws[n].place, row) for n, row in rows.items() if isinstance(row, dict)], method)
    records: list[Record] = []
    problems: list[Problem] = []
    for number, raw in enumerate(raws):
        if number in quick:
            records.append(quick[number])
            continue
        try:
            with _time_limit(SECONDS_PER_ROW), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                records += _parse(raw, method)
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


def _parse(raw: Raw, method: str) -> list[Record]:
    if raw.kind == "json":
        try:
            row = json.loads(raw.text)
        except ValueError as error:
            raise Problem("malformed", f"it is no JSON: {error}") from error
        return [from_row(row, raw.place, method)]
    if raw.kind == "cif":
        return _parse_cif(raw)
    if raw.kind == "too long":
        limit = MAX_CIF if raw.place.endswith(".cif") else MAX_LINE
        raise Problem("too large", f"it is longer than {limit // 10**6} MB")
    raise Problem("unreadable", raw.text)


def _parse_cif(raw: Raw) -> list[Record]:
    from pymatgen.io.cif import CifParser

    if not raw.text.strip():
        raise Problem("empty", "it is empty")
    try:
        parser = CifParser.from_str(raw.text)
        structures = parser.parse_structures(primitive=False, on_error="raise")
    except (Problem, TimeoutError):
        raise
    except Exception as error:
        raise Problem("unreadable", _chemists_words(error)) from error
    if not structures:
        raise Problem("unreadable", "it holds no structure")
    labels = [raw.label] if len(structures) == 1 else [f"{raw.label}#{i}" for i in range(1, len(structures) + 1)]
    return [from_structure(s, raw.place, label, {}) for s, label in zip(structures, labels, strict=True)]


def _chemists_words(error: Exception) -> str:
    """pymatgen's reasons, as far as they help a person."""
    text = " ".join(str(error).split())
    if "no structures" in text.lower() or "Invalid CIF" in text:
        return (
            "no complete structure could be read: cell, symmetry or atom positions are missing or contradict each other"
        )
    return text[:200] or type(error).__name__


def _chunks(rows: Iterable[Raw]) -> Iterator[list[Raw]]:
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _quiet() -> None:
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
