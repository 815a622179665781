"""Template substitution as a method: known structures of a dataset with their elements exchanged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from core.crystals import Crystals, concatenate, pack_cells
from core.data.formulas import atomic_numbers, elements_of, formula_unit, parse_formula, pattern, reduced_formula
from core.data.space_groups import compact
from core.data.symmetry import detect_group
from core.data.tensors import TRAIN, TensorData
from core.evaluation.matching import cell_distances
from core.evaluation.pool import cells_of
from core.templates.candidates import Asked as Pattern
from core.templates.candidates import find_candidates
from core.templates.library import Library, build_library
from core.templates.propose import Proposals, joined, propose, propose_parts
from core.templates.relatives import kin
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.method import About, Asked, Drawn, Origin, Wanted
from core.workflows.seen import seen_in
from db.tables import Dataset

SUBSTITUTION = "substitution:"
_EACH_S = 0.055  # to propose a crystal and to judge it
_MORE = 4  # proposals asked for beside those wanted, where some may be the start
SYMPREC = 0.01  # Å, of the start's own group, as datasets label theirs
_STAND_IN = " The start's own atoms in another order or another symmetry stand in."
_GROUPS = 8  # groups asked for in which relatives of a start are looked for, before anything is drawn
_LOOKED_AT = 40  # formulas that a warning looks at
_NAMED = 4


def about_dataset(row: Dataset) -> About:
    """What the store says of a dataset of templates; its structures are not looked at."""
    return About(SUBSTITUTION + row.name, row.hash, "", row.method, row.name, row.hash, fixed=True)


class Substitution:
    """The likeliest structures of a dataset's training part with their elements exchanged; the k-th sample is the k-th.

    Asked for a change from a start, it looks for that energy above or below the start's, where the start's is known by
    the dataset's method; the start's own relatives (`core.templates.relatives`) stand among the templates. It never
    answers with the start:
    what the paper's matcher takes for it counts only where it has the space group asked for and the start has not.
    """

    def __init__(self, dataset: str) -> None:
        """Raises UserError where there is no such dataset, or nothing in its training part."""
        row = get_dataset(dataset)
        self.data = load_tensors(row)
        self.library, seen = _learned(row.hash, self.data)
        self.about = replace(about_dataset(row), seen=seen)

    def refuses(self, asked: Asked) -> list[str]:
        return [""] * len(asked)

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        """The k-th proposal for the k-th sample; none where there are fewer."""
        found: list[tuple[int, Crystals, Origin]] = []
        for places in alike(asked):
            if context.cancelled():
                raise Cancelled
            proposals = self.proposals(asked[torch.tensor(places[:1])], max(asked.sample[i] for i in places) + 1)
            for i in places:
                k = asked.sample[i]
                if k < len(proposals):
                    found.append((i, proposals.crystals[[k]], self.origin(proposals, k)))
        found.sort(key=lambda one: one[0])
        crystals = concatenate([crystal for _, crystal, _ in found]) if found else _nothing(asked)
        return Drawn(crystals, [i for i, _, _ in found], [origin for _, _, origin in found])

    def proposals(self, one: Asked, count: int) -> Proposals:
        """Up to `count` for a batch of one; those that are the start again are left out."""
        numbers = one.numbers[0][one.numbers[0] > 0].tolist()
        group, energy = int(one.group[0]) or None, _energy(one)
        if one.start is None:
            return propose(self.library, numbers, group, energy, count)
        wanted, own = count + _MORE, kin(one.start, group, float(one.energy[0]))
        while True:
            templates = propose_parts(self.library, numbers, group, energy, wanted)
            found = joined(templates, own)
            other = _others(found, one.start, group)
            if len(other) >= count or len(templates) < wanted:
                return found[other[:count]]
            wanted *= 2

    def origin(self, proposals: Proposals, k: int) -> Origin:
        """What the k-th was made of."""
        row = int(proposals.rows[k])
        if row < 0:
            content = proposals.crystals.formula(k)
            return Origin(content, None, float(proposals.confidence[k]), proposals.how[k])
        formula = self.data.formulas[int(self.data.formula[row])]
        return Origin(formula, int(self.data.ids[row]), float(proposals.confidence[k]))

    def check(self, formulas: Iterable[str], groups: Sequence[int] = (), starts: Sequence[Crystals] = ()) -> None:
        """Raises UserError where none of these cell contents has a template, and no start has relatives."""
        formulas = list(formulas)
        if not formulas or any(self._answers(formula, groups) for formula in formulas):
            return
        wanted: Sequence[int | None] = list(groups)[:_GROUPS] or (None,)
        if not any(len(kin(start, group)) for start in starts for group in wanted):
            raise UserError(self._missing(formulas) + " Choose another composition, dataset or model.")

    def start_energy(self, start: Crystals) -> float | None:
        """That of the structure of the dataset that it is, by the paper's matcher; None where it is none."""
        formula = reduced_formula(parse_formula(start.formula(0)))
        if formula not in self.data.formulas:
            return None
        rows = torch.nonzero(self.data.formula == self.data.formulas.index(formula)).flatten()
        rows = rows[torch.isfinite(self.data.crystals.energy[rows])]
        (given,) = cells_of(start)
        distances = cell_distances([(given, cell) for cell in cells_of(self.data.crystals[rows])], "paper")
        found = [(d, i) for i, d in enumerate(distances) if d is not None]
        return float(self.data.crystals.energy[rows[min(found)[1]]]) if found else None

    def _answers(self, formula: str, groups: Sequence[int]) -> bool:
        """Is there anything to propose? In a group also what is made of structures of another stoichiometry."""
        numbers = atomic_numbers(parse_formula(formula))
        return self.templates(formula) > 0 or any(
            len(propose(self.library, numbers, group, None, 1)) for group in groups[:_LOOKED_AT]
        )

    def templates(self, formula: str, group: int | None = None) -> int:
        """How many known structures elements can be exchanged in for this cell content, in a space group if given."""
        found = find_candidates(self.library, Pattern.of(atomic_numbers(parse_formula(formula)), group, None))
        return found.same if group else found.total

    def unfamiliar(self, wanted: Wanted) -> list[str]:
        """What has no template, or fewer than are asked for, and whose volume is guessed."""
        formulas = list(dict.fromkeys(wanted.formulas))[:_LOOKED_AT]
        none = [f for f in formulas if not self._answers(f, wanted.groups)]
        found = [self._missing(none) + _STAND_IN * bool(wanted.starts)] if none else []
        some = [f for f in formulas if f not in none]
        few = {f: n for f in some if (n := self._most(f, wanted.count)) < wanted.count}
        if few:
            listed = ", ".join(f"{n} for {formula_unit(parse_formula(f))}" for f, n in list(few.items())[:_NAMED])
            found.append(
                f"{self.about.dataset} has fewer templates than the {wanted.count:,} candidates of each combination: "
                f"{listed}{_and_more(few)}. What is missing is not made."
            )
        return [*found, *self._groups(some, wanted.groups), *self._elements(formulas)]

    def _most(self, formula: str, count: int) -> int:
        return len(propose(self.library, atomic_numbers(parse_formula(formula)), None, None, count))

    def _missing(self, formulas: Sequence[str]) -> str:
        units = {formula_unit(parse_formula(f)): pattern(formula_unit(parse_formula(f))) for f in formulas}
        listed = ", ".join(f"{unit} ({form})" for unit, form in list(units.items())[:_NAMED]) + _and_more(units)
        return (
            f"{self.about.dataset} holds no structure of the same pattern and number of atoms (or a whole part of it) "
            f"as {listed}: there is nothing to exchange elements in.{self._larger(formulas)}"
        )

    def _larger(self, formulas: Sequence[str]) -> str:
        """ " It has some for Ta2B4, Ta4B8.": contents with other numbers of formula units, of the first formula."""
        unit = parse_formula(formula_unit(parse_formula(formulas[0])))
        own = Pattern.of(atomic_numbers(unit), None, None).pattern
        sizes = sorted(n // sum(own) for known, n in self.library.members if known == own)
        listed = ["".join(f"{e}{k * times}" for e, k in unit.items()) for times in sizes[:3]]
        return f" It has some for {', '.join(listed)}." if listed else ""

    def _groups(self, formulas: Sequence[str], groups: Sequence[int]) -> list[str]:
        said = []
        for formula in formulas[:_NAMED]:
            without = [g for g in dict.fromkeys(groups) if not self.templates(formula, g)]
            if without:
                unit = formula_unit(parse_formula(formula))
                share = (
                    f"{len(without)} of the {len(set(groups))} space groups" if len(set(groups)) > 1 else "the group"
                )
                said.append(
                    f"{unit}: no template in {share} asked for ({compact(tuple(without))}): other "
                    "groups, or other stoichiometries in that group, stand in."
                )
        return said

    def _elements(self, formulas: Sequence[str]) -> list[str]:
        known = set(self.about.seen["elements"])
        strange = sorted({e for f in formulas for e in elements_of(formula_unit(parse_formula(f)))} - known)
        if not strange:
            return []
        return [f"No structure of {self.about.dataset} holds {', '.join(strange)}: their volume is an average one."]

    def seconds(self, sizes: Sequence[int], steps: int, device: str = "cpu") -> float:
        return len(sizes) * _EACH_S


@lru_cache(maxsize=2)
def _kept(digest: str, data: TensorData) -> tuple[Library, dict[str, object]]:
    return build_library(data.crystals, data.part(TRAIN)), seen_in(data)


def _learned(digest: str, data: TensorData) -> tuple[Library, dict[str, object]]:
    """The library of a dataset and what it holds, kept in this process. Raises UserError."""
    try:
        return _kept(digest, data)
    except ValueError as error:
        raise UserError(f"{data.name} has no training part to substitute elements in.") from error


def alike(asked: Asked) -> list[list[int]]:
    """Places of a batch that differ by the number of their sample alone."""
    starts = pack_cells(asked.start) if asked.start is not None else [b""] * len(asked)
    found: dict[object, list[int]] = {}
    for i in range(len(asked)):
        numbers = tuple(sorted(asked.numbers[i][asked.numbers[i] > 0].tolist()))
        energy = float(asked.energy[i])
        wanted = None if math.isnan(energy) else energy
        found.setdefault((numbers, int(asked.group[i]), wanted, starts[i]), []).append(i)
    return list(found.values())


def _energy(one: Asked) -> float | None:
    """Formation energy to look for, eV/atom: the start's with its change where there is a start."""
    asked = float(one.energy[0])
    energy = asked if one.start is None else float(one.start.energy[0]) + asked
    return energy if math.isfinite(energy) else None


def _others(found: Proposals, start: Crystals, group: int | None) -> np.ndarray:
    """Places of the proposals that are not the start by the paper's matcher, or have the group asked for and it not."""
    (given,) = cells_of(start)
    distances = cell_distances([(given, cell) for cell in cells_of(found.crystals)], "paper")
    new = group is not None and detect_group(start, 0, SYMPREC) != group
    reached = [new and g == group for g in found.crystals.group.tolist()]
    return np.array([i for i, d in enumerate(distances) if d is None or reached[i]], dtype=np.int64)


def _nothing(asked: Asked) -> Crystals:
    width = asked.numbers.shape[1]
    none = torch.zeros(0, dtype=torch.float64)
    whole = torch.zeros(0, dtype=torch.int64)
    frac, lattice = torch.zeros(0, width, 3, dtype=torch.float64), torch.zeros(0, 3, 3, dtype=torch.float64)
    return Crystals(frac, lattice, torch.zeros(0, width, dtype=torch.int64), whole, none)


def _and_more(named: Sequence[str] | dict[str, int] | dict[str, str]) -> str:
    return f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
