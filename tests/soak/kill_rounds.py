"""`python -m tests.soak.kill_rounds --rounds 200 [--postgres URL | --own-postgres]`: kill -9 at random moments."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--postgres", default="", help="URL of a server whose databases `round` and `kept` are ours")
    parser.add_argument("--own-postgres", action="store_true", help="a server of its own on loopback")
    parser.add_argument("--fresh", type=int, default=10, help="every so-manieth round with new Pythons; 0: none")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from tests.faults.forking import adopt_orphans
    from tests.faults.killing import Killer
    from tests.faults.scene import Scene
    from tests.postgres_server import GivenServer, PostgresServer

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whatever was started is ended
    adopt_orphans()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = None
        if asked.own_postgres:
            (place / "postgres").mkdir()
            server = PostgresServer(place / "postgres")
            stack.callback(server.stop)
        elif asked.postgres:
            server = GivenServer(asked.postgres)
        besides = {p.pid for p in psutil.Process().children()}
        killer = Killer(Scene(place / "scene", server), asked.seed, besides)
        began = time.monotonic()
        for number in range(asked.rounds):
            if time.monotonic() - began > 60 * asked.minutes:
                break
            killer.fresh = bool(asked.fresh) and number % asked.fresh == asked.fresh - 1
            killer.round()
            if sys.stdout.isatty() or number % 10 == 9:
                print(f"{number + 1} rounds, {len(killer.tally.breaches)} breaches", flush=True)
        _report(killer.tally, time.monotonic() - began)
    sys.exit(bool(killer.tally.breaches))


def _report(tally: object, seconds: float) -> None:
    from tests.faults.killing import TARGETS, Tally
    from tests.faults.scene import KINDS
    from tests.soak.table import show

    assert isinstance(tally, Tally)
    rows = [(kind, *(tally.kills[kind, target] for target in TARGETS)) for kind in KINDS]
    show(("killed", *TARGETS), rows)
    print(f"{tally.rounds} rounds in {seconds:.0f} s; jobs ended {dict(tally.ends)}; {len(tally.breaches)} breaches")
    for breach in tally.breaches[:50]:
        print(breach)


if __name__ == "__main__":
    main()
