"""What goes into a cell, and what a model has not seen of it."""

from __future__ import annotations

import pytest

from core.workflows.compositions import cells_of, read_cell, split_formulas, with_element
from core.workflows.context import UserError
from core.workflows.familiar import impossible, outside

SEEN = {
    "elements": ["B", "Ta", "W"],
    "natoms": [4, 20],
    "space_groups": [12, 191, 225],
    "patterns": ["A1B2"],
    "energies": [-0.8, 1.0],
}


def test_a_cell_keeps_what_was_typed() -> None:
    cell = read_cell("Ta2 W2 B12")
    assert (cell.formula, cell.unit, cell.units, cell.natoms, cell.elements) == (
        "Ta2W2B12", "TaWB6", 2, 16, ("Ta", "W", "B"),
    )  # fmt: skip
    assert read_cell("Ta2W2B12", 1).formula == "Ta1W1B6"


def test_units_up_to_the_limit() -> None:
    assert [c.formula for c in cells_of(["TaB2"], (1, 2, 4))] == ["Ta1B2", "Ta2B4", "Ta4B8"]
    assert [c.natoms for c in cells_of(["TaB2", "Ta2B4", "W"], up_to=12)] == [3, 6, 9, 12, *range(1, 13)]
    assert [c.natoms for c in cells_of(["Ta1W1B6"], up_to=60, most=20)] == [8, 16]
    assert [c.natoms for c in cells_of(["Ta1W1B6"], (1, 8, 9))] == [8, 64], "what does not fit is left out"
    with pytest.raises(UserError, match="TaWB6 with 8 atoms does not fit: a cell may hold 6 here"):
        cells_of(["Ta1W1B6"], up_to=6)
    with pytest.raises(UserError, match="'Qq' is no element"):
        cells_of(["Qq"])


def test_a_space_between_two_compounds_is_asked_about() -> None:
    assert read_cell("Ta2 W2 B12").formula == "Ta2W2B12"
    for text in ("TaB2 TaB2", "Mo2C W2B5"):
        with pytest.raises(UserError, match="can be one compound or 2: separate compositions by commas"):
            read_cell(text)


@pytest.mark.parametrize(
    ("text", "whole"), [("Ta0.5W0.5B2", "Ta1W1B4"), ("Ca(OH)2.5", "Ca2O5H5"), ("Xx0.5", "Ta1W1B6")]
)
def test_fractions_of_atoms_come_with_whole_numbers(text: str, whole: str) -> None:
    with pytest.raises(UserError, match=f"no fractions of them: write .*{whole}"):
        read_cell(text)


def test_formulas_are_split_and_elements_added() -> None:
    assert split_formulas(" Ta1B2,, Ti2B4;Ta1B2\nVB2 ") == ("Ta1B2", "Ti2B4", "VB2")
    assert with_element("", "Ta") == "Ta"
    assert with_element("Ta", "B") == "TaB"
    assert with_element("TaB", "B") == "TaB2"
    assert with_element("TaB2, W", "B") == "TaB2, WB"


def test_groups_that_cannot_hold_a_cell_are_named() -> None:
    assert impossible(["Ta1B2"], [191]) == impossible(["Ta1B2"], []) == []
    said = impossible(["Ta1B2", "Ti1B2"], [191, 206, 230])
    assert said == [
        "2 of the 3 space groups cannot hold a cell of Ta1B2 and Ti1B2: the sites there do not add up to it (206, 230)."
    ]


def test_what_was_not_seen_is_said_with_by_how_much() -> None:
    assert outside(SEEN, [("Ta1B2", 6)], [12], [-0.8, 0.2]) == []
    said = outside(SEEN, [("Ta1W1B6", 32), ("W2B1", 3), ("Fe1B2", 6)], [1, 2, 3, 4, 5, 225], [-1.3, -0.5])
    assert said[0] == "No structure of the training data holds Fe."
    assert said[1].startswith("TaWB6 has no relative in the training data: no formula of the pattern A1B1C6")
    assert said[2] == (
        "Cells of 3 to 32 atoms are outside of the training data, whose cells hold 4 to 20 atoms "
        "(1 fewer and up to 12 more)."
    )
    assert said[3] == "5 of the 6 space groups not in the training data: 1-5."
    assert said[4] == "1 of 2 energies down to −1.300 eV/atom: the training data has −0.800 to 1.000 (0.500 beyond it)."
    three = outside(SEEN, [("Ta1B2", 6)], [], [-1.3, -0.5] * 3, 3)
    assert three[0].startswith("3 of 6 energies (2 for each of 3 compositions) down to −1.300 eV/atom")
    many = [(f"Ta{n}B1", n + 1) for n in range(3, 15)]
    assert "and 8 more" in outside(SEEN, many, [], [])[0], "a few patterns are named, the rest counted"
    assert outside({}, [], [], []) == ["This model does not say what it learned from."]
