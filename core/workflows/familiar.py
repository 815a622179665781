"""What lies outside of what a model learned from, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.data.formulas import elements_of, formula_unit, parse_formula, pattern
from core.data.space_groups import compact

_NAMED = 4


def outside(
    seen: Mapping[str, Any], cells: Iterable[tuple[str, int]], groups: Sequence[int], energies: Sequence[float]
) -> list[str]:
    """Sentences on what lies outside what a model saw (`core.workflows.seen`); empty where nothing does.

    cells: (formula, atoms in the cell) of each composition asked for; energies in eV/atom
    """
    if not seen:
        return ["This model does not say what it learned from."]
    cells = list(cells)
    found = [*_elements(seen, cells), *_sizes(seen, cells)]
    strange = sorted(set(groups) - set(seen["space_groups"]))
    if strange:
        share = f"{len(strange)} of the {len(set(groups))} space groups" if len(strange) > _NAMED else "Space group"
        found.append(f"{share} not in the training data: {compact(strange)}.")
    return [*found, *_energies(seen, energies)]


def _elements(seen: Mapping[str, Any], cells: Sequence[tuple[str, int]]) -> list[str]:
    units = {formula_unit(parse_formula(formula)): formula for formula, _ in cells}
    strange = {e for unit in units for e in elements_of(unit)} - set(seen["elements"])
    found = []
    if strange:
        found.append(f"{', '.join(sorted(strange))}: no structure with it was in the training data.")
    alone = [u for u in units if not strange & set(elements_of(u)) and pattern(u) not in seen["patterns"]]
    if alone:
        patterns = list(dict.fromkeys(pattern(unit) for unit in alone))
        found.append(
            f"{_list(alone)} {'has' if len(alone) == 1 else 'have'} no relative in the training data: no formula of "
            f"the pattern{'s' if len(patterns) > 1 else ''} {_list(patterns)} was there. Expect rougher candidates."
        )
    return found


def _sizes(seen: Mapping[str, Any], cells: Sequence[tuple[str, int]]) -> list[str]:
    low, high = seen["natoms"]
    wrong = sorted({n for _, n in cells if not low <= n <= high})
    if not wrong:
        return []
    off = [f"{low - wrong[0]} below"] if wrong[0] < low else []
    off += [f"{wrong[-1] - high} above"] if wrong[-1] > high else []
    sizes = str(wrong[0]) if len(wrong) == 1 else f"{wrong[0]} to {wrong[-1]}"
    about = f"A cell of {sizes} atoms" if len(wrong) == 1 else f"Cells of {sizes} atoms"
    return [f"{about}: the training data has {low} to {high} ({' and '.join(off)} that)."]


def _energies(seen: Mapping[str, Any], energies: Sequence[float]) -> list[str]:
    if not energies or not seen.get("energies"):
        return []
    lowest, highest = seen["energies"]
    below, above = [e for e in energies if e < lowest], [e for e in energies if e > highest]
    found = []
    if below:
        found.append(_beyond(below, len(energies), f"down to {min(below):.3f}", lowest, highest, lowest - min(below)))
    if above:
        found.append(_beyond(above, len(energies), f"up to {max(above):.3f}", lowest, highest, max(above) - highest))
    return found


def _beyond(wrong: Sequence[float], total: int, reach: str, lowest: float, highest: float, off: float) -> str:
    share = "Energies" if len(wrong) == total else f"{len(wrong)} of {total} energies"
    sentence = f"{share} {reach} eV/atom: the training data has {lowest:.3f} to {highest:.3f} ({off:.3f} beyond it)."
    return sentence.replace(" -", " −")


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    shown = list(names[:_NAMED])
    return (", ".join(shown) if more or len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}") + more
