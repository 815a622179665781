"""Crystals as the states that networks move, and back.

By default ("log") the cell becomes the symmetric matrix S = ½ ln(L Lᵀ) (3 × 3), less what an average cell of so many
atoms has, in units of its usual spread. It knows nothing of how the crystal is turned, every S is a cell of positive
volume, and what a crystal system asks of a cell is linear in S (compare DiffCSP++, Jiao et al., ICLR 2024). The paper
("vectors") takes the three vectors of a, b, c, α, β, γ in the usual orientation, in Å.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.crystals import Crystals, lattice_from_parameters, lattice_parameters, wrap
from core.models.state import Conditions, State

VOLUME_PER_ATOM = 15.0  # Å³
SPREAD = 0.35  # of S over known crystals: a state's lattice is of order one
CELLS = ("log", "vectors")


def encode(crystals: Crystals, cell: str = "log") -> State:
    """The state of each crystal, float32; fractional coordinates as they are.

    Raises ValueError for an encoding of cells that is unknown, and in "vectors" for a flat cell.
    """
    _known(cell)
    lattice = crystals.lattice.double()
    if cell == "vectors":
        usual = lattice_from_parameters(lattice_parameters(lattice))
        return State(crystals.frac.float(), usual.float(), crystals.mask)
    values, vectors = torch.linalg.eigh(lattice @ lattice.mT)
    log = vectors @ torch.diag_embed(values.clamp_min(1e-12).log() / 2) @ vectors.mT
    state = (log - _average(crystals.natoms)) / SPREAD
    return State(crystals.frac.float(), state.float(), crystals.mask)


def decode(state: State, conditions: Conditions, cell: str = "log") -> Crystals:
    """The crystals of a state: coordinates wrapped, cells as symmetric matrices or as the vectors they are.

    Groups and energies are unknown. Cells that are not finite come out as NaN; judging them is
    `core.evaluation.validity`'s work. Raises ValueError for an encoding of cells that is unknown.
    """
    _known(cell)
    frac = wrap(state.frac.double()) * conditions.mask[:, :, None]
    unknown = torch.zeros(len(state), dtype=torch.int64, device=frac.device)
    nan = torch.full((len(state),), torch.nan, dtype=torch.float64, device=frac.device)
    lattice = state.lattice.double() if cell == "vectors" else _from_log(state, conditions)
    return Crystals(frac, lattice, conditions.numbers, unknown, nan)


def _known(cell: str) -> None:
    if cell not in CELLS:
        raise ValueError(f"There is no encoding of cells {cell!r}: choose {' or '.join(CELLS)}.")


def log_cell(state: State) -> Tensor:
    """(B, 3, 3) S = ½ ln(L Lᵀ), L in Å, of a state whose cells are encoded as "log"."""
    log = state.lattice * SPREAD + _average(state.mask.sum(1)).to(state.lattice)
    return ((log + log.mT) / 2).clamp(-20, 20)


def _from_log(state: State, conditions: Conditions) -> Tensor:
    """(B, 3, 3) float64 cells of S, NaN where S is not finite."""
    log = log_cell(State(state.frac, state.lattice.double(), conditions.mask.to(state.lattice.device)))
    finite = torch.isfinite(log).flatten(1).all(1)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], log, torch.zeros_like(log)))
    lattice = vectors @ torch.diag_embed(values.exp()) @ vectors.mT
    lattice[~finite] = torch.nan
    return lattice


def _average(natoms: Tensor) -> Tensor:
    """(B, 3, 3) S of a cubic cell of `natoms` average atoms."""
    length = torch.log(natoms.double().clamp_min(1) * VOLUME_PER_ATOM) / 3
    return length[:, None, None] * torch.eye(3, dtype=torch.float64, device=natoms.device)
