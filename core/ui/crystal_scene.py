"""What a viewer of crystals is given: cells, bonds and polyhedra as numbers, never a label or a file name.

`data_of` is all that the scripts of crystal_view, _pair and _grid.html know; they fetch nothing but 3Dmol.js.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Element, Structure

from core.data.bonding import bonds, find_neighbours, find_polyhedra, large_centres
from core.data.crystallography import CELLS, cell_as
from core.data.rows import symbol
from core.ui.palettes import colours_of

SCRIPT = "/app/static/3Dmol-min.js"
_HERE = Path(__file__).parent
_MOST_SITES = 1000  # of a cell that is drawn


def data_of(structure: Structure, symprec: float | None, palette: str, about: str) -> dict[str, Any]:
    """One crystal for the scripts: its elements and its cells as stored, primitive and conventional.

    symprec: Å, None for the stored cell alone; about: what a screen reader says of it
    """
    numbers = sorted(set(structure.atomic_numbers))
    cells = [_cell(structure, "stored", numbers)]
    for kind in CELLS[1:] if symprec is not None else ():
        try:
            other = cell_as(structure, kind, symprec or 0.01)
        except ValueError:
            continue
        if len(other) <= _MOST_SITES:
            cells.append(_cell(other, kind, numbers))
    return {
        "id": hashlib.sha256(json.dumps([cells[0][k] for k in ("lattice", "frac", "kind")]).encode()).hexdigest()[:16],
        "name": structure.composition.reduced_formula,
        "about": about,
        "elements": _elements(numbers, palette),
        "cells": cells,
    }


def pair_data(sides: Sequence[Structure], titles: Sequence[str], palette: str, about: str) -> dict[str, Any]:
    """Two crystals for the scripts; their elements and colours are shared."""
    numbers = sorted({z for side in sides for z in side.atomic_numbers})
    return {
        "name": "-".join(dict.fromkeys(side.composition.reduced_formula for side in sides)),
        "about": about,
        "titles": list(titles),
        "elements": _elements(numbers, palette),
        "sides": [{"cells": [_cell(side, "stored", numbers)]} for side in sides],
    }


def grid_data(places: Sequence[Structure | None], columns: int, palette: str, height: int, head: int) -> dict[str, Any]:
    """Crystals in rows of `columns` for the scripts, None an empty place; height of all, head free above each: px."""
    numbers = sorted({z for one in places if one is not None for z in one.atomic_numbers})
    formulas = ", ".join(one.composition.reduced_formula for one in places if one is not None)
    return {
        "about": f"Crystals in 3D: {formulas}.",
        "rows": -(-len(places) // columns),
        "columns": columns,
        "height": height,
        "head": head,
        "elements": _elements(numbers, palette),
        "places": [None if one is None else _cell(one, "stored", numbers) for one in places],
    }


def _elements(numbers: Sequence[int], palette: str) -> list[dict[str, Any]]:
    colours = colours_of(numbers, palette)
    return [{"symbol": symbol(z), "radius": radius(z), "colour": colours[symbol(z)]} for z in numbers]


def _cell(structure: Structure, kind: str, numbers: Sequence[int]) -> dict[str, Any]:
    """Sites, bonds [site, other, image] and polyhedra of a cell; none of the latter where atoms lie on one another."""
    found: dict[str, Any] = {
        "cell": kind,
        "lattice": np.round(structure.lattice.matrix, 5).tolist(),
        "frac": np.round(structure.frac_coords % 1.0, 6).tolist(),
        "kind": [numbers.index(z) for z in structure.atomic_numbers],
        "bonds": [],
        "polyhedra": [],
    }
    wrapped = Structure(structure.lattice, structure.species, found["frac"])  # images of bonds count from these sites
    try:
        neighbours = find_neighbours(wrapped)
    except ValueError:
        return found
    polyhedra = find_polyhedra(wrapped, neighbours)
    found["bonds"] = bonds(neighbours, large_centres(wrapped, neighbours, polyhedra))
    found["polyhedra"] = [
        {
            "centre": p.centre,
            "corners": np.column_stack([p.corners, p.images]).tolist(),
            "triangles": p.triangles.tolist(),
            "edges": p.edges.tolist(),
        }
        for p in polyhedra
    ]
    return found


def radius(number: int) -> float:
    """Å that an atom is drawn with: a good third of its atomic radius."""
    size = Element.from_Z(number).atomic_radius
    return round(min(0.72, max(0.22, 0.36 * float(size if size is not None else 1.3))), 3)


def page_of(name: str, data: Any) -> str:
    """A page of HTML: its template, the scene's script, and the data as JSON that can end no script."""
    template = (_HERE / name).read_text()
    scene = (_HERE / "crystal_scene.js").read_text()
    style = (_HERE / "crystal_view.css").read_text()
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    for mark, filling in (("/*STYLE*/", style), ("/*SCENE*/", scene), ("/*SCRIPT*/", SCRIPT), ("/*DATA*/", text)):
        head, found, tail = template.partition(mark)
        if not found:
            raise ValueError(f"{name} has no place for {mark}")
        template = head + filling + tail
    return template
