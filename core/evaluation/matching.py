"""Are two crystals the same? pymatgen's StructureMatcher, within a formula."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

TOLERANCES: dict[str, dict[str, Any]] = {
    "paper": {"ltol": 0.2, "stol": 0.3, "angle_tol": 5.0},
    "field": {"ltol": 0.3, "stol": 0.5, "angle_tol": 10.0},
}


def matcher(name: str = "paper") -> StructureMatcher:
    """The matcher of the paper, or the wider one of the field. Raises ValueError for another name."""
    if name not in TOLERANCES:
        raise ValueError(f"There is no matcher {name!r}: choose paper or field.")
    return StructureMatcher(**TOLERANCES[name])


def rms_distance(a: Structure, b: Structure, name: str = "paper") -> float | None:
    """RMS displacement normalised by (V/N)^⅓, or None where the two do not match. Never raises."""
    if a.composition.reduced_formula != b.composition.reduced_formula:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = matcher(name).get_rms_dist(a, b)
    except Exception:  # a broken cell matches nothing
        return None
    return None if found is None else float(found[0])


def first_match(structure: Structure, others: Sequence[Structure], name: str = "paper") -> int | None:
    """Index of the first of the others that is the same crystal, or None."""
    return next((i for i, other in enumerate(others) if rms_distance(structure, other, name) is not None), None)
