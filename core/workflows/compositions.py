"""What goes into a cell: formulas as typed, and how many formula units of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from core.data.formulas import FormulaError, formula_unit, parse_formula
from core.workflows.context import UserError

MAX_SITES = 64
MAX_CELLS = 2000
TYPED = "as typed"


@dataclass(frozen=True)
class Cell:
    """Contents of one cell: "Ta2W2B12", its formula unit "TaWB6", how many units, atoms, elements as typed."""

    formula: str
    unit: str
    units: int
    natoms: int
    elements: tuple[str, ...]


def split_formulas(text: str) -> tuple[str, ...]:
    """ "Ta1W1B6, TaB2; VB2" -> each formula, without repeats."""
    parts = [" ".join(part.split()) for part in re.split(r"[,;\n]", text)]
    return tuple(dict.fromkeys(part for part in parts if part))


def read_cell(text: str, units: int | None = None) -> Cell:
    """The cell of a formula: its contents as typed, or so many formula units. Raises UserError."""
    try:
        counts = parse_formula(text)
        whole = [part for part in text.split() if len(parse_formula(part)) > 1] if " " in text.strip() else []
    except FormulaError as error:
        raise UserError(str(error)) from error
    if len(whole) > 1:
        raise UserError(
            f"{' '.join(whole)[:40]!r} can be one compound or {len(whole)}: separate compositions by commas, as in "
            f"{', '.join(whole)[:40]}, or write one without spaces."
        )
    typed = gcd(*counts.values())
    times = units or typed
    counts = {s: n // typed * times for s, n in counts.items()}
    return Cell(
        "".join(f"{s}{n}" for s, n in counts.items()),
        formula_unit(counts),
        times,
        sum(counts.values()),
        tuple(counts),
    )


def cells_of(
    formulas: Sequence[str], units: Sequence[int] = (), up_to: int | None = None, most: int = MAX_SITES
) -> list[Cell]:
    """The cells that are asked for, in order and without repeats; none larger than `most` sites.

    units: numbers of formula units in a cell; up_to: every number of units up to so many atoms; neither: as typed.
    Raises UserError for a formula that cannot be read, or that fits in no way.
    """
    found: dict[str, Cell] = {}
    for text in formulas:
        typed = read_cell(text)
        size = typed.natoms // typed.units
        wanted: Sequence[int | None] = list(units) or [None]
        if up_to is not None:
            wanted = list(range(1, min(up_to, most) // size + 1))
        cells = [read_cell(text, n) for n in wanted if n is None or n >= 1]
        fitting = [c for c in cells if c.natoms <= most]
        if not fitting:
            limit = most if up_to is None else min(up_to, most)
            smallest = min((c.natoms for c in cells), default=size)
            raise UserError(f"{typed.unit} with {smallest} atoms does not fit: a cell may hold {limit} here.")
        found |= {c.formula: c for c in fitting}
    if len(found) > MAX_CELLS:
        raise UserError(f"That are {len(found):,} compositions; {MAX_CELLS:,} is the limit.")
    return list(found.values())


def with_element(text: str, symbol: str) -> str:
    """The text with one more atom of an element in its last formula: "TaB", "B" -> "TaB2"."""
    head, separator, last = text.rpartition(",")
    try:
        counts = parse_formula(last)
    except FormulaError:
        return f"{text}{symbol}"
    counts[symbol] = counts.get(symbol, 0) + 1
    written = "".join(f"{s}{n if n > 1 else ''}" for s, n in counts.items())
    return f"{head}{separator}{' ' if separator else ''}{written}"
