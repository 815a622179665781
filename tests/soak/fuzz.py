"""`python -m tests.soak.fuzz --inputs 10000 --parser all`: hostile inputs into everything that reads from outside."""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import resource
import sys
import tempfile
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from tests.faults.fuzzing import Outcome, fuzz
from tests.faults.parsers import Parser, parsers
from tests.soak.table import show

HANG_S = 60.0
ROOM = 6 * 1024**3  # bytes of address space beyond what the process has at its start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="over all parsers that are asked for")
    parser.add_argument("--parser", default="all", help="one of them, or several with commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="of one parser at most")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that show a finding")
    asked = parser.parse_args()
    known = parsers()
    names = list(known) if asked.parser == "all" else asked.parser.split(",")
    shares = sum(known[n].share for n in names)
    outcomes = {}
    for name in names:
        count = max(1, round(asked.inputs * known[name].share / shares))
        outcomes[name] = _apart(known[name], count, asked.seed, asked.minutes * 60)
        print(f"{name}: {outcomes[name].inputs} inputs, {len(outcomes[name].findings)} findings", flush=True)
    _report(outcomes, asked.keep)
    sys.exit(any(o.findings for o in outcomes.values()))


def _apart(parser: Parser, count: int, seed: int, seconds: float) -> Outcome:
    """In a process of its own, with an end to its time and memory."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as var:
        process = context.Process(target=_work, args=(parser, count, seed, var, there))
        process.start()
        there.close()
        outcome = Outcome(findings={"the process ended, hung or took too long": ("", b"")})
        try:
            if here.poll(seconds):
                outcome = here.recv()
        except EOFError:
            print(f"the process ended with {process.exitcode}", file=sys.stderr)
        if process.is_alive():
            process.join(10)
            process.kill()
        process.join()
    return outcome


def _work(parser: Parser, count: int, seed: int, var: str, answer: Connection) -> None:
    os.environ["SUBHULL_VAR"] = var
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    if parser.store:
        from core.workflows import starter
        from core.workflows.store import store

        store()
        if parser.installed:
            starter.install()
    read = parser.read

    def bounded(folder: Path, case: tuple[str, bytes]) -> bool:
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            return read(folder, case)
        finally:
            faulthandler.cancel_dump_traceback_later()

    answer.send(fuzz(replace(parser, read=bounded), count, seed))


def _report(outcomes: dict[str, Outcome], keep: Path | None) -> None:
    rows = [
        (n, o.inputs, o.taken, o.refused, f"{o.slowest:.2f}", f"{o.memory_mb:.0f}", len(o.findings))
        for n, o in outcomes.items()
    ]
    total = [sum(int(row[i]) for row in rows) for i in (1, 2, 3, 6)]
    rows.append(("all", total[0], total[1], total[2], "", "", total[3]))
    show(("parser", "inputs", "taken", "refused", "slowest s", "grew MB", "findings"), rows)
    for name, outcome in outcomes.items():
        for number, (what, (file, data)) in enumerate(outcome.findings.items()):
            print(f"{name}: {what}\n    {file} {data[:160]!r}")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{number}-{file}").write_bytes(data)


if __name__ == "__main__":
    main()
