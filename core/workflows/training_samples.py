"""Samples drawn during training, judged beside it in worker processes, and shown beside their targets."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from core.crystals import Crystals
from core.evaluation import validity
from core.evaluation.pool import MatchPool
from core.training import checkpoints
from core.workflows.context import Context

VERDICTS = "verdicts.json"
NAMES = ("paper", "field")
_WAIT_S = 300.0


@dataclass(frozen=True)
class Samples:
    """Crystals drawn at a step beside what they should have become, and for modification what they started from.

    matched: by matcher ("paper", "field"), whether each is its target, None while that is not known
    """

    step: int
    drawn: Crystals
    target: Crystals
    start: Crystals | None
    matched: dict[str, list[bool | None]]


def read_samples(folder: str) -> Samples | None:
    """The latest samples of a training's folder, None before the first ones or where the folder is gone."""
    try:
        found = checkpoints.read_samples(Path(folder))
    except ValueError:
        return None
    if found is None:
        return None
    unknown: list[bool | None] = [None] * len(found.drawn)
    matched = dict.fromkeys(NAMES, unknown)
    with suppress(OSError, ValueError):
        verdicts = json.loads((Path(folder) / VERDICTS).read_text())
        if verdicts["step"] == found.step:
            matched = {name: verdicts[name] for name in NAMES}
    return Samples(found.step, found.drawn, found.target, found.start, matched)


class Judge:
    """Takes samples from the training loop, has them matched elsewhere, and tells the numbers when they come."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._pool: MatchPool | None = None
        self._waiting: list[tuple[int, float, Future[dict[str, list[float | None]]]]] = []

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.close()

    def __call__(self, samples: checkpoints.Samples) -> None:
        """Start judging. What is still being judged goes on; this never waits."""
        if self._pool is None:
            self._pool = MatchPool(processes=1)
        valid = _share([v.valid or None for v in validity.published_verdicts(samples.drawn)])
        self._waiting.append((samples.step, valid, self._pool.submit(samples.drawn, samples.target, NAMES)))

    def tell(self) -> dict[str, float]:
        """Write what is known by now as metrics of the step that it was drawn at; returns the latest."""
        latest: dict[str, float] = {}
        for entry in [w for w in self._waiting if w[2].done()]:
            self._waiting.remove(entry)
            step, valid, future = entry
            if future.exception() is not None:
                print(f"the samples of step {step} could not be judged: {future.exception()}", flush=True)
                continue
            found = future.result()
            latest = {"valid": valid, **{f"match_rate_{n}": _share(found[n]) for n in NAMES}}
            self.context.metrics(step, **latest)
            self._write(step, found)
        return latest

    def wait(self) -> dict[str, float]:
        """The numbers of the last samples, for the card; those that take longer than minutes are left out."""
        for _, _, future in self._waiting:
            with suppress(Exception):
                future.result(_WAIT_S)
        return self.tell()

    def _write(self, step: int, found: dict[str, list[float | None]]) -> None:
        verdicts: dict[str, Any] = {"step": step, **{n: [v is not None for v in found[n]] for n in NAMES}}
        path = self.context.folder / VERDICTS
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(verdicts))
        os.replace(partial, path)


def _share(found: Sequence[float | None]) -> float:
    return float(torch.tensor([v is not None for v in found]).double().mean())
