"""Fit the ranker to questions whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.templates.features import forget, slot_features
from core.templates.ranker import Ranker

BATCH = 48
RATE = 2e-3
DECAY = 1e-2
LISTED = 0.5  # weight of choosing the right one of a list beside being sure of each
FORGOTTEN = 0.3  # of the questions that give neither group nor energy
CONDITIONS = ((False, False), (True, False), (False, True), (True, True))


@dataclass(frozen=True, eq=False)
class Question:
    """A structure asked for with its formula left out, and K candidates.

    formula: of the library; given: whether the group and the energy are; pairs: (K, PAIR_FEATURES); mine: (E,) atomic
    numbers, theirs: (K, E) those of the templates, share: (E,) of the atoms; cost: (K,) `candidates.plain_cost`;
    hits: (K,) 1 where the paper's matcher says that it is the structure
    """

    formula: int
    given: tuple[bool, bool]
    pairs: Tensor
    mine: Tensor
    theirs: Tensor
    share: Tensor
    cost: Tensor
    hits: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Questions padded to one width: pairs (B, K, …), slots (B, K, E, …), mask (B, K, E), there and hits (B, K)."""

    pairs: Tensor
    slots: Tensor
    mask: Tensor
    there: Tensor
    hits: Tensor


def join(questions: Sequence[Question]) -> Batch:
    """Padded to the most candidates and the most elements."""
    size, most = len(questions), max(len(q.hits) for q in questions)
    kinds = max(len(q.mine) for q in questions)
    pairs = torch.zeros(size, most, questions[0].pairs.shape[1])
    mine, theirs = torch.zeros(2, size, most, kinds, dtype=torch.int64)
    share, hits, there = torch.zeros(size, most, kinds), torch.zeros(size, most), torch.zeros(size, most)
    for i, q in enumerate(questions):
        k, e = q.theirs.shape
        pairs[i, :k], mine[i, :k, :e], theirs[i, :k, :e], share[i, :k, :e] = q.pairs, q.mine, q.theirs, q.share
        hits[i, :k], there[i, :k] = q.hits, 1
    return Batch(pairs, slot_features(mine, theirs, share), mine > 0, there > 0, hits)


def fit(learning: Sequence[Question], checking: Sequence[Question], steps: int, seed: int) -> Ranker:
    """A ranker trained on some questions; the loss on the others is printed."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    learning = [q for q in learning if len(q.hits)]
    ranker = Ranker()
    known = torch.cat([q.pairs for q in learning])
    ranker.shift.copy_(known.mean(0))
    ranker.scale.copy_(known.std(0).clamp(min=1e-3))
    optimizer = torch.optim.AdamW(ranker.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        ranker.train()
        drawn = [learning[i] for i in rng.integers(0, len(learning), BATCH)]
        loss = loss_of(ranker, join([_forgetful(q, rng) for q in drawn]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ranker.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 499:
            said = [(row["plain"], row["ranked"], row["any"]) for row in measure(ranker, checking)]
            print(f"step {step + 1}: {float(loss):.4f}; plain, ranked, any: {said}", flush=True)
    calibrate(ranker.eval(), checking)
    return ranker


def _forgetful(question: Question, rng: np.random.Generator) -> Question:
    """Sometimes as a library that does not know its energies or its groups would have it: not every one does."""
    energies, groups = (rng.random(2) < FORGOTTEN).tolist()
    if any(question.given) or not (energies or groups):
        return question
    return replace(question, pairs=forget(question.pairs, energies, groups))


def calibrate(ranker: Ranker, questions: Sequence[Question]) -> None:
    """Make its first choices as sure as they are right: scale and shift its logits (Platt, 1999), in place.

    The list's part of the loss makes it too sure: without this it expected 71 % of first choices where 61 % were right.
    """
    best, right = first_choices(ranker, questions)
    if not 0 < float(right.sum()) < len(right):
        return
    scale, shift = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, shift], max_iter=100)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(best * scale + shift, right)
        value.backward()
        return value

    optimizer.step(loss)
    if not 0.2 < float(scale) < 5:  # too few questions to tell
        return
    last = ranker.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight *= scale
        last.bias.copy_(last.bias * scale + shift)


def first_choices(ranker: Ranker, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """(Q,) logits of its first choices of those that have candidates, and 1 where they are right."""
    asked = [q for q in questions if len(q.hits)]
    best, right = [torch.zeros(0)], [torch.zeros(0)]
    for start in range(0, len(asked), 100):
        batch = join(asked[start : start + 100])
        with torch.inference_mode():
            logits = ranker(batch.pairs, batch.slots, batch.mask).masked_fill(~batch.there, -1e4)
        value, index = logits.max(1, keepdim=True)
        best.append(value.flatten().clone())
        right.append(batch.hits.gather(1, index).flatten())
    return torch.cat(best), torch.cat(right)


def loss_of(ranker: Ranker, batch: Batch) -> Tensor:
    """How unsure it is of each candidate, and how little of a softmax over a list is on right ones."""
    logits = ranker(batch.pairs, batch.slots, batch.mask)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.hits, reduction="none")
    likely = torch.log_softmax(logits.masked_fill(~batch.there, -1e4), 1)
    right = torch.logsumexp(likely.masked_fill(batch.hits == 0, -1e4), 1)
    some = batch.hits.sum(1) > 0
    listed = -(right * some).sum() / some.sum().clamp(min=1)
    return (each * batch.there).sum() / batch.there.sum() + LISTED * listed


def measure(ranker: Ranker, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """For each set of conditions, in shares of the questions: first choices that are right by plain distance, those
    that are by the ranker, how many it expects to be, and questions with any right candidate.
    """
    ranker.eval()
    rows: list[dict[str, Any]] = []
    for given in CONDITIONS:
        asked = [q for q in questions if q.given == given and len(q.hits)]
        best, right = first_choices(ranker, asked)
        plain = sum(float(q.hits[q.cost.argmin()]) for q in asked)
        found = plain, float(right.sum()), float(best.sigmoid().sum()), sum(float(q.hits.any()) for q in asked)
        shares = {
            name: round(value / max(1, len(asked)), 3)
            for name, value in zip(("plain", "ranked", "expected", "any"), found, strict=True)
        }
        names = [name for name, there in zip(("space-group", "energy"), given, strict=True) if there]
        rows.append({"conditions": ["composition", *names], "questions": len(asked)} | shares)
    return rows
