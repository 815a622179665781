"""Evaluate a model: the share of known structures that it finds, given what the user says it is given."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core.crystals import Crystals
from core.data.symmetry import has_group
from core.evaluation.matching import TOLERANCES, cell_distances
from core.evaluation.pool import ALONE, MatchPool, cells_of
from core.evaluation.report import Outcome, make_report, outcome_of, verdict_row
from core.evaluation.validity import published_verdicts
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.evaluation_targets import Targets, find_targets
from core.workflows.method import About, Asked, Drawn, Method
from core.workflows.methods import START, Start, find_method
from core.workflows.ranking import Judge
from core.workflows.relax import method_of

CONDITIONS = ("composition", "space-group", "energy")
MAX_SAMPLES = 100
HALVES = {"": -1, "even": 0, "odd": 1}
_BATCH = {"cpu": 64}  # crystals drawn at once
_GPU_BATCH = 512
_WAITING = 8  # batches that may wait to be matched


@dataclass(frozen=True)
class EvaluateParams:
    """What to evaluate, and on what.

    model: a model's name, "start" (the structure to modify as it is) or "substitution:DATASET"
    data: paths of files, or dataset: a name; split: "train", "val" or "" for all
    conditions: what is given besides the cell's content, which always is: "space-group", "energy" (eV/atom; for a
    modifier the change); samples: drawn for each target; limit: targets, 0 for all, else so many drawn by the seed
    task: "generation" or "modification", "" for what the model does; a baseline that does both generates
    also: further matchers, reported beside `matcher` for the same samples
    atoms: smallest and largest cell, () for all; formulas: "even" or "odd" for half of a dataset's formulas, by their
    number in it (with one formula, half of its structures): one half to choose by, the other to be scored once
    hold_group: a generator starts on the space group that is given and keeps it; sites: as for generation
    rank_by: "potential" ("m3gnet", "chgnet" for one of them) puts the best of the samples first as
    `core.workflows.ranking` says, "" does not; rank_steps: of relaxation before
    """

    model: str
    data: tuple[str, ...] = ()
    dataset: str = ""
    split: str = ""
    conditions: tuple[str, ...] = CONDITIONS
    samples: int = 1
    matcher: str = "paper"
    limit: int = 0
    steps: int = 50
    seed: int = 0
    task: str = ""
    also: tuple[str, ...] = ()
    atoms: tuple[int, ...] = ()
    formulas: str = ""
    hold_group: bool = False
    sites: str = ""
    rank_by: str = ""
    rank_steps: int = 0


def usual_steps(model: str) -> int:
    """Steps of the sampler that are usual for a model; 1 for a baseline. Raises UserError where there is none."""
    return answering(model).about.steps


def answering(name: str, hold_group: bool = False, sites: str = "") -> Method:
    """What is evaluated: any method, or the structure to modify as it is ("start"). Raises UserError."""
    return Start() if name == START else find_method(name, "", hold_group, sites)


def evaluate(params: EvaluateParams, context: Context) -> dict[str, Any]:
    """Draw `samples` crystals for every target, match them and report; after an interruption, the rest.

    Every structure asked counts: unseen elements, cells that are too large, invalid and unmatched samples are misses.
    Raises UserError.
    """
    check_params(params)
    method = answering(params.model, params.hold_group, params.sites)
    task = _task(params, method.about)
    pairs = task == "modification"
    targets = find_targets(params.data, params.dataset, params.split, pairs, method.about.energy_method, context)
    targets = narrowed(targets, params)
    run = Run(params, method, targets, context)
    outcomes = run.finish()
    report = asdict(make_report(outcomes, params.samples))
    return report | {
        "matcher": params.matcher,
        "model": method.about.name,
        "model_hash": method.about.hash,
        "task": task,
        "conditions": list(params.conditions),
        "hold_group": params.hold_group,
        "sites": params.sites,
        "rank_by": run.judge.potential.name if run.judge else "",
        "rank_steps": params.rank_steps,
        "seconds_ranking": round(run.seconds_ranking, 3),
        "data": params.dataset or ", ".join(Path(f).name for f in params.data),
        "split": params.split,
        "skipped": targets.skipped,
        "structures": targets.available,
        "pairs_left_out": targets.left_out,
        "steps": params.steps,
        "seed": params.seed,
        "seconds_sampling": round(run.seconds_sampling, 3),
        "seconds_matching": round(run.seconds_matching, 3),
    }


def _task(params: EvaluateParams, about: About) -> str:
    if about.task and params.task not in ("", about.task):
        raise UserError(f"{about.name} is for {about.task}, not for {params.task}.")
    return about.task or params.task or "generation"


def check_params(params: EvaluateParams) -> None:
    """What can be known to be wrong before a job starts. Raises UserError."""
    unknown = [c for c in params.conditions if c not in CONDITIONS]
    if unknown:
        raise UserError(f"There is no condition {unknown[0]!r}: choose from {', '.join(CONDITIONS)}.")
    for matcher in (params.matcher, *params.also):
        if matcher not in TOLERANCES:
            raise UserError(f"There is no matcher {matcher!r}: choose paper or field.")
    if params.formulas not in HALVES or (params.formulas and not params.dataset):
        raise UserError("Half of the formulas, even or odd, can be taken of a dataset.")
    if params.atoms and (len(params.atoms) != 2 or not 1 <= params.atoms[0] <= params.atoms[1]):
        raise UserError("Cells go from a smallest to a largest number of atoms, such as 4-20.")
    if params.task not in ("", "generation", "modification"):
        raise UserError(f"There is no task {params.task!r}: choose generation or modification.")
    if not 1 <= params.samples <= MAX_SAMPLES:
        raise UserError(f"Samples for each target must be 1 to {MAX_SAMPLES}.")
    if params.rank_by:
        method_of(params.rank_by.replace("potential", ""))
    if params.steps < 1 or params.limit < 0:
        raise UserError("Steps must be 1 or more, the number of targets 0 (all) or more.")
    missing = [f for f in params.data if not Path(f).is_file()]
    if missing:
        raise UserError(f"There is no file {missing[0]}.")


def narrowed(targets: Targets, params: EvaluateParams) -> Targets:
    """Those of the sizes and of the half of the formulas that are asked for. Raises UserError where none is left."""
    keep = torch.ones(len(targets), dtype=torch.bool)
    if params.atoms:
        keep &= (targets.natoms >= params.atoms[0]) & (targets.natoms <= params.atoms[1])
    if params.formulas:
        data = load_tensors(get_dataset(params.dataset))
        number = data.formula[targets.rows] if len(data.formulas) > 1 else targets.rows
        keep &= number % 2 == HALVES[params.formulas]
    if not keep.any():
        raise UserError("No structure has these numbers of atoms in that part: allow others.")
    return targets.where(keep)


class Run:
    """One evaluation: what is drawn is matched beside the drawing, and verdicts are kept as they come."""

    def __init__(self, params: EvaluateParams, method: Method, targets: Targets, context: Context) -> None:
        self.params, self.method, self.targets, self.context = params, method, targets, context
        self.seconds_sampling = self.seconds_matching = self.seconds_ranking = 0.0
        self.judge = (
            Judge(params.rank_by.replace("potential", ""), params.rank_steps, context) if params.rank_by else None
        )
        own = get_dataset(params.dataset).method if params.dataset else ""  # of what is asked for, whoever answers
        self._scale = own if self.judge and own == self.judge.potential.name else method.about.energy_method
        self._chosen = targets.some(params.limit, params.seed)
        named = json.dumps([asdict(params), method.about.hash, len(targets)], sort_keys=True)
        self._file = context.folder / f"verdicts-{hashlib.sha256(named.encode()).hexdigest()[:12]}.jsonl"
        self._outcomes = read_verdicts(self._file)
        self._waiting: list[_Batch] = []

    def finish(self) -> list[Outcome]:
        """Every target's outcome, in their order. Raises Cancelled."""
        todo = [i for i in self._chosen.tolist() if i not in self._outcomes]
        todo.sort(key=lambda i: int(self.targets.natoms[i]))
        size = max(1, _BATCH.get(self.context.device, _GPU_BATCH) // self.params.samples)
        here = len(todo) * self.params.samples < ALONE and threading.current_thread() is threading.main_thread()
        started, before = time.monotonic(), len(self._outcomes)
        with MatchPool() as pool:
            for start in range(0, len(todo), size):
                if self.context.cancelled():
                    raise Cancelled
                self._waiting.append(self._begin(torch.tensor(todo[start : start + size]), None if here else pool))
                self._collect(0 if here else _WAITING)
                self._tell(started, before)
            self._collect(0)
        self._tell(started, before)
        return [self._outcomes[i] for i in self._chosen.tolist()]

    def _begin(self, index: torch.Tensor, pool: MatchPool | None) -> _Batch:
        """Draw for these targets and hand over what is to be matched."""
        target = self.targets[index]
        times = self.params.samples
        every = self._ask(index, target)
        problems = self.method.refuses(every)[::times]
        able = torch.tensor([i for i, problem in enumerate(problems) if not problem], dtype=torch.int64)
        started = time.monotonic()
        drawn = Drawn(target[torch.arange(0)], [], [])
        if len(able):
            asked = self._ask(index[able], target[able].trim())
            answers = self.method.draw(asked, self.params.steps, self.context)
            drawn = replace(answers, which=[int(able[i // times]) * times + i % times for i in answers.which])
        self.seconds_sampling += time.monotonic() - started
        drawn, ranked = self._ranked(drawn, every, len(target))
        started = time.monotonic()
        crystals, which = drawn.crystals, drawn.which
        valid = [v.valid for v in published_verdicts(crystals)] if which else []
        good = [i for i, ok in enumerate(valid) if ok]
        answered = [which[i] // times for i in good]
        found = self._match(_take(crystals, good), _take(target, answered), pool)
        reached = self._in_group(crystals, {which[i]: i for i in good}, target)
        self.seconds_matching += time.monotonic() - started
        return _Batch(index, target, problems, [which[i] for i in good], found, reached, ranked)

    def _ranked(self, drawn: Drawn, every: Asked, targets: int) -> tuple[Drawn, list[int | None]]:
        """The crystals as they were compared, and for each target the sample that the potential puts first, or None."""
        which = drawn.which
        if self.judge is None or not which:
            return drawn, [None] * targets
        started, times = time.monotonic(), self.params.samples
        scores, drawn = self.judge.scores(drawn, every[torch.tensor(which)], self._scale)
        first: dict[int, int] = {}
        for k in sorted(range(len(which)), key=lambda k: (scores[k], which[k])):
            first.setdefault(which[k] // times, which[k] % times)
        self.seconds_ranking += time.monotonic() - started
        return drawn, [first.get(i) for i in range(targets)]

    def _in_group(self, drawn: Crystals, places: dict[int, int], target: Crystals) -> list[bool | None]:
        """Has the first sample of each target its group, as spglib finds it? None where none was asked for."""
        if "space-group" not in self.params.conditions:
            return [None] * len(target)
        times = self.params.samples
        firsts = [places.get(i * times) for i in range(len(target))]
        return [
            None if not group else place is not None and has_group(drawn, place, group)
            for place, group in zip(firsts, target.group.tolist(), strict=True)
        ]

    def _ask(self, index: torch.Tensor, target: Crystals) -> Asked:
        """Each target `samples` times, one after the other, with a seed for each that no batch changes."""
        times = self.params.samples
        several = torch.arange(len(index)).repeat_interleave(times)
        sample = tuple(i % times for i in range(len(several)))
        total = len(self.targets)
        seeds = tuple(
            (1_000_003 * self.params.seed + int(i) + k * total) % (2**63 - 1)
            for i, k in zip(index[several], sample, strict=True)
        )
        start = None if self.targets.starts is None else self.targets.start(index).trim()
        return told(target, start, self.params.conditions)[several].seeded(sample, seeds)

    def _match(
        self, drawn: Crystals, target: Crystals, pool: MatchPool | None
    ) -> Future[dict[str, list[float | None]]]:
        names = tuple(dict.fromkeys((self.params.matcher, *self.params.also)))
        if pool is not None:
            return pool.submit(drawn, target, names)
        done: Future[dict[str, list[float | None]]] = Future()
        pairs = list(zip(cells_of(drawn), cells_of(target), strict=True))
        done.set_result({name: cell_distances(pairs, name) for name in names})
        return done

    def _collect(self, leave: int) -> None:
        """Take the verdicts that are there, and wait for those of all but the last `leave` batches."""
        started = time.monotonic()
        while self._waiting and (len(self._waiting) > leave or self._waiting[0].found.done()):
            batch = self._waiting.pop(0)
            while not batch.found.done():
                if self.context.cancelled():
                    raise Cancelled
                with suppress(TimeoutError):
                    batch.found.result(0.5)
            outcomes = self._judged(batch, batch.found.result())
            self._outcomes |= {o.target: o for o in outcomes}
            write_verdicts(self._file, outcomes)
        self.seconds_matching += time.monotonic() - started

    def _judged(self, batch: _Batch, distances: dict[str, list[float | None]]) -> list[Outcome]:
        times, valid = self.params.samples, set(batch.which)
        rms = {name: dict(zip(batch.which, found, strict=True)) for name, found in distances.items()}
        outcomes = []
        for i, row in enumerate(batch.index.tolist()):
            places = range(i * times, (i + 1) * times)
            numbers = batch.target.numbers[i]
            outcomes.append(
                Outcome(
                    row,
                    self.targets.labels[int(self.targets.rows[row])],
                    int(self.targets.natoms[row]),
                    len(set(numbers.tolist()) - {0}),
                    int(batch.target.group[i]),
                    tuple(p in valid for p in places),
                    tuple(rms[self.params.matcher].get(p) for p in places),
                    batch.problems[i],
                    {name: tuple(rms[name].get(p) for p in places) for name in self.params.also},
                    batch.in_group[i],
                    batch.ranked[i],
                )
            )
        return outcomes

    def _tell(self, started: float, before: int) -> None:
        done, total = len(self._outcomes), len(self._chosen)
        left = (time.monotonic() - started) / max(1, done - before) * (total - done)
        matched = sum(o.matched for o in self._outcomes.values())
        self.context.progress(done / total, f"{done:,} of {total:,} targets, {matched:,} matched", left)


def told(target: Crystals, start: Crystals | None, conditions: Sequence[str]) -> Asked:
    """What is told of targets, and no more: their content, in the order of the start's atoms where there is a start.

    conditions: "space-group" and "energy" where they are given; from a start the energy is its change
    """
    energy = target.energy.double() if start is None else target.energy.double() - start.energy.double()
    return Asked(
        target.numbers if start is None else start.numbers,
        target.group * ("space-group" in conditions),
        energy if "energy" in conditions else torch.full_like(energy, torch.nan),
        start,
        (0,) * len(target),
        (0,) * len(target),
    )


def _take(crystals: Crystals, places: list[int]) -> Crystals:
    return crystals[torch.tensor(places, dtype=torch.int64)]


@dataclass(frozen=True, eq=False)
class _Batch:
    """Targets that are being matched. which: target × samples + sample of each crystal in `found`.

    in_group, ranked: for each target, as `Outcome` has it
    """

    index: torch.Tensor
    target: Crystals
    problems: list[str]
    which: list[int]
    found: Future[dict[str, list[float | None]]]
    in_group: list[bool | None]
    ranked: list[int | None]


def read_verdicts(path: Path) -> dict[int, Outcome]:
    """What an interrupted run has judged, by target; a line that is cut off is left out."""
    found: dict[int, Outcome] = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            with suppress(ValueError, KeyError, TypeError):
                outcome = outcome_of(json.loads(line))
                found[outcome.target] = outcome
    return found


def write_verdicts(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Append a line for each target."""
    with path.open("a") as file:
        file.write("".join(json.dumps(verdict_row(o)) + "\n" for o in outcomes))
