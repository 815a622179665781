"""Ladders of energies to ask for, built from the energy of a hull at a composition (the paper, section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.data.formulas import FormulaError, chemical_system, formula_unit, parse_formula
from core.energy.errors import method_error
from core.energy.hull import ConvexHull, HullError
from core.energy.scales import stand_ins
from core.workflows.context import UserError
from core.workflows.hulls import HullView, get_hull_by_id, own_hull
from db.tables import Hull

RUNGS = 21  # energies of a whole ladder


@dataclass(frozen=True)
class Ladder:
    """Rungs at hull − start − k · step, k = 0 … 20, eV/atom.

    The paper's third runs "from 1 eV below the hull in steps of 0.01"; like the other two it goes down.
    """

    start: float
    step: float
    about: str


LADDERS: dict[int, Ladder] = {
    1: Ladder(0.0, 0.01, "from the hull down in steps of 0.01 eV/atom, to 0.2 below it"),
    2: Ladder(0.0, 0.1, "from the hull down in steps of 0.1 eV/atom, to 2 below it"),
    3: Ladder(1.0, 0.01, "from 1 eV/atom below the hull on down in steps of 0.01, to 1.2 below it"),
}


def series_of(ladder: int) -> str:
    """The name that its candidates carry: "ladder 1"."""
    return f"ladder {ladder}"


def rungs(level: float, ladder: int, every: int = 1) -> tuple[float, ...]:
    """Energies of a ladder (1, 2 or 3) from the hull's energy `level`, eV/atom; of a thinned one every so manyth.

    Raises UserError.
    """
    if ladder not in LADDERS:
        raise UserError(f"There is no ladder {ladder}: choose {', '.join(map(str, LADDERS))}.")
    if not 1 <= every <= RUNGS - 1:
        raise UserError(f"Of a ladder every 1st to {RUNGS - 1}th energy can be taken, not every {every}th.")
    start, step = LADDERS[ladder].start, LADDERS[ladder].step
    return tuple(round(level - start - k * step, 6) for k in range(0, RUNGS, every))


def hull_energy(hull: ConvexHull, composition: Mapping[str, int]) -> float:
    """The hull's energy at a composition, eV/atom. Raises HullError for an element that it does not hold."""
    return float(hull.heights(hull.fractions([composition]))[0])


@dataclass(frozen=True)
class Level:
    """Where the ladders of a composition hang.

    energy: of `hull` there, eV/atom; asked: the hull that was chosen; method: that the model learned from, which is the
    hull's own, or one that the hull's potential learned too (`core.energy.scales`)
    """

    formula: str
    energy: float
    hull: Hull
    asked: Hull
    method: str

    @property
    def carried(self) -> bool:
        """Is the chosen hull one of another method?"""
        return self.hull.method != self.asked.method

    @property
    def stands_in(self) -> bool:
        """Is the hull a potential's in the place of what it learned from?"""
        return self.hull.method != self.method


def level_at(formula: str, method: str, hull_id: int | None = None) -> Level:
    """The energy that ladders of a formula are built from, on the scale of a model's method.

    A hull of that method is used as it is, and where there is none, one by a potential that learned that method's
    energies. For a hull of another method the ladder is carried over: the same offsets from such a hull. hull_id None
    takes the newest of the model's method.
    Raises UserError where there is none, or where a hull does not hold the composition.
    """
    try:
        counts = parse_formula(formula)
    except FormulaError as error:
        raise UserError(str(error)) from error
    unit, system = formula_unit(counts), chemical_system(counts)
    if not method:
        raise UserError("This model does not name the method of its energies: give them as a list, not as a ladder.")
    asked = get_hull_by_id(hull_id) if hull_id is not None else None
    used = _hull_on(system, method, asked)
    if used is None:
        known = asked.row.method if asked else ""
        raise UserError(_refusal(unit, system, method, known))
    try:
        if asked is not None:
            hull_energy(asked.hull, counts)
        energy = hull_energy(used.hull, counts)
    except HullError as error:
        raise UserError(str(error)) from error
    return Level(unit, energy, used.row, (asked or used).row, method)


def _hull_on(system: str, method: str, asked: HullView | None) -> HullView | None:
    """A hull of these elements on the scale of a method: the one asked for where it is, else the newest."""
    scales = (method, *stand_ins(method, system.split("-")))
    if asked is not None and asked.row.method in scales:
        return asked
    return next((found for scale in scales if (found := own_hull(system, scale)) is not None), None)


def levels_of(formulas: Sequence[str], method: str, hull_id: int | None = None) -> list[Level]:
    """`level_at` for each formula, in order. Raises UserError."""
    known: dict[str, Level] = {}
    found = []
    for formula in formulas:
        if formula not in known:
            known[formula] = level_at(formula, method, hull_id)
        found.append(known[formula])
    return found


def explain(levels: Sequence[Level]) -> str:
    """One sentence on whose energies the ladders are: used as they are, or carried over."""
    first = levels[0]
    shown = {level.formula: level.energy for level in levels}
    listed = ", ".join(f"{unit} {energy:.4f}" for unit, energy in list(shown.items())[:6]).replace("-", "−")
    listed += " …" if len(shown) > 6 else ""
    where = f"the hull {first.hull.name!r} of {first.hull.chemical_system} by {first.hull.method} ({listed} eV/atom)"
    if first.carried:
        return (
            f"Carried over: the model learned energies by {first.method}, the hull chosen is by "
            f"{first.asked.method}, so ladders take the same offsets from {where}."
        )
    if first.stands_in:
        error = method_error(first.hull.method, first.hull.chemical_system.split("-"))
        return (
            f"Ladders start at {where}. The model learned energies of the {first.method}; that potential was fitted to "
            f"them. {error.sentence if error else ''}".rstrip()
        )
    return f"Ladders start at {where}, the method that the model learned from."


def _refusal(unit: str, system: str, method: str, other: str) -> str:
    why = f"The hull chosen is by {other}, and " if other else ""
    there = "there" if why else "There"
    return (
        f"{why}{there} is no hull of {system} by {method}, whose energies the model learned: a ladder for {unit} has "
        "nothing to hang on. Make one on the Hulls page, or give energies as a list."
    )
