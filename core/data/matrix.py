"""The paper's picture of a crystal (its section 4.3): 64 × 3 numbers, and what its network is told of the elements."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from core.crystals import Crystals, lattice_from_parameters, lattice_parameters, wrap

SITES, ROWS = 60, 64
ELEMENTS, FEATURES = 103, 125  # one-hot vectors, and with them the 22 properties


def to_matrix(crystals: Crystals) -> Tensor:
    """(B, 64, 3) float32: 60 rows of coordinates in [0, 1) (0 at padding), a row of zeros, the cell's vectors in Å.

    The vectors are those of a, b, c, α, β, γ in the usual orientation (a along x, b in the xy plane), so that they say
    nothing of how the crystal is turned; a left-handed cell becomes its mirror image. float32 is enough: over real
    cells of up to 147 Å it costs 6e-6 Å and 3e-6°. Raises ValueError for more than 60 sites and for a flat cell.
    """
    _check_sites(crystals.numbers)
    n = min(SITES, crystals.numbers.shape[1])
    matrix = torch.zeros(len(crystals), ROWS, 3, device=crystals.frac.device)
    # wrapped after rounding: 0.99999999 is 1 in float32
    matrix[:, :n] = wrap(crystals.frac[:, :n].float()) * crystals.mask[:, :n, None]
    usual = lattice_from_parameters(lattice_parameters(crystals.lattice.double()))
    matrix[:, ROWS - 3 :] = usual.float()
    return matrix


def from_matrix(matrix: Tensor, numbers: Tensor) -> Crystals:
    """(B, 64, 3) and (B, N) atomic numbers -> crystals of N columns, of the matrix's type, with wrapped coordinates.

    Groups and energies are unknown. Cells are taken as they are: judging them is `core.evaluation.validity`'s work.
    Raises ValueError for more than 60 sites and for a matrix of another shape.
    """
    count, width = numbers.shape
    if matrix.shape != (count, ROWS, 3):
        raise ValueError(f"a matrix of shape {tuple(matrix.shape)} does not hold {count} crystals")
    _check_sites(numbers)
    n = min(SITES, width)  # columns past it are padding, and the cell's rows are no sites
    frac = matrix.new_zeros(count, width, 3)
    frac[:, :n] = wrap(matrix[:, :n]) * (numbers[:, :n] > 0)[:, :, None]
    group = torch.zeros(count, dtype=torch.int64, device=numbers.device)
    energy = matrix.new_full((count,), torch.nan)
    return Crystals(frac, matrix[:, ROWS - 3 :].clone(), numbers, group, energy)


def element_matrix(numbers: Tensor) -> Tensor:
    """(B, N) atomic numbers -> (B, 64, 125) float32: one-hot over 103 elements, then the 22 properties; 0 at padding.

    Raises ValueError for elements past 103 and for more than 60 sites.
    """
    from core.data.features import element_features  # mendeleev: training elsewhere has its table in a file

    _check_sites(numbers)
    if numbers.numel() and int(numbers.max()) > ELEMENTS:
        raise ValueError(f"element {int(numbers.max())} is past the {ELEMENTS} that have a place")
    rows = numbers.new_zeros(len(numbers), ROWS)
    n = min(SITES, numbers.shape[1])
    rows[:, :n] = numbers[:, :n]
    return element_table(element_features()).to(numbers.device)[rows]


def element_table(properties: Tensor) -> Tensor:
    """`core.data.features.element_features` (119, 22) -> (119, 125): the one-hot vectors of 103 elements before them.

    Row 0 (padding) is zero, and so are the elements past 103.
    """
    one_hot = functional.pad(torch.eye(ELEMENTS, device=properties.device), (0, 0, 1, len(properties) - 1 - ELEMENTS))
    return torch.cat([one_hot.to(properties.dtype), properties], 1)


def _check_sites(numbers: Tensor) -> None:
    """Raises ValueError where a column past the 60th holds a site; sites come first, so that is a 61st."""
    if bool((numbers[:, SITES:] > 0).any()):
        raise ValueError(f"crystals of more than {SITES} sites do not fit: {int((numbers > 0).sum(1).max())} sites")
