"""How long the server takes to make the page of the viewer: cells, bonds and polyhedra of crystals of 60 atoms.

Supercells are repeated in the browser, so a cell of 60 atoms at 2×2×2 costs the server what the cell costs.

    python -m benchmarks.viewer_page
"""

from __future__ import annotations

import statistics
import time
import warnings

import numpy as np
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures, pack_cells
from core.data.symmetry import named
from core.ui.crystal_details import symmetry
from core.ui.crystal_view import structure_html

_TIMES = 5


def crystals() -> dict[str, Structure]:
    """A random boride, a garnet of 80 atoms a primitive cell, and a supercell of rutile."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(5), range(4), range(3), indexing="ij"), -1).reshape(-1, 3) / [5, 4, 3]
    random = Structure(
        Lattice.from_parameters(11.2, 9.1, 7.2, 84, 97, 103),
        rng.permutation([5] * 30 + [73] * 20 + [74] * 10).tolist(),
        grid + rng.normal(0, 0.01, (60, 3)),
    )
    rutile = Structure.from_spacegroup(
        136, Lattice.tetragonal(4.594, 2.958), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]
    )
    garnet = Structure.from_spacegroup(
        230,
        Lattice.cubic(12.0),
        ["Y", "Al", "Al", "O"],
        [[0.125, 0, 0.25], [0, 0, 0], [0.375, 0, 0.25], [0.9694, 0.0512, 0.15]],
    )
    return {
        "random boride, P1": random,
        "rutile × 10": rutile * [5, 2, 1],
        "garnet Y₃Al₅O₁₂": garnet.get_primitive_structure(),
    }


def main() -> None:
    """Print a table."""
    warnings.simplefilter("ignore")
    print("| crystal | atoms | space group | page, first time | kB |")
    print("|---|---|---|---|---|")
    for name, structure in crystals().items():
        cell = pack_cells(from_structures([structure]))[0]
        seconds, html = [], ""
        for _ in range(_TIMES):
            structure_html.clear()
            symmetry.clear()
            start = time.perf_counter()
            html = structure_html(cell, 0.01, "vesta")
            seconds.append(time.perf_counter() - start)
        found = symmetry(cell, 0.01)
        group = named(found.number) if found else "none"
        print(f"| {name} | {len(structure)} | {group} | {statistics.median(seconds):.3f} s | {len(html) / 1000:.0f} |")


if __name__ == "__main__":
    main()
