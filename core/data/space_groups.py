"""Space groups as people write them: numbers, ranges, symbols, crystal systems; and back, as short as it goes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

from core.data.symmetry import CRYSTAL_SYSTEMS, symbol_of

_TYPED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RANGE = re.compile(r"(\d{1,3})\s*[-–]\s*(\d{1,3})")


class SpaceGroupError(ValueError):
    """What names no space group; the message is a sentence."""


def groups_of(system: str) -> tuple[int, ...]:
    """All space groups of a crystal system. Raises KeyError."""
    first, last = {name: (a, b) for name, a, b in CRYSTAL_SYSTEMS}[system]
    return tuple(range(first, last + 1))


@cache
def symbols() -> dict[int, str]:
    """Number -> symbol as it is typed: {14: "P21/c", 225: "Fm-3m", …}."""
    return {number: symbol_of(number).translate(_TYPED) for number in range(1, 231)}


def parse_groups(text: str) -> tuple[int, ...]:
    """ "6-10, 225, P6/mmm, cubic" -> numbers in order, each once; () for nothing. Raises SpaceGroupError."""
    found: set[int] = set()
    for part in re.split(r"[,;\s]+", re.sub(r"\s*[-–]\s*(?=\d)", "-", text.strip())):
        if part:
            found.update(_part(part))
    return tuple(sorted(found))


def _part(part: str) -> Iterable[int]:
    lower = part.lower()
    systems = {name: range(first, last + 1) for name, first, last in CRYSTAL_SYSTEMS}
    if lower in systems:
        return systems[lower]
    if part.isascii() and part.isdecimal():
        return _checked(int(part[:6]), part)
    if between := _RANGE.fullmatch(part):
        first, last = int(between[1]), int(between[2])
        if not 1 <= first <= last <= 230:
            raise SpaceGroupError(f"{part} is no range of space groups: they are numbered 1 to 230.")
        return range(first, last + 1)
    return (_by_symbol(part),)


def _checked(number: int, part: str) -> tuple[int]:
    if not 1 <= number <= 230:
        raise SpaceGroupError(f"{part[:12]} is no space group: they are numbered 1 to 230.")
    return (number,)


def _by_symbol(part: str) -> int:
    number = _known_symbols().get(_bare(part[:24]))
    if number is None:
        near = get_close_matches(_bare(part[:24]), _standard(), 1, 0.7)
        if near:
            number = _standard()[near[0]]
            raise SpaceGroupError(f"{part[:20]!r} is no space group: did you mean {symbols()[number]} ({number})?")
        raise SpaceGroupError(
            f"{part[:20]!r} is no space group: write numbers, ranges, symbols or systems, as in 6-10, Fm-3m, cubic."
        )
    return number


@cache
def _known_symbols() -> dict[str, int]:
    """Symbols of every setting, without underscores and case; where two groups share one, the standard setting's."""
    from pymatgen.symmetry.groups import SpaceGroup

    names = ("short_h_m", "hermann_mauguin", "universal_h_m", "hermann_mauguin_u")
    found = {_bare(operation[name]): int(operation["number"]) for operation in SpaceGroup.SYMM_OPS for name in names}
    return found | _standard()


@cache
def _standard() -> dict[str, int]:
    return {_bare(symbol): number for number, symbol in symbols().items()}


def _bare(symbol: str) -> str:
    return symbol.split(":")[0].translate(_TYPED).replace("_", "").replace(" ", "").lower()


def compact(groups: Iterable[int]) -> str:
    """(6, 7, 8, 9, 10, 225) -> "6-10, 225"."""
    runs: list[list[int]] = []
    for group in sorted(set(groups)):
        if runs and group == runs[-1][1] + 1:
            runs[-1][1] = group
        else:
            runs.append([group, group])
    return ", ".join(str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in runs)
