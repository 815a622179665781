"""Many well-formed rows at once: what `records.from_row` does for one, in arrays. Anything odd is left to that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from core.crystals import Crystals, lattice_from_parameters, pack_cells, wrap
from core.data.readers.records import CLOSE, MAX_SITES, NAMES, Record, closest_approach, energies_of, split_of
from core.data.rows import describe_composition

_WIDTHS = (4, 8, 12, 16, 24, 32, 48, 64, MAX_SITES)  # rows of like size are worked on together
_TALL = 128  # rows at once: the distances of one block stay in the cache


def from_rows(rows: Sequence[tuple[int, str, dict[str, Any]]], method: str) -> dict[int, Record]:
    """(number, place, row with AFLOW's keys) -> {number: record} of the rows that are plain and good.

    The others are for `from_row`, which says what is wrong with them or takes them.
    """
    plain = [(number, place, row, numbers) for number, place, row in rows if (numbers := _plain(row)) is not None]
    found: dict[int, Record] = {}
    low = 0
    for high in _WIDTHS:
        members = [p for p in plain if low < len(p[3]) <= high]
        for start in range(0, len(members), _TALL):
            found |= _block(members[start : start + _TALL], method)
        low = high
    return found


def _plain(row: dict[str, Any]) -> list[int] | None:
    """Atomic number per site of a row that has everything in its usual form, else None."""
    species, counts = row.get("species"), row.get("composition")
    positions, geometry = row.get("positions_fractional"), row.get("geometry")
    if not (type(species) is type(counts) is type(positions) is type(geometry) is list):
        return None
    if len(species) != len(counts) or len(geometry) != 6 or not row.get("auid") or type(row["auid"]) is not str:
        return None
    group = row.get("spacegroup_relax")
    if type(group) is not int or not 1 <= group <= 230:
        return None
    numbers: list[int] = []
    for symbol, count in zip(species, counts, strict=True):
        z = NAMES.get(symbol) if type(symbol) is str else None
        if z is None or type(count) is not int or not 1 <= count <= MAX_SITES:
            return None
        numbers += [z] * count
    good = 0 < len(numbers) == len(positions) <= MAX_SITES and len(set(species)) == len(species)
    return numbers if good else None


def _block(members: list[tuple[int, str, dict[str, Any], list[int]]], method: str) -> dict[int, Record]:
    count, width = len(members), max(len(m[3]) for m in members)
    try:
        geometry = np.array([m[2]["geometry"] for m in members], dtype=np.float64)
        sites = np.array([xyz for m in members for xyz in m[2]["positions_fractional"]], dtype=np.float64)
    except (TypeError, ValueError):
        return {}  # one of them is odd: all go the slow way
    if geometry.shape != (count, 6) or sites.ndim != 2 or sites.shape[1] != 3:
        return {}
    sizes = np.array([len(m[3]) for m in members])
    mask = np.arange(width) < sizes[:, None]
    numbers, frac = np.zeros((count, width), dtype=np.int64), np.zeros((count, width, 3))
    numbers[mask] = np.concatenate([m[3] for m in members])
    frac[mask] = sites
    good: np.ndarray = np.isfinite(np.concatenate([geometry, frac.reshape(count, -1)], axis=1)).all(
        axis=1, keepdims=False
    )
    good = np.logical_and(good, (geometry[:, :3] > 0).all(axis=1))
    try:
        lattice = lattice_from_parameters(torch.from_numpy(np.where(good[:, None], geometry, [1, 1, 1, 90, 90, 90])))
    except ValueError:
        return {}
    frac = wrap(torch.from_numpy(np.where(good[:, None, None], frac, 0.0))).numpy()
    volume = np.abs(np.linalg.det(lattice.numpy()))
    closest = closest_approach(frac, lattice.numpy(), mask)
    good &= (volume > 0.1) & (volume < 1e7) & (closest >= CLOSE)
    unknown = torch.zeros(count, dtype=torch.int64)
    crystals = Crystals(
        torch.from_numpy(frac), lattice, torch.from_numpy(numbers), unknown, torch.full((count,), math.nan).double()
    )
    cells = pack_cells(crystals)
    found = {}
    for i, (number, place, row, _) in enumerate(members):
        if not good[i]:
            continue
        content = sorted(zip((NAMES[s] for s in row["species"]), row["composition"], strict=True))
        formula, system, _ = describe_composition(tuple(content))
        found[number] = Record(
            place,
            row["auid"][:200],
            formula,
            system,
            int(sizes[i]),
            row["spacegroup_relax"],
            cells[i],
            energies_of(row, method),
            float(volume[i] / sizes[i]),
            float(closest[i]),
            split_of(row),
        )
    return found
