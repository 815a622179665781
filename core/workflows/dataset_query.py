"""Questions about the structures of a dataset: which ones, and how they are distributed. Arrays only, no rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from pymatgen.core import Element

from core.data.formulas import elements_of
from core.data.recipe import suspicious
from core.data.tensors import TensorData
from core.workflows.datasets import columns_of, get_dataset, imports_of, load_tensors
from db.tables import Dataset

_SAMPLE = 20_000  # structures whose coordinates are looked at
ORDERS = ("as imported", "energy", "atoms", "formula")


@dataclass(frozen=True)
class Selection:
    """What is looked at of a dataset; None leaves a property free. Ranges hold both ends."""

    element: str | None = None
    group: int | None = None
    formula: str | None = None
    atoms: tuple[float, float] | None = None
    energy: tuple[float, float] | None = None
    coordinate: tuple[float, float] | None = None  # some site has x, y or z there
    reason: str | None = None  # of `suspicious`

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) is not None for f in fields(self))


@dataclass(frozen=True, eq=False)
class Facets:
    """How the selected structures are distributed.

    elements: symbol -> (structures, mean formation energy in eV/atom or None); groups, atoms: value -> structures
    energy: (edges (K+1,), counts (K,)); coordinates: (edges, counts (3, K)) of x, y, z over `sampled` structures
    """

    structures: int
    formulas: int
    elements: dict[str, tuple[int, float | None]]
    groups: dict[int, int]
    atoms: dict[int, int]
    energy: tuple[np.ndarray, np.ndarray] | None
    coordinates: tuple[np.ndarray, np.ndarray]
    sampled: int


@dataclass(frozen=True, eq=False)
class Polymorphs:
    """Formulas with their structures counted, most first: (F,) index into the dataset's formulas, counts, eV/atom."""

    formula: np.ndarray
    count: np.ndarray
    lowest: np.ndarray
    span: np.ndarray


def rows_of(dataset: Dataset, selection: Selection, order: str = ORDERS[0]) -> np.ndarray:
    """Row numbers of the selected structures."""
    return _rows(dataset.name, dataset.hash, selection, order)


def facets(dataset: Dataset, selection: Selection) -> Facets:
    """How the selected structures are distributed."""
    return _facets(dataset.name, dataset.hash, selection)


def polymorphs(dataset: Dataset, selection: Selection, order: str = "polymorphs") -> Polymorphs:
    """The formulas of the selected structures, by number of polymorphs, "energy span" or "formula"."""
    return _polymorphs(dataset.name, dataset.hash, selection, order)


def suspects(dataset: Dataset) -> dict[str, np.ndarray]:
    """Reason -> row numbers of structures that deserve a second look."""
    return _suspects(dataset.name, dataset.hash)


@lru_cache(maxsize=32)
def _rows(name: str, content: str, selection: Selection, order: str) -> np.ndarray:
    data = load_tensors(get_dataset(name))
    crystals = data.crystals
    keep = np.ones(len(data), dtype=bool)
    if selection.formula is not None:
        wanted = selection.formula.lower()
        keep &= np.array([wanted in f.lower() for f in data.formulas])[data.formula.numpy()]
    if selection.element is not None:
        z = Element(selection.element).Z if Element.is_valid_symbol(selection.element) else 0
        keep &= _presence(name, content)[:, z][data.formula.numpy()]
    if selection.group is not None:
        keep &= crystals.group.numpy() == selection.group
    for values, window in ((crystals.natoms.numpy(), selection.atoms), (crystals.energy.numpy(), selection.energy)):
        if window is not None:
            with np.errstate(invalid="ignore"):
                keep &= (values >= window[0]) & (values <= window[1])
    if selection.coordinate is not None:
        keep &= _with_coordinate(data, *selection.coordinate)
    rows = np.flatnonzero(keep)
    if selection.reason is not None:
        rows = np.intersect1d(rows, _suspects(name, content).get(selection.reason, np.zeros(0, dtype=np.int64)))
    return rows[_order(data, rows, order)]


def _with_coordinate(data: TensorData, low: float, high: float) -> np.ndarray:
    """(M,) bool: has some site x, y or z in the range?"""
    found = np.zeros(len(data), dtype=bool)
    for k, arrays in enumerate(data.crystals.parts):
        first, last = (np.uint32(np.clip(v, 0, 1 - 2.0**-32) * 2.0**32) for v in (low, high))
        inside = ((arrays.frac >= first) & (arrays.frac <= last)).any(1)
        holds = np.logical_or.reduceat(inside, np.concatenate([[0], arrays.ends[:-1]]))
        mine = data.crystals.part.numpy() == k
        found[mine] = holds[data.crystals.row.numpy()[mine]]
    return found


def _order(data: TensorData, rows: np.ndarray, order: str) -> Any:
    if order == "energy":
        return np.argsort(data.crystals.energy.numpy()[rows], kind="stable")
    if order == "atoms":
        return np.argsort(data.crystals.natoms.numpy()[rows], kind="stable")
    if order == "formula":
        rank = np.argsort(np.argsort(np.array(data.formulas)))
        return np.argsort(rank[data.formula.numpy()[rows]], kind="stable")
    return slice(None)


