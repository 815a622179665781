"""Training and validation: by formula, never by structure, with the chemical elements balanced between the parts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.data.tensors import VALIDATION

_LARGE = 20_000  # formulas that one stratification takes; more are stratified in pieces of like size


def split_by_formula(formula: np.ndarray, presence: np.ndarray, share: float, seed: int) -> Tensor:
    """(M,) int8 split: a `share` of the formulas (at least one, if there are two) is validation.

    formula: (M,) index of each structure's formula; presence: (F, E) bool, which elements each formula holds
    Iterative stratification (Sechidis et al., ECML 2011) by iterative-stratification, formulas that occur only.
    """
    present = np.unique(formula)
    split = torch.zeros(int(formula.max()) + 1 if len(formula) else 1, dtype=torch.int8)
    count = len(present)
    if share > 0 and count > 1:
        held_out = min(max(1, round(share * count)), count - 1)
        split[present[_held_out(presence[present], held_out, seed)]] = VALIDATION
    return split[torch.from_numpy(formula.astype(np.int64))]


def _held_out(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of `count` of the rows, labels balanced."""
    labels = labels[:, labels.any(0)].astype(int)
    order = np.random.default_rng(seed).permutation(len(labels))
    pieces = np.array_split(order, -(-len(order) // _LARGE))
    quotas = np.diff(np.round(np.linspace(0, count, len(pieces) + 1)).astype(int))
    chosen = [_stratified(piece, labels[piece], int(n), seed) for piece, n in zip(pieces, quotas, strict=True)]
    return np.concatenate(chosen)


def _stratified(rows: np.ndarray, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    if not 0 < count < len(rows):
        return rows[:count]
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit  # brings scikit-learn: a second

    shuffle = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=count / len(rows), random_state=seed)
    _, held_out = next(shuffle.split(labels, labels))
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[held_out] = True
    wanted = labels.sum(0) * count / len(rows)
    while (excess := int(chosen.sum()) - count) != 0:  # balancing labels makes the size come out a little off
        movable = np.flatnonzero(chosen == (excess > 0))
        after = labels[chosen].sum(0) - np.sign(excess) * labels[movable]
        chosen[movable[((after - wanted) ** 2).sum(1).argmin()]] = excess < 0
    return rows[chosen]
