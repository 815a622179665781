"""`python -m tests.soak.clicking --people 50 --minutes 5`: the app under so many people, over real websockets."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import psutil

from tests.conftest import AppServer
from tests.faults.sessions import Clicks, Person, crowd
from tests.soak.table import show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two pages, on average")
    parser.add_argument("--files", type=float, default=0.1, help="share of the pages with files where one is taken")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-most", type=float, default=0.0, help="seconds that 95 %% of the runs may take; 0: any")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whatever was started is ended
    with tempfile.TemporaryDirectory() as place:
        server = AppServer(Path(place) / "var", {})
        server.start()
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        try:
            asyncio.run(Person(server.port, 0, Clicks()).tour())  # the first to open a page waits for its imports
            before = process.memory_info().rss
            seconds = 60 * asked.minutes
            clicks = asyncio.run(crowd(server.port, asked.people, seconds, asked.pause, asked.seed, asked.files))
            grew = (process.memory_info().rss - before) / 1024**2
            alive = server.process.poll() is None
        finally:
            server.stop()
        log = (Path(place) / "var" / "server.log").read_text()
    faults = log.count("a page failed") + log.count("Traceback")
    slow = _report(clicks, asked.at_most)
    print(f"{asked.people} people, {clicks.messages} messages; memory grew by {grew:.0f} MB")
    print(f"{len(clicks.errors)} errors, {faults} faults in the log" + ("" if alive else "; the server ended"))
    for error in clicks.errors[:20]:
        print(error)
    if faults:
        print(log[-3000:])
    sys.exit(bool(clicks.errors or faults or slow or not alive))


def _report(clicks: Clicks, at_most: float) -> bool:
    """Print the times; True where a page is slower than it may be."""
    rows = [(p, len(s), f"{clicks.share(p, 0.5):.2f}", f"{clicks.share(p, 0.95):.2f}", f"{max(s):.2f}")
            for p, s in sorted(clicks.seconds.items())]  # fmt: skip
    show(("page", "runs", "median s", "95 % s", "longest s"), rows)
    return bool(at_most) and any(clicks.share(p, 0.95) > at_most for p in clicks.seconds)


if __name__ == "__main__":
    main()
