"""Fit the ranker to questions whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.templates.features import slot_features
from core.templates.ranker import Ranker

BATCH = 48
RATE = 2e-3
DECAY = 1e-2
LISTED = 0.5  # weight of choosing the right one of a list beside being sure of each
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
        loss = loss_of(ranker, join([learning[i] for i in rng.integers(0, len(learning), BATCH)]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ranker.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 499:
            print(f"step {step + 1}: {float(loss):.4f}; {report(ranker, checking)}", flush=True)
    return ranker.eval()


def loss_of(ranker: Ranker, batch: Batch) -> Tensor:
    """How unsure it is of each candidate, and how little of a softmax over a list is on right ones."""
    logits = ranker(batch.pairs, batch.slots, batch.mask)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.hits, reduction="none")
    likely = torch.log_softmax(logits.masked_fill(~batch.there, -1e4), 1)
    right = torch.logsumexp(likely.masked_fill(batch.hits == 0, -1e4), 1)
    some = batch.hits.sum(1) > 0
    listed = -(right * some).sum() / some.sum().clamp(min=1)
    return (each * batch.there).sum() / batch.there.sum() + LISTED * listed


def report(ranker: Ranker, questions: Sequence[Question]) -> str:
    """For each set of conditions: the share of first choices that are right, plain distance's, the most there is."""
    ranker.eval()
    parts = []
    for given in CONDITIONS:
        of = [q for q in questions if q.given == given and len(q.hits)]
        first = plain = most = sure = 0.0
        for start in range(0, len(of), 100):
            some = of[start : start + 100]
            batch = join(some)
            with torch.inference_mode():
                logits = ranker(batch.pairs, batch.slots, batch.mask).masked_fill(~batch.there, -1e4)
            best = logits.argmax(1, keepdim=True)
            first += float(batch.hits.gather(1, best).sum())
            sure += float(logits.gather(1, best).sigmoid().sum())
            plain += sum(float(q.hits[q.cost.argmin()]) for q in some)
            most += float((batch.hits.sum(1) > 0).sum())
        shares = [f"{100 * value / max(1, len(of)):.1f}" for value in (plain, first, sure, most)]
        parts.append(f"{'group ' if given[0] else ''}{'energy ' if given[1] else ''}{' → '.join(shares)}")
    return "; ".join(parts)
