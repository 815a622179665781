"""Formulas as people type them."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm

from pymatgen.core import Composition, Element

_TOKEN = re.compile(r"([A-Z][a-z]?)(\d*)|\s+")


class FormulaError(ValueError):
    """A formula that cannot be read; the message says where and why."""


def parse_formula(text: str) -> dict[str, int]:
    """ "Ta1W1B6", "TaWB6" or "Ta2 W2 B12", "Ca(OH)2" -> {"Ta": 1, "W": 1, "B": 6}: the cell content, as typed.

    Raises FormulaError with a sentence for anything else.
    """
    if re.search(r"\d\.\d", text):
        raise FormulaError(_fractions(text))
    if "(" in text or "[" in text:
        return _with_brackets(text)
    counts: dict[str, int] = {}
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            rest = text[place : place + 12]
            raise FormulaError(
                f"The formula cannot be read from {rest!r} on: write elements and counts, as in Ta1W1B6."
            )
        symbol, number = token.group(1), token.group(2)
        if symbol:
            if not Element.is_valid_symbol(symbol):
                raise FormulaError(f"{symbol!r} is no element: write symbols such as Ta, W, B.")
            count = int(number[:6]) if number else 1
            if not 1 <= count <= 1000:
                raise FormulaError(f"{symbol}{number[:12]} is not a number of atoms that a cell can hold.")
            counts[symbol] = counts.get(symbol, 0) + count
        place = token.end()
    if not counts:
        raise FormulaError("The formula is empty: write elements and counts, as in Ta1W1B6.")
    return counts


def _fractions(text: str) -> str:
    """Why fractions of atoms are refused, with whole numbers in the same ratio where there are small ones."""
    sentence = "A cell holds whole atoms, no fractions of them"
    try:
        amounts = {
            s: Fraction(str(n)).limit_denominator(60) for s, n in Composition(text[:80]).get_el_amt_dict().items()
        }
    except Exception:  # pymatgen raises what it meets
        amounts = {}
    times = lcm(*(amount.denominator for amount in amounts.values()))
    if (
        amounts
        and all(Element.is_valid_symbol(s) for s in amounts)
        and all(0 < amount * times <= 1000 for amount in amounts.values())
    ):
        return f"{sentence}: write {''.join(f'{s}{int(n * times)}' for s, n in amounts.items())}."
    return f"{sentence}: write whole numbers, as in Ta1W1B6."


def _with_brackets(text: str) -> dict[str, int]:
    """ "Ca(OH)2", as pymatgen reads it."""
    try:
        amounts = Composition(text).get_el_amt_dict()
    except Exception as error:  # pymatgen raises what it meets
        raise FormulaError(f"The formula {text[:40]!r} cannot be read: write it as Ta1W1B6 or Ca(OH)2.") from error
    counts = {symbol: int(amount) for symbol, amount in amounts.items()}
    if not counts or any(counts[s] != amount or not 1 <= amount <= 1000 for s, amount in amounts.items()):
        raise FormulaError(f"The formula {text[:40]!r} does not hold whole numbers of atoms that a cell can hold.")
    return counts


def atomic_numbers(counts: dict[str, int]) -> list[int]:
    """One atomic number per site, grouped by element."""
    return [Element(s).Z for s, n in counts.items() for _ in range(n)]


def elements_of(formula: str) -> list[str]:
    """The symbols in a reduced formula as pymatgen writes it, brackets and all: "Y(VMo)3" -> ["Y", "V", "Mo"]."""
    return re.findall(r"[A-Z][a-z]?", formula)


@lru_cache(maxsize=100_000)
def pattern(formula: str) -> str:
    """The stoichiometry without its elements: "TaWB6" and "VMoC6" -> "A1B1C6"."""
    counts = sorted(int(n) for n in Composition(formula).get_el_amt_dict().values())
    divisor = gcd(*counts)
    return "".join(f"{letter}{n // divisor}" for letter, n in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", counts, strict=False))


def formula_unit(counts: dict[str, int]) -> str:
    """The formula unit with the elements in the order they were typed: {"Ta": 2, "W": 2, "B": 12} -> "TaWB6"."""
    divisor = gcd(*counts.values())
    return "".join(f"{s}{n // divisor if n > divisor else ''}" for s, n in counts.items())


def reduced_formula(counts: dict[str, int]) -> str:
    """As pymatgen writes it."""
    return Composition(counts).reduced_formula


def chemical_system(counts: dict[str, int]) -> str:
    """ "B-Ta-W"."""
    return "-".join(sorted(counts))
