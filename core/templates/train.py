"""Train the ranker of templates: structures of a dataset's training part, each asked for with its formula left out.

    python -m core.templates.train DATA.safetensors OUT.safetensors [--targets 6000] [--steps 2000] [--seed 0]

DATA is what `dataset export --tensors` wrote. A candidate is right if the paper's matcher says so; candidates of one
structure are matched once, and those whose fingerprint is far from the target's not at all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from core.data.tensors import TRAIN, read_tensors
from core.evaluation.pool import MatchPool, cells_of
from core.templates.candidates import Asked, Candidates, find_candidates, plain_cost
from core.templates.features import ALIKE, exchanged, likeness, pair_features, shares
from core.templates.fitting import Question, fit, measure
from core.templates.library import Library, build_library
from core.templates.propose import built
from core.templates.ranker import save_ranker

FAR = 0.3  # difference of fingerprints past which hardly anything matches: 1 % of 600 matches
EQUAL = 0.01  # and under which two candidates are one structure
MATCHED = 8  # candidates of a target that are matched at most, the nearest to it first
SIZES = ((2, 20, 0.6), (21, 64, 0.4))  # atoms in the cell, share of the targets
HELD = 0.1  # of the targets, by formula, that say how good it is


@dataclass(frozen=True, eq=False)
class Pending:
    """A target whose candidates are being matched.

    questions: with their candidates' places in `all`; which: (K,) of the distinct structures each candidate is, -1 for
    none that was matched; verdicts: of those structures
    """

    questions: list[Question]
    members: list[np.ndarray]
    which: np.ndarray
    verdicts: Future[dict[str, list[float | None]]]


def main() -> None:
    asked = _arguments()
    torch.set_num_threads(1)
    started = time.monotonic()
    data = read_tensors(asked.data)
    library = build_library(data.crystals, data.part(TRAIN))
    places = choose_targets(library, asked.targets, asked.seed)
    with MatchPool(asked.processes) as pool:
        pending = []
        for i, place in enumerate(places.tolist()):
            found = ask(library, place, pool)
            pending += [found] if found else []
            if i % 200 == 199:
                print(f"{i + 1} targets, {time.monotonic() - started:.0f} s", flush=True)
        questions = [answered(p) for p in pending]
    held = np.random.default_rng(asked.seed + 1).random(len(library.formulas)) < HELD
    learning = [q for one in questions for q in one if not held[q.formula]]
    checking = [q for one in questions for q in one if held[q.formula]]
    print(f"{len(learning)} questions to learn from, {len(checking)} to check, {time.monotonic() - started:.0f} s")
    if asked.keep:
        torch.save((learning, checking), asked.keep)
    ranker = fit(learning, checking, asked.steps, asked.seed)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    save_ranker(ranker, asked.out)
    card = {
        "about": "How likely a known structure is, its elements exchanged, to be the crystal asked for.",
        "data": data.name,
        "data_hash": data.hash,
        "structures": len(library.rows),
        "targets": len(places),
        "learned_from": len(learning),
        "steps": asked.steps,
        "seed": asked.seed,
        "parameters": sum(p.numel() for p in ranker.parameters()),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "measured_on": "formulas that it was not fitted to, only calibrated on (first choices, paper's matcher)",
        "measured": measure(ranker, checking),
        "licence": "MIT; fitted to structures of the Materials Project (CC BY 4.0)",
        "command": f"python -m core.templates.train DATA.safetensors OUT.safetensors "
        f"--targets {asked.targets} --steps {asked.steps} --seed {asked.seed}",
    }
    asked.out.with_name("card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["measured"]))


def choose_targets(library: Library, count: int, seed: int) -> np.ndarray:
    """Places of structures to be asked for, in the sizes of `SIZES`."""
    rng = np.random.default_rng(seed)
    natoms = np.zeros(len(library.rows), dtype=np.int64)
    for (_, size), places in library.members.items():
        natoms[places] = size
    parts = []
    for least, largest, share in SIZES:
        places = rng.permutation(np.flatnonzero((natoms >= least) & (natoms <= largest)))
        parts.append(places[: round(count * share)])
    return rng.permutation(np.concatenate(parts))


def ask(library: Library, place: int, pool: MatchPool) -> Pending | None:
    """One structure of the library, asked for without its formula: with its group and energy, either, neither."""
    target = library.structures[library.rows[[place]]]
    numbers = target.numbers[0].tolist()
    formula = int(library.formula[place])
    group, energy = int(target.group[0]), float(target.energy[0])
    asks = [Asked.of(numbers, g, e) for g in (group, None) for e in (energy, None)]
    found = [find_candidates(library, a, without=formula) for a in asks]
    union, members = _union(found)
    if not len(union):
        return None
    marks = library.marks(union.places)
    alike = likeness(
        [*marks, *library.marks(np.array([place]))], np.vstack([union.order, np.arange(len(union.order[0]))])
    )
    far = -ALIKE * np.log(np.maximum(alike[-1, :-1], 1e-30))
    leaders, which = _structures(far, alike[:-1, :-1])
    questions = [
        Question(
            formula,
            (a.group is not None, a.energy is not None),
            pair_features(library, a, c, alike[np.ix_(m, m)]),
            torch.tensor(a.elements),
            torch.from_numpy(exchanged(library, c)),
            torch.from_numpy(shares(a)).float(),
            torch.from_numpy(plain_cost(library, a, c)).float(),
            torch.zeros(len(c)),
        )
        for a, c, m in zip(asks, found, members, strict=True)
    ]
    own = cells_of(target)[0]
    drawn = cells_of(built(library, asks[0], union, leaders))
    return Pending(questions, members, which, pool.submit_cells([(cell, own) for cell in drawn]))


def _union(found: Sequence[Candidates]) -> tuple[Candidates, list[np.ndarray]]:
    """All candidates once, and where each question's are among them."""
    index: dict[tuple[int, bytes], int] = {}
    members = [
        np.array(
            [index.setdefault((p, o.tobytes()), len(index)) for p, o in zip(c.places.tolist(), c.order, strict=True)]
        )
        for c in found
    ]
    places, order = np.concatenate([c.places for c in found]), np.concatenate([c.order for c in found])
    first = np.unique(np.concatenate(members), return_index=True)[1] if len(places) else np.zeros(0, dtype=int)
    return Candidates(places[first], order[first], found[0].total, found[0].same), members


def _structures(far: np.ndarray, alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leaders of groups of candidates that are one structure, nearest the target first, and each one's group."""
    leaders: list[int] = []
    which = np.full(len(far), -1)
    limit = np.exp(-EQUAL / ALIKE)
    for i in np.argsort(far, kind="stable").tolist():
        if far[i] > FAR:
            break
        nearest = int(alike[i, leaders].argmax()) if leaders else -1
        if leaders and alike[i, leaders[nearest]] > limit:
            which[i] = nearest
        elif len(leaders) < MATCHED:
            which[i] = len(leaders)
            leaders.append(i)
    return np.array(leaders, dtype=np.int64), which


def answered(pending: Pending) -> list[Question]:
    """The questions with what the matcher says."""
    hits = np.array([d is not None for d in pending.verdicts.result()["paper"]] + [False])
    right = torch.from_numpy(hits[pending.which]).float()
    return [
        replace(q, hits=right[torch.from_numpy(m)]) for q, m in zip(pending.questions, pending.members, strict=True)
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--targets", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="that match beside this one")
    parser.add_argument("--keep", type=Path, help="write the questions here too, to fit them again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
