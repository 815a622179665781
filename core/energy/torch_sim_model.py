"""Any Potential as torch-sim sees a model, and crystals as its states."""

from __future__ import annotations

import torch
import torch_sim as ts
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from core.crystals import Crystals, wrap
from core.energy.potential import Evaluation, Potential, handedness
from core.energy.symmetry import Symmetry


class TorchSimModel(ModelInterface):
    """A Potential behind torch-sim's interface; forces and stress are projected onto `symmetry` where it is given.

    problems: names the crystals of the last call that failed
    """

    def __init__(self, potential: Potential, symmetry: Symmetry | None = None) -> None:
        super().__init__()
        self._potential = potential
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._compute_stress = self._compute_forces = True
        self.symmetry = symmetry
        self.problems: list[str] = []

    def forward(self, state: ts.SimState, **_: object) -> dict[str, Tensor]:
        found: Evaluation = self._potential.evaluate(from_state(state))
        self.problems = found.problem
        mask = torch.arange(found.forces.shape[1]) < state.n_atoms_per_system[:, None]
        forces, stress = found.forces[mask].nan_to_num(), found.stress.nan_to_num()
        if self.symmetry is not None:
            forces, stress = self.symmetry.project(forces, stress, state.row_vector_cell.detach())
        return {"energy": found.energy.nan_to_num(), "forces": forces, "stress": stress}


def to_state(crystals: Crystals) -> ts.SimState:
    """Left-handed cells go in as their mirror image: torch-sim takes the virial times the signed volume."""
    mask = crystals.mask
    right = crystals.lattice.double() * handedness(crystals.lattice.double())
    system = torch.arange(len(crystals))[:, None].expand_as(mask)[mask]
    cart = (crystals.frac.double() @ right)[mask]
    return ts.SimState(
        positions=cart,
        masses=torch.ones(len(cart), dtype=torch.float64),  # FIRE as in ASE moves by forces, not by masses
        cell=right.mT.contiguous(),
        pbc=True,
        atomic_numbers=crystals.numbers[mask],
        system_idx=system,
    )


def from_state(state: ts.SimState) -> Crystals:
    """The crystals of a state, right-handed."""
    counts = state.n_atoms_per_system
    mask = torch.arange(int(counts.max())) < counts[:, None]
    lattice = state.row_vector_cell.detach()
    positions = torch.zeros(*mask.shape, 3, dtype=torch.float64)
    numbers = torch.zeros(mask.shape, dtype=torch.int64)
    positions[mask], numbers[mask] = state.positions.detach().double(), state.atomic_numbers.long()
    frac = wrap(positions @ torch.linalg.inv(lattice)) * mask[:, :, None]
    unknown = torch.zeros(len(counts), dtype=torch.int64)
    return Crystals(frac, lattice, numbers, unknown, torch.full((len(counts),), torch.nan, dtype=torch.float64))
