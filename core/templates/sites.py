"""Which Wyckoff positions a library's structures of a content and group take: weights for random starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from core.data.wyckoff_prior import site_prior
from core.data.wyckoff_starts import Assignment
from core.templates.library import Library

_MOST = 50  # structures that are looked at


class SiteWeights:
    """Called with a group and the atoms of each element by rising atomic number; remembers what it found."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._found: dict[tuple[int, tuple[int, ...]], Mapping[Assignment, float]] = {}

    def __call__(self, group: int, counts: Sequence[int]) -> Mapping[Assignment, float]:
        """How often structures with as many atoms of each of any elements take which positions; {} for none."""
        key = group, tuple(counts)
        if key not in self._found:
            places = self._like(group, counts)[:_MOST]
            known = self._library.structures[self._library.rows[torch.from_numpy(places)]]
            self._found[key] = site_prior(known, group, counts) if len(places) else {}
        return self._found[key]

    def _like(self, group: int, counts: Sequence[int]) -> np.ndarray:
        """Places in the library with this group and these numbers of atoms in the cell."""
        width = self._library.counts.shape[1]
        if len(counts) > width:
            return np.zeros(0, dtype=np.int64)
        wanted = np.zeros(width, dtype=self._library.counts.dtype)
        wanted[: len(counts)] = sorted(counts)
        same = (self._library.counts == wanted).all(1) & (self._library.group == group)
        return np.flatnonzero(same)
