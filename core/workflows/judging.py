"""What was asked for, and what came of it: candidates judged and kept in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.crystals import Crystals, pack_cells, to_structures
from core.data.formulas import chemical_system, parse_formula, reduced_formula
from core.data.rows import finite
from core.evaluation.matching import first_match
from core.evaluation.validity import Verdict, group_reached, judge
from core.workflows.chain import Chain
from core.workflows.models import LoadedModel
from core.workflows.store import store
from db import candidates as rows
from db import datasets as dataset_rows


@dataclass(frozen=True)
class Wish:
    """One candidate asked for; series: which ladder of energies asked for it."""

    index: int
    numbers: tuple[int, ...]
    formula: str
    group: int | None
    energy: float | None
    series: str = ""


Extra = Callable[[Any, int], Mapping[str, Any]]


class Keeper:
    """Judges candidates and writes them; remembers what it has seen to tell what is unique and what is new.

    chain: whether to symmetrise, and the datasets to compare with; None for neither
    extra: more columns of a candidate: called with the pymatgen Structure as it will be kept and the wish's index, for
    each that is finite; returns some of displacement, volume_change, same_as_start
    """

    def __init__(self, model: LoadedModel, job_id: int, chain: Chain | None = None, extra: Extra | None = None) -> None:
        self.model, self.job_id, self.valid = model, job_id, 0
        self.chain, self.extra = chain or Chain(), extra
        self._siblings: dict[str, list[Any]] = defaultdict(list)
        self._known: dict[str, list[Any]] = {}

    def keep(self, wishes: Sequence[Wish], crystals: Crystals) -> None:
        """Write one batch of candidates, in one transaction."""
        values = [
            self._row(wish, verdict, structure, cell)
            for wish, verdict, structure, cell in zip(
                wishes, judge(crystals), _structures(crystals), _cells(crystals), strict=True
            )
        ]
        with store().session() as session:
            rows.add_candidates(session, values)
        self.valid += sum(v["valid"] for v in values)

    def _row(self, wish: Wish, verdict: Verdict, structure: Any, cell: bytes) -> dict[str, Any]:
        counts = parse_formula(wish.formula)
        reduced = reduced_formula(counts)
        group, symprec = group_reached(verdict, wish.group)
        novel = unique = None
        if verdict.valid:
            unique = first_match(structure, self._siblings[reduced]) is None
            novel = first_match(structure, self._training(reduced)) is None
            self._siblings[reduced].append(structure)
        return {
            "job_id": self.job_id,
            "index": wish.index,
            "model": self.model.row.name,
            "formula": wish.formula,
            "reduced_formula": reduced,
            "chemical_system": chemical_system(counts),
            "natoms": len(wish.numbers),
            "group_asked": wish.group,
            "group_found": group,
            "symprec": symprec,
            "energy_asked": wish.energy,
            "series": wish.series,
            "energy_method": self.model.row.energy_method,
            "min_distance": finite(verdict.min_distance),
            "volume": finite(verdict.volume),
            "valid": verdict.valid,
            "problem": verdict.problem,
            "novel": novel,
            "unique": unique,
            "displacement": None,
            "volume_change": None,
            "same_as_start": None,
            "cell": cell,
            **(self.extra(structure, wish.index) if self.extra and structure is not None else {}),
        }

    def _training(self, formula: str) -> list[Any]:
        """Structures of this formula in the dataset the model learned from, where that is still in the store."""
        if formula not in self._known:
            self._known[formula] = list(training_structures(self.model, formula))
        return self._known[formula]


def training_structures(model: LoadedModel, formula: str) -> Iterator[Any]:
    """Structures of a reduced formula in the model's dataset; none where that is gone."""
    from core.workflows.datasets import load_tensors

    with store().session() as session:
        dataset = dataset_rows.find_dataset(session, str(model.row.card.get("dataset_hash", "")))
    if dataset is None:
        return
    data = load_tensors(dataset)
    if formula in data.formulas:
        chosen = torch.nonzero(data.formula == data.formulas.index(formula)).flatten()
        yield from to_structures(data.crystals[chosen])


def _structures(crystals: Crystals) -> list[Any]:
    finite = torch.isfinite(crystals.lattice).flatten(1).all(1)
    return [to_structures(crystals[[i]])[0] if bool(finite[i]) else None for i in range(len(crystals))]


def _cells(crystals: Crystals) -> list[bytes]:
    frac = crystals.frac.nan_to_num()
    return pack_cells(Crystals(frac, crystals.lattice, crystals.numbers, crystals.group, crystals.energy))
