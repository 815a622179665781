"""Rounds of kill -9: a job is disturbed at a random moment, goes on, and has to end as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.jobs import queue
from core.jobs.tick import tick
from db import jobs as rows
from db.tables import Job
from tests.faults.forking import fork, forked_workers, living, reap, tick_for_ever, wait_for_none
from tests.faults.scene import KINDS, Scene, content, whole

TARGETS = ("worker", "group", "server and worker", "server")
END_S = 120.0  # a job that is alone on the machine has ended by then
WEIGHTS = {"import": 6, "hull-build": 4, "hull import": 4, "relax": 4, "train": 4}


@dataclass
class Tally:
    """kills: what was hit, by kind; breaches: what was not as it should be, in sentences."""

    rounds: int = 0
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """seconds that a kind takes, and what the store holds then."""

    seconds: float
    content: dict[str, Any]


class Killer:
    """Rounds on one scene. besides: pids of processes that are not ours to judge (a database's server)."""

    def __init__(self, scene: Scene, seed: int, besides: set[int], fresh: bool = False) -> None:
        self.scene, self.random, self.besides, self.fresh = scene, random.Random(seed), besides, fresh
        self.tally = Tally()
        self._usual: dict[str, Undisturbed] = {}

    def round(self, kind: str = "", target: str = "") -> None:
        """One disturbed run; with `fresh`, workers are new Pythons as in the app, else forks."""
        kind = kind or self.random.choices(KINDS, [WEIGHTS[k] for k in KINDS])[0]
        target = target or self.random.choice(TARGETS)
        if self.fresh:
            self._round(kind, target)
        else:
            with forked_workers():
                self._round(kind, target)

    def _round(self, kind: str, target: str) -> None:
        usual = self._undisturbed(kind)
        self.scene.restore()
        moment = self.random.uniform(0, 1.05) * usual.seconds
        where = f"round {self.tally.rounds} ({kind}, {target}, {moment:.2f} s)"
        try:
            self._disturb(kind, target, moment)
            wrong = whole(self.scene)
            job = self._go_on(kind)
            if job is not None:
                self.tally.ends[job.status] += 1
                if job.status != "done":
                    wrong.append(f"the job is {job.status}: {job.error or job.message}")
            left = wait_for_none(self.besides)
            wrong += [f"the process {p.pid} was left" for p in left]
            wrong += whole(self.scene) + _differences(usual.content, content(self.scene))
        except Exception as error:
            wrong = [repr(error)[:400]]
            wait_for_none(self.besides, 0)
        self.tally.rounds += 1
        self.tally.kills[kind, target if kind != "hull import" else "worker"] += 1
        self.tally.breaches += [f"{where}: {w}" for w in wrong]

    def _undisturbed(self, kind: str) -> Undisturbed:
        if kind not in self._usual:
            self.scene.restore()
            began = time.monotonic()
            job = self._go_on(kind)
            seconds = time.monotonic() - began
            if job is not None and job.status != "done":
                raise RuntimeError(f"undisturbed, {kind} is {job.status}: {job.error} {queue.logs(job.id)}")
            self._usual[kind] = Undisturbed(seconds, content(self.scene))
            wait_for_none(self.besides)
        return self._usual[kind]

    def _disturb(self, kind: str, target: str, moment: float) -> None:
        if kind == "hull import":
            pid = fork(self.scene.import_hull, self.scene.var / "hull.log")
            _sleep(moment)
            _kill(pid)
            return
        if target.startswith("server"):
            server = fork(lambda: self._serve(kind), self.scene.var / "server.log")
            _sleep(moment)
            _kill(server)
            if target == "server":
                return
        else:
            self.scene.submit(kind)
            deadline = time.monotonic() + moment
            while time.monotonic() < deadline:
                tick()
                time.sleep(0.02)
        for job in _jobs():
            if job.pid and job.status == "running":
                with suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL) if target == "group" else os.kill(job.pid, signal.SIGKILL)

    def _serve(self, kind: str) -> None:
        self.scene.submit(kind)
        tick_for_ever()

    def _go_on(self, kind: str) -> Job | None:
        """Until the job has ended; what was killed before it was submitted is asked for again, as a user would."""
        if kind == "hull import":
            return self._hull_again()
        if not _jobs():
            self.scene.submit(kind)
        deadline = time.monotonic() + END_S
        while time.monotonic() < deadline:
            tick()
            reap()
            (job,) = _jobs()
            if job.status in rows.ENDED and not (job.status == "lost" and queue.will_retry(job)):
                return job
            time.sleep(0.03)
        raise TimeoutError(f"the job is {job.status} after {END_S:.0f} s: {job.message}")

    def _hull_again(self) -> None:
        from core.workflows.context import UserError

        reap()
        with suppress(UserError):  # it was there already
            self.scene.import_hull()


def _jobs() -> list[Job]:
    """Those of the round: the first of all made the candidates."""
    from core.workflows.store import store

    with store().session() as session:
        return [job for job in rows.list_jobs(session) if job.title != "g"]


def _sleep(seconds: float) -> None:
    time.sleep(max(0.0, seconds))


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {str(found[key])[:150]} instead of {str(wanted[key])[:150]}"
        for key in wanted
        if found[key] != wanted[key]
    ]


__all__ = ["Killer", "Tally", "living"]
