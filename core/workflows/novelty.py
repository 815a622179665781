"""Which datasets a candidate is compared with, and their structures by formula."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch

from core.data.tensors import TensorData
from core.evaluation.family import Family
from core.evaluation.pool import MatchPool, cells_of
from core.evaluation.reduction import Cell
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.store import store
from db import datasets as dataset_rows
from db.tables import Dataset

log = logging.getLogger(__name__)

_PART = 500  # structures made of the arrays at once
_FAMILIES = 64  # formulas of a dataset that are kept


def check_compare(names: Sequence[str]) -> list[Dataset]:
    """The datasets of these names. Raises UserError for one that is not in the store, or whose file is gone."""
    found = [get_dataset(name) for name in dict.fromkeys(names)]
    for dataset in found:
        load_tensors(dataset)
    return found


class Known:
    """Structures of one dataset, found by their reduced formula; only those that are asked for are made."""

    def __init__(self, name: str, data: TensorData) -> None:
        self.name, self._data = name, data
        self._place = {formula: i for i, formula in enumerate(data.formulas)}
        self.family = lru_cache(maxsize=_FAMILIES)(self._family)

    def _family(self, formula: str) -> Family:
        """Every structure of a reduced formula."""
        family, place = Family(), self._place.get(formula)
        if place is not None:
            for rows in torch.nonzero(self._data.formula == place).flatten().split(_PART):
                for cell in cells_of(self._data.crystals[rows]):
                    family.add(cell)
        return family


class Novelty:
    """What a model learned from, where it is still in the store, and the datasets named beside it."""

    def __init__(self, learned_from: str, compare: Sequence[str] = ()) -> None:
        """learned_from: a dataset's hash, "" for none. Raises UserError where one to compare with is not there."""
        chosen = {d.name: Known(d.name, load_tensors(d)) for d in check_compare(compare)}
        learned = _learned_from(learned_from)
        self.known = ({learned.name: learned} if learned else {}) | chosen

    def new_against(self, cell: Cell, formula: str, pool: MatchPool | None = None) -> Mapping[str, bool]:
        """{name of a dataset: is this crystal new there?}"""
        return {name: not known.family(formula).holds(cell, pool) for name, known in self.known.items()}


def _learned_from(digest: str) -> Known | None:
    with store().session() as session:
        dataset = dataset_rows.find_dataset(session, digest) if digest else None
    if dataset is None:
        return None
    try:
        return Known(dataset.name, load_tensors(dataset))
    except UserError as error:  # a candidate is not told new against it then
        log.warning("what the model learned from cannot be compared with: %s", error)
        return None
