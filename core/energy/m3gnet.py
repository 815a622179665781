"""M3GNet (Chen & Ong, Nature Computational Science 2, 718, 2022) through matgl."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matgl.apps.pes import Potential as MatglPotential
from matgl.layers._core import GatedMLP
from matgl.layers._graph_convolution import M3GNetGraphConv
from pymatgen.core import Element
from pymatgen.optimization.neighbors import find_points_in_spheres
from torch import Tensor
from torch.nn import Module
from torch_geometric.data import Batch, Data

from core.crystals import Crystals
from core.energy.potential import EV_PER_ANGSTROM3_IN_GPA, Potential, PotentialError

_NO_SELF = 1e-8  # Å: a shorter "bond" is the atom itself


class M3GNet(Potential):
    """The universal potential M3GNet-MP-2021.2.8 from a folder in matgl's format.

    matgl reads its two .pt files with torch's restricted unpickler (weights_only), so they cannot run code.
    """

    name = "M3GNet-MP-2021.2.8"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        files = {name: folder / name for name in ("model.json", "model.pt", "state.pt")}
        missing = [name for name, path in files.items() if not path.is_file()]
        if missing:
            raise PotentialError(f"{folder} holds no {', '.join(missing)}: name the folder of M3GNet's checkpoint.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._network = MatglPotential.load(files)
        for block in self._network.model.graph_layers:
            block.conv.__class__ = _DestinationConv
        self._network.eval().requires_grad_(False).to(device)
        self._device = device
        self._species = {Element(symbol).Z: i for i, symbol in enumerate(self._network.model.element_types)}
        self.cutoff = float(self._network.model.cutoff)
        self.triple_cutoff = float(self._network.model.threebody_cutoff)
        if self._device != "cpu":
            self.atoms_per_batch = 8000
        self.elements = frozenset(self._species)
        self.weights_hash = hashlib.sha256(files["state.pt"].read_bytes()).hexdigest()

    def predict(self, crystals: Crystals) -> tuple[Tensor, Tensor, Tensor]:
        graphs = [self._graph(crystals, i) for i in range(len(crystals))]
        batch = Batch.from_data_list(graphs).to(self._device)
        lattice = crystals.lattice.float().to(self._device)
        state = torch.zeros(len(crystals), 2, device=self._device)
        energy, forces, stress, _ = self._network(batch, lattice, state)
        padded = torch.zeros(*crystals.numbers.shape, 3)
        padded[crystals.mask] = forces.detach().float().cpu()
        stress = stress.detach().view(-1, 3, 3).cpu() / EV_PER_ANGSTROM3_IN_GPA
        return energy.detach().reshape(-1).cpu(), padded, stress

    def _graph(self, crystals: Crystals, index: int) -> Data:
        """One crystal with its bonds up to the cut-off, as matgl's converters build it."""
        mask = crystals.mask[index]
        frac = crystals.frac[index][mask].double()
        cell = np.ascontiguousarray(crystals.lattice[index].double().numpy())
        cart = np.ascontiguousarray((frac @ crystals.lattice[index].double()).numpy())
        periodic = np.array([1, 1, 1], dtype=np.int64)
        source, target, images, length = find_points_in_spheres(
            cart, cart, r=self.cutoff, pbc=periodic, lattice=cell, tol=_NO_SELF
        )
        bond = (source != target) | (length > _NO_SELF)
        species = [self._species[z] for z in crystals.numbers[index][mask].tolist()]
        return Data(
            num_nodes=len(frac),
            edge_index=torch.from_numpy(np.stack([source[bond], target[bond]])).long(),
            pbc_offset=torch.from_numpy(images[bond]).float(),
            node_type=torch.tensor(species),
            frac_coords=frac.float(),
        )


class _DestinationConv(M3GNetGraphConv):
    """matgl's convolution with messages summed into the atom a bond points to, and half of its products spared.

    matgl 4.1.2 sums them into the atom a bond comes from; the weights of 2021 were trained the other way round, and
    read as they are they give MgO −2.04 instead of −5.96 eV/atom.
    """

    def edge_update_(
        self, edge_index: Tensor, edge_feat: Tensor, node_feat: Tensor, rbf: Tensor, u_per_edge: Tensor | None
    ) -> Tensor:
        parts = [edge_feat] if u_per_edge is None else [edge_feat, u_per_edge]
        return _gated(self.edge_update_func, edge_index, node_feat, parts) * self.edge_weight_func(rbf)

    def node_update_(
        self,
        edge_index: Tensor,
        edge_feat: Tensor,
        node_feat: Tensor,
        rbf: Tensor,
        u_per_edge: Tensor | None,
        num_nodes: int,
    ) -> Tensor:
        parts = [edge_feat] if u_per_edge is None else [edge_feat, u_per_edge]
        message = _gated(self.node_update_func, edge_index, node_feat, parts) * self.node_weight_func(rbf)
        return message.new_zeros(num_nodes, message.shape[1]).index_add(0, edge_index[1], message)


def _gated(network: Module, edge_index: Tensor, nodes: Tensor, edges: list[Tensor]) -> Tensor:
    """`network` of [node it comes from, node it points to, edge]: its first layer is applied to nodes before they meet.

    There are some thirty bonds to an atom, so that two thirds of the widest product are made thirty times less often.
    nodes: (sites, d); edges: (bonds, …) each; edge_index: (2, bonds)
    """
    assert isinstance(network, GatedMLP)
    source, target = edge_index
    width = nodes.shape[1]
    first: list[Any] = [network.layers[0], network.gates[0]]
    weight = torch.cat([layer.weight for layer in first])
    bias = torch.cat([layer.bias for layer in first])
    at_edges = torch.nn.functional.linear(torch.hstack(edges), weight[:, 2 * width :], bias)
    from_source, from_target = nodes @ weight[:, :width].T, nodes @ weight[:, width : 2 * width].T
    value, gate = (at_edges + from_source[source] + from_target[target]).chunk(2, dim=1)
    return network.layers[1:](value) * network.gates[1:](gate)
