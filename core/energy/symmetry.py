"""Symmetry of crystals that are relaxed: structures, forces and stress averaged over a space group's operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.crystals import Crystals, wrap
from core.data.symmetry_operations import SiteOperations


def symmetrize(crystals: Crystals, operations: Sequence[SiteOperations]) -> Crystals:
    """Cells and sites averaged over the operations, so that the group holds to rounding. Hands and axes stay."""
    frac, lattice = crystals.frac.double().clone(), crystals.lattice.double().clone()
    for i, found in enumerate(operations):
        n = int(crystals.natoms[i])
        lattice[i] = _even_cell(lattice[i], found.rotation)
        old = frac[i, :n]
        moved = torch.einsum("nj,kij->kni", old, found.rotation) + found.translation[:, None]
        delta = moved - old[found.image]
        delta = delta - delta.round()
        change = torch.zeros_like(old)
        change.index_add_(0, found.image.flatten(), delta.flatten(0, 1))
        frac[i, :n] = wrap(old + change / len(found.rotation))
    return replace(crystals, frac=frac, lattice=lattice)


def _even_cell(lattice: Tensor, rotation: Tensor) -> Tensor:
    """The cell strained, without turning, to the average of its metric over the rotations."""
    metric = lattice @ lattice.T
    even = (rotation.mT @ metric @ rotation).mean(0)
    inverse = torch.linalg.inv(lattice)
    values, vectors = torch.linalg.eigh(inverse @ even @ inverse.T)  # U² of lattice' = lattice U
    return lattice @ (vectors * values.clamp(min=1e-12).sqrt()) @ vectors.T


class Symmetry:
    """The operations of a batch of crystals, and forces and stress averaged over them."""

    def __init__(self, operations: Sequence[SiteOperations]) -> None:
        self._operations = list(operations)
        counts = [len(o.rotation) for o in operations]
        self._rotation = torch.cat([o.rotation for o in operations])
        self._system = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        sources, targets, which = [], [], []
        first = done = 0
        for found in operations:
            k, n = found.image.shape
            sources.append((torch.arange(n) + first).expand(k, n).flatten())
            targets.append((found.image + first).flatten())
            which.append(torch.arange(done, done + k).repeat_interleave(n))
            first, done = first + n, done + k
        self._source, self._target, self._which = torch.cat(sources), torch.cat(targets), torch.cat(which)
        self._share = 1.0 / torch.tensor(counts, dtype=torch.float64)

    def select(self, rows: Sequence[int]) -> Symmetry:
        """Of these crystals alone."""
        return Symmetry([self._operations[i] for i in rows])

    def project(self, forces: Tensor, stress: Tensor, lattice: Tensor) -> tuple[Tensor, Tensor]:
        """Forces (sites of all crystals, 3), stress (B, 3, 3) of cells (B, 3, 3) -> what the groups leave of them.

        With rows a, b, c of L an operation turns a row vector of space by Q = L⁻¹ Rᵀ L.
        """
        q = torch.linalg.inv(lattice)[self._system] @ self._rotation.mT @ lattice[self._system]
        turned = (forces[self._source, None] @ q[self._which])[:, 0]
        even = torch.zeros_like(forces).index_add_(0, self._target, turned)
        site_system = torch.empty(len(forces), dtype=torch.int64)
        site_system[self._source] = self._system[self._which]
        even_stress = torch.zeros_like(stress).index_add_(0, self._system, q.mT @ stress[self._system] @ q)
        return even * self._share[site_system, None], even_stress * self._share[:, None, None]
