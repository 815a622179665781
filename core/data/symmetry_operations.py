"""The symmetry operations of crystals by spglib, with the site that each takes a site to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
import torch
from torch import Tensor

from core.crystals import Crystals
from core.samplers.symmetry import Operations

_CLOSED = 0.3  # Å: an image farther than this from every atom says that the operation is none of this crystal


@dataclass(frozen=True)
class SiteOperations:
    """One crystal's space group in its own cell: x' = x Rᵀ + t.

    number: of the space group, 0 where none was found (then only the identity is here)
    rotation: (K, 3, 3) float64 integers; translation: (K, 3)
    image: (K, n) which site each site is brought to
    """

    number: int
    rotation: Tensor
    translation: Tensor
    image: Tensor


def find_operations(crystals: Crystals, symprec: float) -> list[SiteOperations]:
    """Each crystal's operations within `symprec` Å, by spglib."""
    return [_find(crystals, i, symprec) for i in range(len(crystals))]


def _find(crystals: Crystals, index: int, symprec: float) -> SiteOperations:
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
            return SiteOperations(int(dataset.number), rotation, translation, image)
    sites = torch.arange(len(frac))[None]
    return SiteOperations(0, torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64), sites)


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


def operations_of(crystals: Crystals, symprec: float = 0.01) -> Operations:
    """Each crystal's operations within `symprec` Å for `core.samplers.symmetry.kept`, on the processor.

    The identity alone where spglib finds none, or where an operation brings a site to no other.
    """
    return stacked(find_operations(crystals, symprec), crystals.numbers.shape[1])


def stacked(found: Sequence[SiteOperations], sites: int) -> Operations:
    """Crystals' own operations as one batch of `sites` columns; what is padding stays where it is."""
    most = max(len(one.rotation) for one in found)
    rotations = torch.eye(3, dtype=torch.float64).repeat(len(found), most, 1, 1)
    translations = torch.zeros(len(found), most, 3, dtype=torch.float64)
    images = torch.arange(sites).repeat(len(found), most, 1)
    present = torch.zeros(len(found), most, dtype=torch.bool)
    for i, one in enumerate(found):
        order, natoms = one.image.shape
        rotations[i, :order], translations[i, :order] = one.rotation, one.translation
        images[i, :order, :natoms], present[i, :order] = one.image, True
    return Operations(rotations, translations, images, present)
