"""What is known of a template before it is used: how far its elements are, and what the other templates say of it.

All of it is relative, so that what was learned on one library holds for another.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from core.data.features import element_features
from core.evaluation.contacts import covalent_radii
from core.templates.candidates import Asked, Candidates
from core.templates.library import Library, Mark, pettifor

ALIKE = 0.05  # difference of fingerprints, in units of (V/N)^⅓, over which likeness falls to 1/e
_NEAR = (1.5, 5.0, math.inf)  # places in Pettifor's order over which the vote of a template falls to 1/e
_GAP = 0.05  # the same for its gap in energy, eV/atom
_ENERGIES = 4.0  # places in Pettifor's order over which a template counts less for the energy to expect
_MANY = 500  # structures of one pattern: more are as many
_GROUP_COLUMNS = [7, 8]
_ENERGY_COLUMNS, _UNKNOWN = [10, 11, 12, 13, 14, 15, 17, 18, 19], [0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0]
PAIR_FEATURES = 43
SLOT_FEATURES = 3 * 22 + 3


def likeness(marks: list[Mark], order: np.ndarray) -> np.ndarray:
    """(K, K) from 1 for templates that are the same structure, elements exchanged, to 0.

    marks: fingerprints of K templates; order: (K, E) of their elements
    """
    flat = np.stack(
        [
            np.concatenate([around[o].ravel(), between[np.ix_(o, o)].ravel()])
            for (around, between), o in zip(marks, order, strict=True)
        ]
    )
    points = torch.from_numpy(flat)
    far = torch.cdist(points, points, p=math.inf).double().numpy()
    found: np.ndarray = np.exp(-far / ALIKE)
    return found


def slot_features(mine: Tensor, theirs: Tensor, share: Tensor) -> Tensor:
    """(…) atomic numbers asked for, those they replace, and their shares of the atoms -> (…, SLOT_FEATURES).

    The properties of both, how they differ, their distance in Pettifor's order, and last the share.
    """
    table, scale = element_features(), torch.from_numpy(pettifor()).float()
    a, b = table[mine], table[theirs]
    apart = (scale[mine] - scale[theirs]) / 10
    return torch.cat([a, b, (a - b).abs(), torch.stack([apart, apart.abs(), share], -1)], -1)


def shares(asked: Asked) -> np.ndarray:
    """(E,) of the atoms."""
    found: np.ndarray = np.array(asked.pattern) / sum(asked.pattern)
    return found


def exchanged(library: Library, candidates: Candidates) -> np.ndarray:
    """(K, E) atomic numbers of the templates that take the places of those asked for."""
    return np.take_along_axis(library.elements[candidates.places], candidates.order, 1)


def pair_features(library: Library, asked: Asked, candidates: Candidates, alike: np.ndarray) -> Tensor:
    """(K, PAIR_FEATURES) of asked and template, and of the template among the others. alike: `likeness`"""
    places = candidates.places
    theirs = exchanged(library, candidates)
    apart = np.abs(pettifor()[theirs] - pettifor()[list(asked.elements)])
    mean = apart.mean(1)
    same = (library.group[places] == asked.group).astype(float) if asked.group else np.zeros(len(places))
    columns = [mean, apart @ shares(asked), apart.max(1), mean - mean.min()]
    columns = [c / 10 for c in columns] + [np.log1p(np.argsort(np.argsort(mean, kind="stable")))]
    columns += [same, np.full(len(places), float(bool(asked.group))), library.group[places] / 230]
    columns += [(library.group[places] == 1).astype(float), np.full(len(places), (asked.group or 0) / 230)]
    energies, gap = _energies(library, asked, places, mean)
    columns += energies
    columns += _votes(mean, same if asked.group else np.ones(len(places)), gap, alike)
    columns += _sizes(library, asked, candidates, theirs)
    columns += _contacts(library, asked, candidates, theirs)
    return torch.from_numpy(np.stack(columns, 1)).float()


def forget(pairs: Tensor, energies: bool, groups: bool) -> Tensor:
    """What `pair_features` gives where neither is asked for and a library does not know its energies, or its groups."""
    pairs = pairs.clone()
    if energies:
        pairs[:, _ENERGY_COLUMNS] = torch.tensor(_UNKNOWN)
    if groups:
        pairs[:, _GROUP_COLUMNS] = 0.0
    return pairs


def _energies(
    library: Library, asked: Asked, places: np.ndarray, mean: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Features, and the gap to the energy asked for (eV/atom, 0 where none is)."""
    energy, above = library.energy[places], library.above[places]
    known = np.isfinite(energy)
    weights = np.exp(-(mean - mean.min()) / _ENERGIES) * known
    usual = float((weights * np.nan_to_num(energy)).sum() / weights.sum()) if weights.sum() else 0.0
    floor = float((weights * np.nan_to_num(energy - above)).sum() / weights.sum()) if weights.sum() else 0.0
    given = asked.energy is not None
    wanted = asked.energy if asked.energy is not None else usual
    signed = np.where(known, energy - wanted, 0.0)
    gap = np.where(known, np.abs(signed), 0.3) * given
    own = np.nan_to_num(above, nan=0.3)
    size = len(places)
    columns = [
        known.astype(float),
        np.full(size, float(given)),
        np.minimum(gap, 1.0),
        np.clip(signed, -1, 1),
        np.minimum(own, 1.0),
        (own < 1e-6).astype(float),
        np.log(library.polymorphs[places]),
        np.full(size, np.clip(wanted - usual, -1, 1)),
        np.clip(wanted - floor - own, -1, 1) * given,
        np.full(size, np.clip(usual, -5, 2)),
    ]
    return columns, gap


