"""A potential as ASE's calculator: the reference that batches are held against."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.io.ase import AseAtomsAdaptor

from core.crystals import from_structures
from core.energy.potential import Potential


class OneByOne(Calculator):  # type: ignore[misc]
    """Energy, forces and stress of one crystal at a time."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self._potential = potential

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        found = self._potential.evaluate(from_structures([AseAtomsAdaptor.get_structure(self.atoms)]))
        self.results = {
            "energy": float(found.energy[0]),
            "forces": found.forces[0].numpy(),
            "stress": full_3x3_to_voigt_6_stress(found.stress[0].numpy()),
        }
