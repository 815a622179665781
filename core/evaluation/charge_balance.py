"""Can the charges of a compound's ions add up to nothing? SMACT's rule (Davies et al., Chem 1, 617, 2016).

Oxidation states are those of SMACT's ICSD table; every cation has to be less electronegative than every anion, by
Pauling; elements that SMACT lists so may be there in several states at once (Fe3O4). The answer is that of
`smact_validity(formula, include_alloys=False, mixed_valence=True)`. SMACT tries every combination of states, which for
many atoms of mixed valence it gives up on; here the sums that can be reached are counted up, and that takes
microseconds. The rule is blind to what is no matter of charges: it says no to LaB6, KC8 or Pb3O4.
"""

from __future__ import annotations

from functools import lru_cache

from core.data.formulas import FormulaError, parse_formula

METALLIC = 0.7  # SMACT's own score from which a compound counts as a metal


@lru_cache(maxsize=20_000)
def charge_balanced(formula: str) -> bool | None:
    """True or False for a formula such as "Fe3O4"; None where SMACT cannot say.

    It cannot for elements, for metals alone, for compounds that do not balance but are metallic by SMACT's score, for
    elements without known oxidation states or electronegativity, and for what is no formula.
    """
    try:
        counts = parse_formula(formula)
    except FormulaError:
        return None
    from smact import Element, metals
    from smact.metallicity import metallicity_score

    states = oxidation_states()
    if len(counts) < 2 or all(symbol in metals for symbol in counts) or not set(counts) <= set(states):
        return None
    pull = {symbol: Element(symbol).pauling_eneg for symbol in counts}
    if not all(pull.values()):
        return None
    if _balances(_reduced(counts), states, {symbol: float(v or 0) for symbol, v in pull.items()}):
        return True
    return None if metallicity_score(formula) >= METALLIC else False


@lru_cache(maxsize=1)
def oxidation_states() -> dict[str, tuple[int, ...]]:
    """Element -> its oxidation states in the ICSD, as SMACT's rule takes them by default."""
    from smact.utils.oxidation import ICSD24OxStatesFilter

    table = ICSD24OxStatesFilter().filter()
    rows = zip(table["element"], table["oxidation_state"], strict=True)
    return {str(element): tuple(int(q) for q in str(found).split()) for element, found in rows}


def _balances(counts: dict[str, int], states: dict[str, tuple[int, ...]], pull: dict[str, float]) -> bool:
    """Is there a split by electronegativity into cations and anions whose charges meet?"""
    for edge in sorted(set(pull.values()))[:-1]:
        positive = negative = 1  # bit k: a charge of k can be reached
        for symbol, count in counts.items():
            cation = pull[symbol] <= edge
            charges = [abs(q) for q in states[symbol] if (q > 0) == cation]
            reached = _reachable(charges, count, symbol)
            if cation:
                positive = _sums(positive, reached)
            else:
                negative = _sums(negative, reached)
        if positive & negative:
            return True
    return False


def _reachable(charges: list[int], count: int, symbol: str) -> int:
    """Bits of the charges that so many atoms of an element can have together."""
    from smact.screening import MIXED_VALENCE_ELEMENTS

    if symbol not in MIXED_VALENCE_ELEMENTS:
        return sum(1 << count * q for q in set(charges))
    one, reached = sum(1 << q for q in set(charges)), 1
    for _ in range(count):
        reached = _sums(reached, one)
    return reached


def _sums(first: int, second: int) -> int:
    """Bits of all sums of a bit of the first and one of the second."""
    result, place = 0, 0
    while second:
        if second & 1:
            result |= first << place
        second >>= 1
        place += 1
    return result


def _reduced(counts: dict[str, int]) -> dict[str, int]:
    from math import gcd

    divisor = gcd(*counts.values())
    return {symbol: n // divisor for symbol, n in counts.items()}
