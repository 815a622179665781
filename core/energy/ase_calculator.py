"""A potential as ASE's calculator: one crystal at a time, and the reference that batches are held against."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from core.crystals import from_structures
from core.energy.potential import Potential


class OneByOne(Calculator):
    """Energy in eV, forces in eV/Å, stress in eV/Å³. Raises ValueError for a crystal the potential refuses."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 (as ASE declares it)

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self._potential = potential

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """As ASE calls it."""
        from pymatgen.io.ase import AseAtomsAdaptor

        super().calculate(atoms, properties, system_changes)
        found = self._potential.evaluate(from_structures([AseAtomsAdaptor.get_structure(self.atoms)]))
        if found.problem[0]:
            raise ValueError(found.problem[0])
        self.results = {
            "energy": float(found.energy[0]),
            "forces": found.forces[0].numpy(),
            "stress": full_3x3_to_voigt_6_stress(found.stress[0].numpy()),
        }
