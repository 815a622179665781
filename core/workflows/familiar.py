"""What lies outside of what a model learned from, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.data.formulas import elements_of, formula_unit, parse_formula, pattern
from core.data.space_groups import compact
from core.data.wyckoff import cannot_hold

_NAMED = 4


def outside(
    seen: Mapping[str, Any],
    cells: Iterable[tuple[str, int]],
    groups: Sequence[int],
    energies: Sequence[float],
    compositions: int = 1,
) -> list[str]:
    """Sentences on what lies outside what a model saw (`core.workflows.seen`); empty where nothing does.

    cells: (formula, atoms in the cell) of each composition asked for; energies in eV/atom, of so many
    compositions together, as many for each
    """
    if not seen:
        return ["This model does not say what it learned from."]
    cells = list(cells)
    found = [*_elements(seen, cells), *_sizes(seen, cells)]
    strange = sorted(set(groups) - set(seen["space_groups"]))
    if strange:
        share = f"{len(strange)} of the {len(set(groups))} space groups" if len(strange) > _NAMED else "Space group"
        found.append(f"{share} not in the training data: {compact(strange)}.")
    return [*found, *_energies(seen, energies, compositions)]


def impossible(formulas: Iterable[str], groups: Sequence[int]) -> list[str]:
    """Sentences on the groups asked for that cannot hold a cell's contents, whatever a model draws.

    formulas: cell contents
    """
    found: dict[tuple[int, ...], list[str]] = {}
    for formula in formulas:
        if strange := cannot_hold(sorted(set(groups)), parse_formula(formula)):
            found.setdefault(strange, []).append(formula)
    total = len(set(groups))
    said = []
    for strange, cells in list(found.items())[:_NAMED]:
        share = f"{len(strange)} of the {total} space groups" if total > 1 else "The space group asked for"
        said.append(
            f"{share} cannot hold a cell of {_list(cells)}: the sites there do not add up to it ({compact(strange)})."
        )
    rest = sum(len(cells) for cells in list(found.values())[_NAMED:])
    return said + ([f"{rest} more compositions meet groups that cannot hold them."] if rest else [])


def _elements(seen: Mapping[str, Any], cells: Sequence[tuple[str, int]]) -> list[str]:
    units = {formula_unit(parse_formula(formula)): formula for formula, _ in cells}
    strange = {e for unit in units for e in elements_of(unit)} - set(seen["elements"])
    found = []
    if strange:
        found.append(f"No structure of the training data holds {_either(sorted(strange))}.")
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
    off = [f"{low - wrong[0]} fewer"] if wrong[0] < low else []
    off += [f"{wrong[-1] - high} more"] if wrong[-1] > high else []
    sizes = str(wrong[0]) if len(wrong) == 1 else f"{wrong[0]} to {wrong[-1]}"
    about = f"A cell of {counted_atoms(sizes)} is" if len(wrong) == 1 else f"Cells of {sizes} atoms are"
    known = f"{low} to {high} atoms" if low < high else counted_atoms(str(low))
    return [f"{about} outside of the training data, whose cells hold {known} ({' and up to '.join(off)})."]


def _energies(seen: Mapping[str, Any], energies: Sequence[float], compositions: int) -> list[str]:
    if not energies or not seen.get("energies"):
        return []
    lowest, highest = seen["energies"]
    total = f"{len(energies):,} energies"
    if compositions > 1:
        total += f" ({len(energies) // compositions} for each of {compositions} compositions)"
    below, above = [e for e in energies if e < lowest], [e for e in energies if e > highest]
    found = []
    if below:
        found.append(
            _beyond(below, len(energies), total, f"down to {min(below):.3f}", lowest, highest, lowest - min(below))
        )
    if above:
        found.append(
            _beyond(above, len(energies), total, f"up to {max(above):.3f}", lowest, highest, max(above) - highest)
        )
    return found


def _beyond(
    wrong: Sequence[float], count: int, total: str, reach: str, lowest: float, highest: float, off: float
) -> str:
    share = "Energies" if len(wrong) == count else f"{len(wrong)} of {total}"
    sentence = f"{share} {reach} eV/atom: the training data has {lowest:.3f} to {highest:.3f} ({off:.3f} beyond it)."
    return sentence.replace(" -", " −")


def counted_atoms(number: str) -> str:
    return f"{number} atom{'s' if number != '1' else ''}"


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    shown = list(names[:_NAMED])
    return (", ".join(shown) if more or len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}") + more