@lru_cache(maxsize=32)
def _facets(name: str, content: str, selection: Selection) -> Facets:
    data = load_tensors(get_dataset(name))
    rows = _rows(name, content, selection, ORDERS[0])
    formula, energy = data.formula.numpy()[rows], data.crystals.energy.numpy()[rows]
    presence = _presence(name, content)
    known = np.isfinite(energy)
    count = np.bincount(formula, minlength=len(data.formulas)) @ presence
    having = np.bincount(formula[known], minlength=len(data.formulas)) @ presence
    total = np.bincount(formula[known], weights=energy[known], minlength=len(data.formulas)) @ presence
    elements = {
        Element.from_Z(int(z)).symbol: (int(count[z]), float(total[z] / having[z]) if having[z] else None)
        for z in np.flatnonzero(count)
    }
    groups = np.bincount(data.crystals.group.numpy()[rows], minlength=231)
    sizes, size_counts = np.unique(data.crystals.natoms.numpy()[rows], return_counts=True)
    return Facets(
        len(rows),
        len(np.unique(formula)),
        elements,
        {int(g): int(groups[g]) for g in np.flatnonzero(groups)},
        dict(zip(sizes.tolist(), size_counts.tolist(), strict=True)),
        _energies(energy[known]),
        *_coordinates(data, rows),
    )


def _energies(energy: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """A histogram that outliers do not flatten: its ends hold everything beyond."""
    if not len(energy):
        return None
    sample = energy if len(energy) < 100_000 else energy[:: len(energy) // 100_000]
    low, high = np.quantile(sample, [0.002, 0.998])
    edges = np.linspace(low, max(high, low + 1e-3), 41)
    counts, _ = np.histogram(np.clip(energy, edges[0], edges[-1]), edges)
    return edges, counts


def _coordinates(data: TensorData, rows: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    edges = np.linspace(0, 1, 49)
    counts = np.zeros((3, 48), dtype=np.int64)
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
    for part in np.array_split(rows, max(1, len(rows) // 5000)):
        if len(part):
            crystals = data.crystals[torch.from_numpy(part)]
            sites = crystals.frac[crystals.mask].numpy()
            # a column is centred on its value: 0 and 1 are the same place
            place = np.floor((sites * 48 + 0.5) % 48).astype(int)
            counts += np.stack([np.bincount(place[:, k], minlength=48) for k in range(3)])
    return (edges, counts), len(rows)


@lru_cache(maxsize=16)
def _polymorphs(name: str, content: str, selection: Selection, order: str) -> Polymorphs:
    data = load_tensors(get_dataset(name))
    rows = _rows(name, content, selection, ORDERS[0])
    formula, energy = data.formula.numpy()[rows], data.crystals.energy.numpy()[rows]
    by_energy = np.lexsort((energy, formula))  # NaN last
    found, first, count = np.unique(formula[by_energy], return_index=True, return_counts=True)
    sorted_energy = energy[by_energy]
    lowest = sorted_energy[first]
    known = np.add.reduceat(np.isfinite(sorted_energy).astype(int), first) if len(first) else np.zeros(0, dtype=int)
    span = np.where(known > 0, sorted_energy[first + np.maximum(known - 1, 0)] - lowest, np.nan)
    names = np.array(data.formulas)[found]
    keys = {"polymorphs": -count, "energy span": -np.nan_to_num(span, nan=-1), "formula": np.argsort(np.argsort(names))}
    chosen = np.argsort(keys[order], kind="stable")
    return Polymorphs(found[chosen], count[chosen], lowest[chosen], span[chosen])


@lru_cache(maxsize=4)
def _suspects(name: str, content: str) -> dict[str, np.ndarray]:
    dataset = get_dataset(name)
    data = load_tensors(dataset)
    columns = columns_of([i.id for i in imports_of(dataset)])
    starts = np.concatenate([[0], np.cumsum([len(a) for a in columns.arrays])])
    mine = starts[data.crystals.part.numpy()] + data.crystals.row.numpy()
    energy = np.full(len(columns), np.nan, dtype=np.float32)
    energy[mine] = data.crystals.energy.numpy()
    _, reasons = suspicious(columns, energy)
    return {reason: np.flatnonzero(found[mine]) for reason, found in reasons.items()}


@lru_cache(maxsize=4)
def _presence(name: str, _: str) -> np.ndarray:
    """(F, 119) float32: 1 where the formula holds the element."""
    formulas = load_tensors(get_dataset(name)).formulas
    numbers = {element.symbol: element.Z for element in Element if element.Z < 119}
    found = np.zeros((len(formulas), 119), dtype=bool)
    for i, formula in enumerate(formulas):
        found[i, [numbers[s] for s in elements_of(formula)]] = True
    return found
