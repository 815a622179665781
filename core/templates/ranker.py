"""How sure is it that a template gives the crystal asked for? A small network, trained with formulas left out."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.templates.candidates import Asked, Candidates
from core.templates.features import PAIR_FEATURES, SLOT_FEATURES, exchanged, pair_features, shares, slot_features
from core.templates.library import Library

FILE = Path(__file__).resolve().parents[2] / "assets" / "templates" / "ranker.safetensors"


class Ranker(nn.Module):
    """Looks at a template's elements one by one, adds them up by their share, and gives a logit."""

    shift: Tensor
    scale: Tensor

    def __init__(self, slot: int = 48, hidden: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(PAIR_FEATURES))
        self.register_buffer("scale", torch.ones(PAIR_FEATURES))
        self.slots = nn.Sequential(nn.Linear(SLOT_FEATURES, slot), nn.SiLU(), nn.Linear(slot, slot), nn.SiLU())
        self.head = nn.Sequential(
            nn.Linear(PAIR_FEATURES + 2 * slot, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, pairs: Tensor, slots: Tensor, mask: Tensor) -> Tensor:
        """(…, K, PAIR_FEATURES), (…, K, E, SLOT_FEATURES) and mask (…, K, E) of the slots that are there -> (…, K)."""
        looked = self.slots(slots) * mask[..., None]
        shared = (looked * slots[..., -1:]).sum(-2)
        most = looked.masked_fill(~mask[..., None], -1.0).amax(-2)
        scaled = (pairs - self.shift) / self.scale
        found: Tensor = self.head(torch.cat([scaled, shared, most], -1)).squeeze(-1)
        return found


def score(ranker: Ranker, library: Library, asked: Asked, candidates: Candidates, alike: np.ndarray) -> np.ndarray:
    """(K,) how likely each of the candidates is the crystal asked for. alike: `features.likeness` of them"""
    theirs = torch.from_numpy(exchanged(library, candidates))
    mine = torch.tensor(asked.elements).expand_as(theirs)
    slots = slot_features(mine, theirs, torch.from_numpy(shares(asked)).float().expand(theirs.shape))
    with torch.inference_mode():
        logits = ranker(
            pair_features(library, asked, candidates, alike), slots, torch.ones_like(mine, dtype=torch.bool)
        )
    found: np.ndarray = logits.sigmoid().double().numpy()
    return found


@cache
def shipped() -> Ranker | None:
    """The one that comes with the project, None where its file is not there."""
    return load_ranker(FILE) if FILE.is_file() else None


def load_ranker(path: Path) -> Ranker:
    """Raises ValueError for a file that is no ranker's, or one of other features."""
    ranker = Ranker()
    try:
        ranker.load_state_dict(load_file(str(path)))
    except Exception as error:  # safetensors and torch each have their own
        raise ValueError(f"{path.name} holds no ranker of templates.") from error
    return ranker.eval()


def save_ranker(ranker: Ranker, path: Path) -> None:
    """The whole file, or none."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file({k: t.contiguous() for k, t in ranker.state_dict().items()}, str(partial))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
