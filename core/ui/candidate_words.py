"""What is said of a candidate, in a table, under a viewer and in a list of facts: one wording for each thing."""

from __future__ import annotations

from functools import lru_cache

from core.data.formulas import parse_formula
from core.data.symmetry import symbol_of
from core.workflows.candidates import Row, Twins
from db.tables import Candidate

NONE = "–"
BADGES = {
    "valid": "green", "not valid": "red", "new": "blue", "known": "gray", "unique": "violet", "repeat": "orange",
    "hull phase": "gray",
}  # fmt: skip
_NAMED = 3  # twins named in a sentence


def group_words(number: int | None) -> str:
    """ "P2₁/c"; a dash for none, and for a number that is none."""
    return symbol_of(number) if number and 1 <= number <= 230 else NONE


def group_named(number: int | None) -> str:
    """ "P2₁/c (14)"."""
    return f"{group_words(number)} ({number})" if number else "none"


def composition(candidate: Candidate) -> str:
    """Its reduced formula, with how many of it make the cell: "TaWB6 ×2"."""
    units = candidate.natoms // _atoms(candidate.reduced_formula)
    return candidate.reduced_formula + (f" ×{units}" if units > 1 else "")


@lru_cache(maxsize=10_000)
def _atoms(formula: str) -> int:
    return sum(parse_formula(formula).values())


def badges(row: Row) -> list[str]:
    """Its verdicts as words of `BADGES`: of the relaxed crystal where that was compared, else of the drawn one."""
    candidate = row.candidate
    found = ["valid" if candidate.valid else "not valid"]
    if row.twins is not None:
        return found + ["hull phase"] * bool(row.twins.phase) + ["repeat"] * row.twins.repeat
    if candidate.novel is not None:
        found.append("new" if candidate.novel else "known")
    if candidate.unique is not None:
        found.append("unique" if candidate.unique else "repeat")
    return found


def twins_words(twins: Twins) -> str:
    """What a relaxed crystal is, as a sentence without an end."""
    parts = [f"the hull's {twins.phase}"] if twins.phase else []
    if twins.same:
        more = len(twins.same) - _NAMED
        named = ", ".join(twins.same[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        parts.append(f"the same crystal as {named}")
    hull = " and from the hull's phases" if twins.on_hull else "; the hull's phases were not compared"
    return "; ".join(parts) or f"different from the others listed{hull}"


def verdict(candidate: Candidate) -> str:
    """Its verdicts as a sentence without an end."""
    if not candidate.valid:
        return f"not valid: {candidate.problem}" if candidate.problem else "not valid"
    words = ["valid"]
    if candidate.novel is not None:
        words.append("new against every dataset it was compared with" if candidate.novel else "known already")
    if candidate.unique is not None:
        words.append("the first of its kind in its run" if candidate.unique else "a repeat of another in its run")
    if candidate.symmetrised is not None:
        words.append(f"moved onto the group asked for, by up to {candidate.symmetrised:.3f} Å")
    return ", ".join(words) + (f"; {candidate.problem}" if candidate.problem else "")


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """ "−0.412 eV/atom", or a dash."""
    if value is None:
        return NONE
    shown = round(value, digits) + 0.0  # no minus before a zero
    return f"{shown:.{digits}f}".replace("-", "−") + (f" {unit}" if unit else "")


def is_change(candidate: Candidate) -> bool:
    """Was it made from a start, so that the energy asked for is a change?"""
    return candidate.same_as_start is not None or candidate.displacement is not None


def energy_asked(candidate: Candidate) -> str:
    """ "−0.700 eV/atom"; of a modification "a change of −0.050 eV/atom"; "" where none was asked for."""
    if candidate.energy_asked is None:
        return ""
    return "a change of " * is_change(candidate) + number(candidate.energy_asked, 3, "eV/atom")


def balance(candidate: Candidate) -> str:
    """Do its elements' oxidation states add up?"""
    if candidate.charge_balanced is None:
        return "SMACT cannot say"
    return "balanced (if ionic)" if candidate.charge_balanced else "not balanced (if ionic)"


def state(row: Row) -> str:
    """How far it has come by the method whose energies are shown."""
    if row.relaxation is None:
        return "not relaxed"
    return f"{row.relaxation.status} with {row.relaxation.method}"