def _votes(mean: np.ndarray, same: np.ndarray, gap: np.ndarray, alike: np.ndarray) -> list[np.ndarray]:
    """How many of the other templates are this structure: all and those of the group, the near and those of energy."""
    others = alike - np.diag(np.diag(alike))
    columns = [np.log1p(others.sum(1)), np.log1p(others @ same)]
    for reach in _NEAR:
        for kept in (np.ones(len(mean)), same, same * np.exp(-gap / _GAP)):
            weights = kept * np.exp(-(mean - mean.min()) / reach) + 1e-9
            columns.append((others @ weights) / (weights.sum() - weights + 1e-6))
    return columns


def _sizes(library: Library, asked: Asked, candidates: Candidates, theirs: np.ndarray) -> list[np.ndarray]:
    size = len(candidates)
    fitted, wanted = library.volumes[theirs] @ shares(asked), library.volumes[list(asked.elements)] @ shares(asked)
    return [
        np.log(library.volume[candidates.places] / fitted),
        np.log(wanted / fitted),
        np.full(size, math.log(asked.natoms)),
        np.full(size, float(len(asked.elements))),
        np.full(size, math.log1p(min(candidates.total, _MANY))),
        np.full(size, math.log1p(min(candidates.same, _MANY))),
        (candidates.order == np.arange(len(asked.elements))).all(1).astype(float),
    ]


def _contacts(library: Library, asked: Asked, candidates: Candidates, theirs: np.ndarray) -> list[np.ndarray]:
    """Shortest distances over the sums of radii, in the template and after the exchange, and what changes."""
    places, order = candidates.places, candidates.order
    near = np.stack([b[np.ix_(o, o)][:, :, 0] for (_, b), o in zip(library.marks(places), order, strict=True)])
    near = np.maximum(near, np.swapaxes(near, 1, 2)) * library.volume[places, None, None] ** (1 / 3)
    radius = covalent_radii()
    before, after = radius[theirs], radius[list(asked.elements)]
    fitted, wanted = library.volumes[theirs] @ shares(asked), library.volumes[list(asked.elements)] @ shares(asked)
    scale = (wanted / fitted) ** (1 / 3)
    was = near / (before[:, :, None] + before[:, None, :])
    now = near * scale[:, None, None] / (after[:, None] + after[None, :])
    flat_was, flat_now = was.reshape(len(places), -1), now.reshape(len(places), -1)
    change = np.log(flat_now / flat_was) * np.exp(-((flat_was / flat_was.min(1, keepdims=True) - 1) ** 2) * 4)
    change = np.nan_to_num(change)
    columns = [np.log(flat_was.min(1)), np.log(flat_now.min(1)), change.min(1), change.max(1), np.abs(change).mean(1)]
    return [np.clip(np.nan_to_num(c), -2, 2) for c in columns]
