"""Templates as starts of a network's paths: for every structure of a dataset those of other formulas.

What a network learns from (`core.training.templates`): a template brings the topology, the network the cell and the
positions. No structure sees one of its own formula, so that what is learned holds for formulas that are not known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from core.data.common_cells import Cell, fitted, in_basis
from core.data.fitted_pairs import cells_of, fit_pair
from core.templates.candidates import Asked, find_candidates
from core.templates.library import Library
from core.templates.propose import built, choose
from core.training.templates import TemplateStarts

FARTHEST = 0.5  # root mean square displacement in units of (V/N)^⅓: what lies further is another structure


def template_starts(
    library: Library,
    count: int = 2,
    targets: int = 0,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> TemplateStarts:
    """Up to `count` starts for each structure of a library, asked for with its group and energy.

    targets: so many, drawn by the seed, 0 for all; on_step(done, all). Raises ValueError where there is no template.
    """
    places = np.arange(len(library.rows))
    if targets:
        places = np.sort(np.random.default_rng(seed).permutation(places)[:targets])
    made: list[tuple[int, Cell, Cell]] = []
    for done, place in enumerate(places.tolist()):
        row = int(library.rows[place])
        made += [(row, start, target) for start, target in _starts_of(library, place, row, count)]
        if on_step and done % 100 == 0:
            on_step(done, len(places))
    if not made:
        raise ValueError("No structure of this dataset has a template among the others.")
    made.sort(key=lambda found: found[0])
    return _packed(made)


def _starts_of(library: Library, place: int, row: int, count: int) -> list[tuple[Cell, Cell]]:
    """(start, target) side by side, for those that lie near enough."""
    known = library.structures[torch.tensor([row])]
    target = cells_of(known)[0]
    asked = Asked.of(target.numbers.tolist(), int(library.group[place]), float(library.energy[place]))
    candidates = find_candidates(library, asked, without=int(library.formula[place]))
    if not len(candidates):
        return []
    chosen, _ = choose(library, asked, candidates, count, None)
    found = []
    for template in cells_of(built(library, asked, candidates, chosen)):
        matrix, fit = fit_pair(template, target)
        if fit.moved <= FARTHEST:
            found.append((in_basis(template, matrix), fitted(target, fit)))
    return found


def _packed(made: list[tuple[int, Cell, Cell]]) -> TemplateStarts:
    starts, targets = [start for _, start, _ in made], [target for _, _, target in made]

    def sites(cells: list[Cell]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([c.frac for c in cells]).astype(np.float32))

    def lattices(cells: list[Cell]) -> torch.Tensor:
        return torch.from_numpy(np.stack([c.lattice for c in cells]).astype(np.float32))

    return TemplateStarts(
        torch.tensor([row for row, _, _ in made]),
        torch.tensor([len(c.numbers) for c in starts]),
        torch.from_numpy(np.concatenate([c.numbers for c in starts]).astype(np.uint8)),
        sites(starts),
        lattices(starts),
        sites(targets),
        lattices(targets),
    )
