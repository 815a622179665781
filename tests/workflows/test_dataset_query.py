"""What the Datasets page asks, against plain loops over the structures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.rows import symbol
from core.data.tensors import TensorData
from core.workflows.dataset_query import ORDERS, Selection, facets, polymorphs, rows_of, suspects
from core.workflows.datasets import get_dataset, load_tensors
from db.tables import Dataset


@pytest.fixture
def dataset(starter: Path) -> Dataset:
    return get_dataset("starter")


def holds(data: TensorData, row: int, chosen: Selection) -> bool:
    """Does a structure fit? The definition, one structure at a time."""
    crystal = data.crystals[[row]]
    energy, frac = float(crystal.energy[0]), crystal.frac[0][crystal.mask[0]]
    checks = [
        chosen.element is None or chosen.element in {symbol(z) for z in crystal.numbers[crystal.mask].tolist()},
        chosen.group is None or int(crystal.group[0]) == chosen.group,
        chosen.formula is None or chosen.formula.lower() in data.formulas[int(data.formula[row])].lower(),
        chosen.atoms is None or chosen.atoms[0] <= int(crystal.natoms[0]) <= chosen.atoms[1],
        chosen.energy is None or chosen.energy[0] <= energy <= chosen.energy[1],
        chosen.coordinate is None or bool(((frac >= chosen.coordinate[0]) & (frac <= chosen.coordinate[1])).any()),
    ]
    return all(checks)


SELECTIONS = [
    Selection(),
    Selection(element="Ta"),
    Selection(group=191),
    Selection(formula="tab"),
    Selection(atoms=(5, 9)),
    Selection(energy=(-0.5, 0.1)),
    Selection(coordinate=(0.301, 0.3321)),
    Selection(element="W", group=194, energy=(-1.0, 1.0), atoms=(4, 12)),
    Selection(element="Qq"),
]


@pytest.mark.parametrize("chosen", SELECTIONS, ids=str)
def test_selected_rows_are_those_that_fit(dataset: Dataset, chosen: Selection) -> None:
    data = load_tensors(dataset)
    sample = range(0, len(data), 7)
    found = set(rows_of(dataset, chosen).tolist())
    expected = {row for row in sample if chosen.element != "Qq" and holds(data, row, chosen)}
    assert found & set(sample) == expected
    assert bool(chosen) == (chosen != Selection())


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_changes_nothing_but_the_order(dataset: Dataset, order: str) -> None:
    data = load_tensors(dataset)
    rows = rows_of(dataset, Selection(element="B"), order)
    assert sorted(rows.tolist()) == rows_of(dataset, Selection(element="B")).tolist()
    keys = {
        "energy": data.crystals.energy[torch.from_numpy(rows)].tolist(),
        "atoms": data.crystals.natoms[torch.from_numpy(rows)].tolist(),
        "formula": [data.formulas[i] for i in data.formula[torch.from_numpy(rows)].tolist()],
    }
    assert keys.get(order, []) == sorted(keys.get(order, []))


def test_facets_count_what_is_there(dataset: Dataset) -> None:
    data = load_tensors(dataset)
    found = facets(dataset, Selection(group=191))
    rows = [i for i in range(len(data)) if int(data.crystals.group[i]) == 191]
    counts: Counter[str] = Counter()
    energies: dict[str, list[float]] = {}
    for row in rows:
        crystal = data.crystals[[row]]
        for name in {symbol(z) for z in crystal.numbers[crystal.mask].tolist()}:
            counts[name] += 1
            energies.setdefault(name, []).append(float(crystal.energy[0]))
    assert {s: n for s, (n, _) in found.elements.items()} == counts
    for name, (_, mean) in found.elements.items():
        assert mean == pytest.approx(np.mean(energies[name]), abs=1e-5)
    assert found.groups == {191: len(rows)}
    assert sum(found.atoms.values()) == found.structures == found.sampled == len(rows)
    assert found.energy is not None
    assert found.energy[1].sum() == len(rows)
    sites = int(data.crystals.natoms[rows].sum())
    assert found.coordinates[1].sum(1).tolist() == [sites] * 3
    assert found.coordinates[1][2, 0] > 0.2 * sites, "z = 0 is a special position of P6/mmm"
    empty = facets(dataset, Selection(element="Og"))
    assert (empty.structures, empty.energy, empty.elements) == (0, None, {})


@pytest.mark.parametrize("order", ["polymorphs", "energy span", "formula"])
def test_polymorphs_are_counted_with_their_span(dataset: Dataset, order: str) -> None:
    data = load_tensors(dataset)
    found = polymorphs(dataset, Selection(), order)
    assert sorted(found.formula.tolist()) == list(range(len(data.formulas)))
    for k in (0, 3, 90, len(found.formula) - 1):
        energy = data.crystals.energy[data.formula == int(found.formula[k])]
        assert found.count[k] == len(energy)
        assert found.lowest[k] == pytest.approx(float(energy.min()))
        assert found.span[k] == pytest.approx(float(energy.max() - energy.min()), abs=1e-6)
    names = [data.formulas[i] for i in found.formula.tolist()]
    keys = {"polymorphs": (-found.count).tolist(), "energy span": (-found.span).tolist(), "formula": names}
    assert keys[order] == sorted(keys[order])


def test_suspects_are_rows_of_the_dataset(dataset: Dataset) -> None:
    data = load_tensors(dataset)
    for reason, rows in suspects(dataset).items():
        assert rows_of(dataset, Selection(reason=reason)).tolist() == rows.tolist()
    assert suspects(dataset)["formation energy beyond ±5 eV/atom"].tolist() == [
        i for i in range(len(data)) if abs(float(data.crystals.energy[i])) > 5
    ]
