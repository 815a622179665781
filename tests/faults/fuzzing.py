"""Reads generated inputs with one parser and counts what happened. Findings are collected, not raised."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from streamlit import config

from tests.faults.parsers import Case, Parser
from tests.faults.strategies import CANARY

SLOW_S, MEMORY_MB = 10.0, 1024.0
_STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "pickle.find_class",
    "socket.connect",
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass
class Outcome:
    """findings: {what and where: an input that shows it}; slowest in seconds, memory_mb: growth of the peak."""

    inputs: int = 0
    taken: int = 0
    refused: int = 0
    slowest: float = 0.0
    memory_mb: float = 0.0
    findings: dict[str, Case] = field(default_factory=dict)


def fuzz(parser: Parser, count: int, start: int = 0) -> Outcome:
    """So many inputs by the seed `start`. Breaches: any other exception, over 10 s, over 1 GB, anything executed."""
    outcome = Outcome()
    before = _peak_mb()

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(start)
    @given(parser.inputs)
    def read(case: Case) -> None:
        _read(parser, case, outcome)

    with tempfile.TemporaryDirectory() as place:
        here = os.getcwd()
        config.get_option("server.address")  # read once by Streamlit, from the folder that it is in then
        os.chdir(place)  # where something executed would leave its mark
        try:
            read()
        finally:
            os.chdir(here)
    outcome.memory_mb = _peak_mb() - before
    if outcome.memory_mb > MEMORY_MB:
        outcome.findings[f"memory grew by {outcome.memory_mb:.0f} MB"] = ("", b"")
    return outcome


def _read(parser: Parser, case: Case, outcome: Outcome) -> None:
    began = time.monotonic()
    outcome.inputs += 1
    folder = Path.cwd()
    try:
        with _watched(folder) as seen:
            taken = parser.read(folder, case)
        outcome.taken += taken
        outcome.refused += not taken
    except Exception as error:
        _find(outcome, f"{type(error).__name__}: {str(error)[:120]} {_where(error)}", case)
    for what in (s for s in seen if s.split()[0] not in parser.usual):
        _find(outcome, what, case)
    seconds = time.monotonic() - began
    outcome.slowest = max(outcome.slowest, seconds)
    if seconds > SLOW_S:
        _find(outcome, f"slow: over {SLOW_S:.0f} s", case)
    if (folder / CANARY).exists():
        _find(outcome, "the input was executed", case)
        (folder / CANARY).unlink()


def _find(outcome: Outcome, what: str, case: Case) -> None:
    outcome.findings.setdefault(what, case)


def _where(error: BaseException) -> str:
    """The last line of the project that is in the traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/core/" in f.filename or "/db/" in f.filename]
    return f"({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


_seen: list[str] | None = None
_allowed: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event in _STARTS:
        _seen.append(f"{event} {str(arguments[0])[:80]}")
    elif event == "open" and _writes(*arguments[::2]):
        _seen.append(f"wrote {arguments[0]}")


def _writes(path: Any, flags: Any) -> bool:
    """Is a file opened to be written that is in none of the places allowed?"""
    opened = isinstance(path, str) and isinstance(flags, int) and bool(flags & _WRITES)
    return opened and not os.path.abspath(path).startswith(tuple(_allowed))


sys.addaudithook(_audit)


@contextmanager
def _watched(folder: Path) -> Iterator[list[str]]:
    """What was started, unpickled, connected or written elsewhere meanwhile."""
    global _seen
    found: list[str] = []
    _allowed[:] = [str(folder), str(Path(os.environ.get("SUBHULL_VAR", folder)).resolve()), "/dev/null"]
    _seen = found
    try:
        yield found
    finally:
        _seen = None


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
