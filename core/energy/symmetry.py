"""Symmetry of crystals that are relaxed: structures, forces and stress averaged over a space group's operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import spglib
import torch
from torch import Tensor

from core.crystals import Crystals, wrap

_CLOSED = 0.3  # Å: an image farther than this from every atom says that the operation is none of this crystal


@dataclass(frozen=True)
class Operations:
    """One crystal's space group in its own cell: x' = x Rᵀ + t.

    number: of the space group, 0 where none was found (then only the identity is here)
    rotation: (K, 3, 3) float64 integers; translation: (K, 3)
    image: (K, n) which site each site is brought to
    """

    number: int
    rotation: Tensor
    translation: Tensor
    image: Tensor


def find_operations(crystals: Crystals, symprec: float) -> list[Operations]:
    """Each crystal's operations within `symprec` Å, by spglib."""
    return [_find(crystals, i, symprec) for i in range(len(crystals))]


def _find(crystals: Crystals, index: int, symprec: float) -> Operations:
    mask = crystals.mask[index]
    frac, lattice = crystals.frac[index][mask].double(), crystals.lattice[index].double()
    cell: Any = (lattice.numpy(), frac.numpy(), crystals.numbers[index][mask].numpy())
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except Exception:  # spglib 2.8 raises where earlier releases returned None
        dataset = None
    if dataset is not None:
        rotation = torch.from_numpy(np.asarray(dataset.rotations, dtype=float))
        translation = torch.from_numpy(np.asarray(dataset.translations, dtype=float))
        image = _images(frac, lattice, crystals.numbers[index][mask], rotation, translation)
        if image is not None:
            return Operations(int(dataset.number), rotation, translation, image)
    sites = torch.arange(len(frac))[None]
    return Operations(0, torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64), sites)


def _images(frac: Tensor, lattice: Tensor, numbers: Tensor, rotation: Tensor, translation: Tensor) -> Tensor | None:
    """(K, n) the site that each operation brings each site to; None where that is no permutation."""
    moved = torch.einsum("nj,kij->kni", frac, rotation) + translation[:, None]
    delta = moved[:, :, None] - frac  # (K, n, n, 3)
    distance = ((delta - delta.round()) @ lattice).norm(dim=-1)
    distance[:, numbers[:, None] != numbers] = torch.inf
    nearest = distance.min(-1)
    whole = torch.arange(len(frac)).expand_as(nearest.indices)
    if bool((nearest.values > _CLOSED).any()) or not torch.equal(nearest.indices.sort(1).values, whole):
        return None
    return nearest.indices


def symmetrize(crystals: Crystals, operations: Sequence[Operations]) -> Crystals:
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

    def __init__(self, operations: Sequence[Operations]) -> None:
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
