"""Two candidates side by side, turned together, with what tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from core.ui.candidate_drawing import draw_pair
from core.ui.candidate_words import NONE, badges, composition, group_named, is_change, number
from core.ui.widgets import energy, plain, sentences
from core.workflows.candidates import Comparison, Side, compare
from db.candidate_lists import Placing

_CELL = ("a (Å)", "b (Å)", "c (Å)", "α (°)", "β (°)", "γ (°)")


def show_comparison(ids: Sequence[int], placing: Placing | None) -> None:
    """The two that are selected; words on how to select them where they are not two."""
    if len(ids) != 2:
        st.info("Select two rows of the table to see them side by side.", icon=":material/compare:")
        return
    with sentences():
        found = compare(ids[0], ids[1], placing)
        for column, side in zip(st.columns(2), (found.left, found.right), strict=True):
            state = "as relaxed" if side.relaxed else "as generated"
            column.markdown(f"**{plain(composition(side.row.candidate))}** :small[candidate {side.row.name}, {state}]")
        draw_pair(found.left.row, found.right.row)
        st.markdown(_verdict(found))
        table = differences(found)
        st.dataframe(table, hide_index=True, placeholder=NONE, height=38 + 35 * len(table), alt="How the two differ")


def _verdict(found: Comparison) -> str:
    if not found.same_formula:
        return "**Different compositions**: the matcher compares polymorphs of one formula."
    if found.rms_paper is not None:
        return f"**The same structure** by the paper's matcher: RMS {found.rms_paper:.4f} of (V/N)^⅓."
    if found.rms_field is not None:
        wide = f"by the field's wider tolerances they match, RMS {found.rms_field:.4f} of (V/N)^⅓"
        return f"**Different structures** by the paper's matcher; {wide}."
    return "**Different structures** by the paper's matcher and by the field's."


def differences(found: Comparison) -> pd.DataFrame:
    """A line for each property: left, right, and right minus left where that is a number."""
    sides = (found.left, found.right)
    names = [s.row.name for s in sides]
    lines: list[tuple[str, str, str, str]] = []

    def numbers(label: str, value: Callable[[Side], float | None], digits: int) -> None:
        left, right = (value(s) for s in sides)
        gap = None if left is None or right is None else right - left
        signed = NONE if gap is None else f"{round(gap, digits) + 0.0:+.{digits}f}".replace("-", "−")
        lines.append((label, number(left, digits), number(right, digits), signed))

    def words(label: str, value: Callable[[Side], str]) -> None:
        lines.append((label, value(sides[0]), value(sides[1]), ""))

    numbers("above hull (eV/atom)", lambda s: s.row.above, 4)
    numbers("formation energy (eV/atom)", _formation, 4)
    words("energy by", lambda s: s.row.relaxation.method if s.row.relaxation else "not relaxed")
    numbers("volume (Å³/atom)", lambda s: s.volume, 2)
    for i, label in enumerate(_CELL):
        numbers(label, lambda s, i=i: s.cell[i], 3 if i < 3 else 2)  # type: ignore[misc]
    words("atoms in the cell", lambda s: str(s.row.candidate.natoms))
    words("space group", _group)
    words("space group asked", lambda s: group_named(s.row.candidate.group_asked))
    changes = {is_change(s.row.candidate) for s in sides}
    for label, change in (("energy asked", False), ("change of energy asked", True)):
        if change in changes:
            words(label, lambda s, change=change: _asked(s, change))  # type: ignore[misc]
    words("as drawn", lambda s: ", ".join(badges(s.row)))
    return pd.DataFrame(lines, columns=["", names[0], names[1] if names[1] != names[0] else "again", "difference"])


def _asked(side: Side, change: bool) -> str:
    candidate = side.row.candidate
    return energy(candidate.energy_asked) if is_change(candidate) == change else NONE


def _formation(side: Side) -> float | None:
    return side.row.relaxation.formation_after if side.row.relaxation else None


def _group(side: Side) -> str:
    relaxation = side.row.relaxation
    found = relaxation.group_found if side.relaxed and relaxation else side.row.candidate.group_found
    return group_named(found)
