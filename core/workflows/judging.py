"""What was asked for, and what came of it: candidates judged and kept in the store."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from core.crystals import Crystals, pack_cells, to_structures, unpack_cells, wrap
from core.data.formulas import chemical_system, parse_formula, reduced_formula
from core.data.rows import finite
from core.evaluation.charge_balance import charge_balanced
from core.evaluation.family import Family
from core.evaluation.pool import MatchPool, cells_of
from core.evaluation.reduction import Cell
from core.evaluation.symmetrising import Symmetrised, symmetrise
from core.evaluation.validity import Verdict, group_reached, judge
from core.workflows.chain import Chain
from core.workflows.method import About, Origin
from core.workflows.novelty import Novelty
from core.workflows.store import store
from db import candidates as rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """One candidate asked for. series: the ladder of an experiment that it belongs to.

    sample: the number of it among those of the same conditions, from 0
    """

    index: int
    numbers: tuple[int, ...]
    formula: str
    group: int | None
    energy: float | None
    series: str = ""
    sample: int = 0


Extra = Callable[[Any, int], Mapping[str, Any]]
EXTRA = ("displacement", "volume_change", "same_as_start")


@dataclass
class _Judged:
    """One candidate on its way. crystals: it alone, as it will be kept; verdict: on that, its groups as drawn."""

    wish: Wish
    crystals: Crystals
    verdict: Verdict
    symmetrised: Symmetrised | None = None
    remarks: list[str] = field(default_factory=list)
    origin: Origin | None = None

    @property
    def problem(self) -> str:
        made = f"from {self.origin}" if self.origin else ""
        return "; ".join(text for text in (self.verdict.problem or self.verdict.warning, *self.remarks, made) if text)


class Keeper:
    """Judges candidates and writes them; remembers what it has seen to tell what is unique and what is new.

    about: the method that makes them
    chain: whether to symmetrise, the datasets to compare with, the processes to match in; None: not, none, one
    extra: more columns of a candidate: called with the pymatgen Structure as it will be kept and the wish's index, for
    each that is finite; returns some of `EXTRA`

    A step that fails for one candidate leaves a remark there and stops nothing. Raises UserError for a dataset to
    compare with that is not in the store.
    """

    def __init__(self, about: About, job_id: int, chain: Chain | None = None, extra: Extra | None = None) -> None:
        self.about, self.job_id = about, job_id
        self.chain, self.extra = chain or Chain(), extra
        self._novelty = Novelty(about.dataset_hash, self.chain.compare)
        self._siblings: dict[str, Family] = {}
        self._pool = MatchPool(self.chain.processes) if self.chain.processes > 1 else None
        if self._pool is not None:
            weakref.finalize(self, self._pool.close, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes beside this one, where there are any; they start again when they are needed."""
        if self._pool is not None:
            self._pool.close(wait=False)

    @property
    def valid(self) -> int:
        """How many valid candidates the run has by now, those from before an interruption too."""
        with store().session() as session:
            return rows.count_candidates(session, rows.CandidateFilter(job_id=self.job_id, valid=True))

    def keep(self, wishes: Sequence[Wish], crystals: Crystals, origins: Sequence[Origin | None] = ()) -> None:
        """Write one batch of candidates, in one transaction. origins: what each was made of, () where nothing was."""
        if not wishes:
            return
        judged = [
            self._on_its_group(_Judged(wish, crystals[[i]], verdict, origin=origins[i] if origins else None))
            for i, (wish, verdict) in enumerate(zip(wishes, judge(crystals), strict=True))
        ]
        values = [self._row(candidate) for candidate in judged]
        with store().session() as session:
            rows.add_candidates(session, values)

    def _on_its_group(self, one: _Judged) -> _Judged:
        """Symmetrised where that was chosen and can be done without making a valid crystal one that is not."""
        asked = one.wish.group
        if not (self.chain.symmetrise and asked and one.verdict.groups):
            return one
        with _guarded(one, "could not be symmetrised"):
            found = symmetrise(one.crystals, asked, one.verdict.groups)
            if found is None:
                return one
            (verdict,) = judge(found.crystals, ())
            if verdict.valid or not one.verdict.valid:
                verdict = Verdict(**{**vars(verdict), "groups": one.verdict.groups})
                return _Judged(one.wish, found.crystals, verdict, found, origin=one.origin)
            one.remarks.append(f"left as drawn, since on its group {verdict.problem}")
        return one

    def _row(self, one: _Judged) -> dict[str, Any]:
        wish, verdict = one.wish, one.verdict
        counts = parse_formula(wish.formula)
        reduced = reduced_formula(counts)
        group, symprec = group_reached(verdict.groups, wish.group)
        if one.symmetrised:
            group, symprec = wish.group, one.symmetrised.symprec
        packed = _cell(one.crystals)
        unique, novelty = self._compared(one, reduced, packed)
        balanced = None
        with _guarded(one, "its charges could not be counted"):
            balanced = charge_balanced(reduced)
        more = self._more(one)
        return {
            "job_id": self.job_id,
            "index": wish.index,
            "model": self.about.name,
            "formula": wish.formula,
            "reduced_formula": reduced,
            "chemical_system": chemical_system(counts),
            "natoms": len(wish.numbers),
            "group_asked": wish.group,
            "group_found": group,
            "symprec": symprec,
            "groups": {f"{t:g}": g for t, g in verdict.groups.items()},
            "symmetrised": one.symmetrised.moved if one.symmetrised else None,
            "energy_asked": wish.energy,
            "energy_method": self.about.energy_method,
            "series": wish.series,
            "min_distance": finite(verdict.min_distance),
            "volume": finite(verdict.volume),
            "valid": verdict.valid,
            "problem": one.problem,
            "novel": all(novelty.values()) if novelty else None,
            "novelty": novelty,
            "unique": unique,
            "charge_balanced": balanced,
            **more,
            "cell": packed,
        }

    def _compared(self, one: _Judged, formula: str, packed: bytes) -> tuple[bool | None, dict[str, bool]]:
        """(is it no copy of a sibling, {dataset: is it new there}); (None, {}) where it is not valid."""
        if not one.verdict.valid:
            return None, {}
        with _guarded(one, "it could not be compared with others"):
            (cell,) = cells_of(unpack_cells([packed]))  # as a resumed run will see it
            try:
                return self._looked_up(cell, formula)
            except MemoryError as error:  # a process beside this one was ended from outside
                log.warning("matching goes on in one process: %s", error)
                self.close()
                self._pool = None
                return self._looked_up(cell, formula)
        return None, {}

    def _looked_up(self, cell: Cell, formula: str) -> tuple[bool, dict[str, bool]]:
        siblings = self._family(formula)
        novelty = self._novelty.new_against(cell, formula, self._pool)
        repeat = siblings.holds(cell, self._pool)
        if not repeat:
            siblings.add(cell)
        return not repeat, dict(novelty)

    def _family(self, formula: str) -> Family:
        """This run's different candidates of a formula, those in the store before an interruption too."""
        if formula not in self._siblings:
            with store().session() as session:
                cells = rows.unique_cells(session, self.job_id, formula)
            kept = [cell for packed in cells for cell in cells_of(unpack_cells([packed]))]
            self._siblings[formula] = Family(kept)
        return self._siblings[formula]

    def _more(self, one: _Judged) -> dict[str, Any]:
        """The columns that the hook fills, None where it does not."""
        values: dict[str, Any] = dict.fromkeys(EXTRA)
        if self.extra is not None and math.isfinite(one.verdict.volume):
            with _guarded(one, "it could not be compared with the start"):
                values |= self.extra(to_structures(one.crystals)[0], one.wish.index)
        return values


@contextmanager
def _guarded(one: _Judged, remark: str) -> Iterator[None]:
    """One bad sample never stops a run: what fails inside is logged and becomes a remark."""
    try:
        yield
    except Exception as error:
        log.warning("candidate %s: %s", one.wish.index, remark, exc_info=True)
        one.remarks.append(f"{remark} ({type(error).__name__})")


def _cell(crystals: Crystals) -> bytes:
    frac = wrap(crystals.frac.double().nan_to_num(0.0, 0.0, 0.0))
    return pack_cells(Crystals(frac, crystals.lattice, crystals.numbers, crystals.group, crystals.energy))[0]
