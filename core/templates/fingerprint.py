"""What a structure looks like without its elements: distances around the atoms of each element, in units of (V/N)^⅓.

Equal structures have equal fingerprints whatever their cell, origin and elements (as average minimum distances have:
Widdowson et al., MATCH 87, 529, 2022), so their difference says at little cost how alike two templates are.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from core.crystals import Crystals

NEAREST = 12  # neighbours of whatever element
OWN = 4  # neighbours of each element
_AT_ONCE = 3_000_000  # distances held in memory at a time
_IMAGES = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))
_HERE = 13  # the image that is none
_FAR = 2.2  # farther counts as so far: 40 neighbours are nearer


def fingerprints(crystals: Crystals, slots: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean distances in units of (V/N)^⅓ around the elements of every crystal.

    slots: (B, N) which element of the crystal each site is, 0 to count - 1; whatever at padding

    Returns (B, count, NEAREST) of the first, second, … neighbour of an element's atoms, and (B, count, count, OWN) of
    an element's atoms' neighbours of each element.
    """
    b, n = crystals.numbers.shape
    if not b:
        return torch.zeros(0, count, NEAREST), torch.zeros(0, count, count, OWN)
    size = max(1, _AT_ONCE // (27 * n * n))
    parts = [_fingerprints(crystals[i : i + size], slots[i : i + size], count) for i in range(0, b, size)]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _fingerprints(crystals: Crystals, slots: Tensor, count: int) -> tuple[Tensor, Tensor]:
    b, n = crystals.numbers.shape
    site, other, distance = _neighbours(crystals)
    around = _nearest(site, distance, b * n, NEAREST).view(b, n, NEAREST)
    kind = site * count + slots.clamp(0, count - 1).flatten()[other]
    between = _nearest(kind, distance, b * n * count, OWN).view(b, n, count, OWN)
    belongs = torch.nn.functional.one_hot(slots.clamp(0, count - 1), count).float() * crystals.mask[:, :, None]
    share = belongs / belongs.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bnc,bnk->bck", share, around), torch.einsum("bnc,bndk->bcdk", share, between)


def _neighbours(crystals: Crystals) -> tuple[Tensor, Tensor, Tensor]:
    """(P,) sites, their neighbours nearer than `_FAR`, numbered through the batch, and the distances, rising."""
    b, n = crystals.numbers.shape
    unit = (crystals.volume.double() / crystals.natoms).pow(1 / 3).float()
    lattice = crystals.lattice.float() / unit[:, None, None]
    delta = crystals.frac[:, :, None].float() - crystals.frac[:, None].float()
    steps = (delta - delta.round()).view(b, n * n, 3) @ lattice
    images = _IMAGES @ lattice  # (B, 27, 3)
    squared = torch.baddbmm((images**2).sum(-1)[:, None] + (steps**2).sum(-1)[:, :, None], steps, images.mT, alpha=2.0)
    both = (crystals.mask[:, :, None] & crystals.mask[:, None]).view(b, n * n)
    squared[~both] = _FAR**2
    squared[:, :: n + 1, _HERE] = _FAR**2  # of each site to itself
    place = torch.nonzero(squared.flatten() < _FAR**2).flatten()
    near, order = squared.flatten()[place].clamp(min=0).sort()
    pair = place[order] // 27
    return pair // n, pair // (n * n) * n + pair % n, near.sqrt()


def _nearest(key: Tensor, distance: Tensor, count: int, most: int) -> Tensor:
    """(count, most) the first distances of every key, rising as they come; `_FAR` where there are fewer."""
    order = torch.sort(key, stable=True).indices
    key = key[order]
    starts = torch.searchsorted(key, torch.arange(count))
    rank = torch.arange(len(key)) - starts[key]
    found = torch.full((count, most), _FAR)
    keep = rank < most
    found[key[keep], rank[keep]] = distance[order][keep]
    return found
