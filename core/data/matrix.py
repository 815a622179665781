"""The paper's picture of a crystal (its section 4.3): 64 × 3 numbers, and what its network is told of the elements."""

from __future__ import annotations

import torch
from torch import Tensor

from core.crystals import Crystals, lattice_from_parameters, lattice_parameters, wrap
from core.data.features import ELEMENTS, element_features

SITES = 60
ROWS = 64


def to_matrix(crystals: Crystals) -> Tensor:
    """(B, 64, 3): 60 rows of fractional coordinates (0 at padding), a row of zeros, the cell's vectors in Å.

    The vectors are those of a, b, c, α, β, γ in the usual orientation (a along x, b in the xy plane), so that they say
    nothing of how the crystal is turned. float64 for float64 crystals. Raises ValueError for more than 60 sites.
    """
    if len(crystals) and int(crystals.natoms.max()) > SITES:
        raise ValueError(f"{int(crystals.natoms.max())} sites do not fit into {SITES} rows")
    n = min(SITES, crystals.numbers.shape[1])
    matrix = crystals.frac.new_zeros(len(crystals), ROWS, 3)
    matrix[:, :n] = crystals.frac[:, :n] * crystals.mask[:, :n, None]
    usual = lattice_from_parameters(lattice_parameters(crystals.lattice.double()))
    matrix[:, ROWS - 3 :] = usual.to(matrix.dtype)
    return matrix


def from_matrix(matrix: Tensor, numbers: Tensor) -> Crystals:
    """(B, 64, 3) and (B, N) atomic numbers -> crystals with wrapped coordinates, groups and energies unknown."""
    count, n = numbers.shape
    frac = wrap(matrix[:, :n]) * (numbers > 0)[:, :, None]
    group = torch.zeros(count, dtype=torch.int64, device=numbers.device)
    energy = matrix.new_full((count,), torch.nan)
    return Crystals(frac, matrix[:, ROWS - 3 :].clone(), numbers, group, energy)


def element_matrix(numbers: Tensor) -> Tensor:
    """(B, N) atomic numbers -> (B, 64, 125) float32: one-hot over 103 elements, then the 22 properties; 0 at padding.

    Raises ValueError for elements past 103 and for more than 60 sites.
    """
    if numbers.shape[1] > SITES and bool((numbers[:, SITES:] > 0).any()):
        raise ValueError(f"more than {SITES} sites do not fit")
    if len(numbers) and int(numbers.max()) > ELEMENTS:
        raise ValueError(f"element {int(numbers.max())} is past the {ELEMENTS} that have a place")
    n = min(SITES, numbers.shape[1])
    features = element_features().to(numbers.device)
    result = torch.zeros(len(numbers), ROWS, ELEMENTS + features.shape[1], device=numbers.device)
    one_hot = torch.nn.functional.one_hot(numbers[:, :n], ELEMENTS + 1)[:, :, 1:]
    result[:, :n] = torch.cat([one_hot.float(), features[numbers[:, :n]]], -1)
    return result
