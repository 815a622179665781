"""CHGNet (Deng et al., Nature Machine Intelligence 5, 1031, 2023). Its package carries the weights."""

from __future__ import annotations

import contextlib
import hashlib
import io

import chgnet
import torch
from chgnet.model import CHGNet as ChgnetNetwork
from torch import Tensor

from core.crystals import Crystals, to_structures
from core.energy.potential import EV_PER_ANGSTROM3_IN_GPA, Potential, PotentialError

_UNTRAINED = frozenset(range(84, 89))  # Po to Ra: in its table, in no crystal it was trained on (Fr comes out at +2 eV)


class CHGNet(Potential):
    """CHGNet 0.3.0. Its energies include the Materials Project's corrections: never mix them with M3GNet's."""

    name = "CHGNet-0.3.0"
    atoms_per_batch = 250

    def __init__(self, device: str = "cpu") -> None:
        if chgnet.__version__ != "0.4.2":
            raise PotentialError(f"chgnet {chgnet.__version__} is installed; the weights are known from 0.4.2.")
        with contextlib.redirect_stdout(io.StringIO()):  # it announces itself where --json prints
            self._network = ChgnetNetwork.load(model_name="0.3.0", use_device=device, verbose=False)
        self._network.eval().requires_grad_(False)
        self.elements = frozenset(range(1, 95)) - _UNTRAINED
        digest = hashlib.sha256()
        for name, tensor in sorted(self._network.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        self.weights_hash = digest.hexdigest()

    def predict(self, crystals: Crystals) -> tuple[Tensor, Tensor, Tensor]:
        structures = to_structures(crystals)
        results = self._network.predict_structure(structures, task="efs", batch_size=len(structures))
        results = results if isinstance(results, list) else [results]
        forces = torch.zeros(*crystals.numbers.shape, 3)
        for row, result in zip(forces, results, strict=True):
            row[: len(result["f"])] = torch.as_tensor(result["f"])
        energy = torch.tensor([float(r["e"]) for r in results], dtype=torch.float64) * crystals.natoms
        stress = torch.stack([torch.as_tensor(r["s"]) for r in results]) / EV_PER_ANGSTROM3_IN_GPA
        return energy, forces, stress
