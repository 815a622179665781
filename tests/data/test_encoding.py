"""Encoding and decoding give back the same structure, for everything real that fits."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Element

from core.crystals import Crystals, lattice_from_parameters, lattice_parameters, to_structures, wrap
from core.data.encoding import decode, encode
from core.data.matrix import from_matrix, to_matrix
from core.models.state import Conditions

Way = Callable[[Crystals], Crystals]


@dataclass(frozen=True)
class Real:
    """Structures straight from a file: no reader, no store between. geometry: (B, 6) as the file has it."""

    crystals: Crystals
    geometry: torch.Tensor


@pytest.fixture(scope="module")
def real(shared: Path) -> Real:
    """Every structure of mp_polymorphs with 4 to 60 atoms."""
    with gzip.open(shared / "data" / "mp_polymorphs.jsonl.gz", "rt") as file:
        rows = [row for row in map(json.loads, file) if 4 <= sum(row["composition"]) <= 60]
    assert len(rows) > 50_000
    natoms = np.array([sum(row["composition"]) for row in rows])
    number = {symbol: Element(symbol).Z for symbol in {s for row in rows for s in row["species"]}}
    frac, numbers = np.zeros((len(rows), 60, 3)), np.zeros((len(rows), 60), dtype=np.int64)
    sites = np.arange(60) < natoms[:, None]
    frac[sites] = np.concatenate([row["positions_fractional"] for row in rows])
    numbers[sites] = np.concatenate([np.repeat([number[s] for s in r["species"]], r["composition"]) for r in rows])
    geometry = torch.tensor([row["geometry"] for row in rows], dtype=torch.float64)
    crystals = Crystals(
        wrap(torch.from_numpy(frac)),
        lattice_from_parameters(geometry),
        torch.from_numpy(numbers),
        torch.tensor([row["spacegroup_relax"] for row in rows]),
        torch.full((len(rows),), torch.nan, dtype=torch.float64),
    )
    return Real(crystals, geometry)


def by_matrix(crystals: Crystals) -> Crystals:
    return from_matrix(to_matrix(crystals), crystals.numbers)


def by_state(crystals: Crystals) -> Crystals:
    asked = Conditions(
        crystals.numbers, crystals.group, torch.zeros(len(crystals)), torch.zeros(len(crystals), 2, dtype=torch.bool)
    )
    return decode(encode(crystals), asked)


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_matrix, by_state])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_real_structures_come_back(real: Real, way: Way, dtype: torch.dtype) -> None:
    """Cells to 1e-5 Å and 1e-5°, coordinates to 1e-7 on the torus (2e-5 Å where already the cell given was float32)."""
    found, geometry = way(real.crystals.to(dtype=dtype)), lattice_parameters(real.crystals.lattice)
    torch.testing.assert_close(geometry, real.geometry, rtol=0, atol=1e-9)
    error = (lattice_parameters(found.lattice.double()) - real.geometry).abs()
    assert float(error[:, :3].max()) < (1e-5 if dtype == torch.float64 else 2e-5)
    assert float(error[:, 3:].max()) < 1e-5
    delta = found.frac.double() - real.crystals.frac
    assert float((delta - delta.round()).abs().max()) < 1e-7
    assert bool(((found.frac >= 0) & (found.frac < 1)).all())
    assert bool((found.frac[~real.crystals.mask] == 0).all())
    assert torch.equal(found.numbers, real.crystals.numbers)


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_matrix, by_state])
def test_a_thousand_of_them_match_themselves(real: Real, way: Way) -> None:
    """Nine in ten of at most 20 atoms, the others larger: pymatgen's matcher, also for cells that came back turned."""
    rng, natoms = np.random.default_rng(0), real.crystals.natoms.numpy()
    small, large = np.flatnonzero(natoms <= 20), np.flatnonzero(natoms > 20)
    rows = np.concatenate([rng.choice(small, 900, replace=False), rng.choice(large, 100, replace=False)])
    chosen, matcher = real.crystals[rows], StructureMatcher()
    failed = [
        int(row)
        for row, before, after in zip(rows, to_structures(chosen), to_structures(way(chosen)), strict=True)
        if not matcher.fit(before, after)
    ]
    assert failed == []


def test_the_matrix_is_laid_out_as_in_the_paper() -> None:
    """60 rows of sites, one of zeros, three of the cell as written down by hand; 0.99999999 does not become 1."""
    frac = torch.tensor([[[0.25, 0.5, 0.99999999], [0.0, 0.0, 0.0]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]]).double()
    lattice = lattice_from_parameters(torch.tensor([[3.0, 4, 5, 90, 90, 90], [3, 3, 5, 90, 90, 120]]).double())
    crystals = Crystals(frac, lattice, torch.tensor([[5, 0], [73, 74]]), torch.zeros(2).long(), torch.zeros(2).double())
    matrix = to_matrix(crystals)
    assert matrix.shape == (2, 64, 3)
    assert matrix.dtype == torch.float32
    torch.testing.assert_close(matrix[:, :2], torch.tensor([[[0.25, 0.5, 0], [0, 0, 0]], frac[1].tolist()]))
    assert bool((matrix[:, 2:61] == 0).all())
    torch.testing.assert_close(matrix[0, 61:], torch.diag(torch.tensor([3.0, 4, 5])))
    torch.testing.assert_close(matrix[1, 61:], torch.tensor([[3, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5]]))


def test_padding_past_sixty_columns_is_no_site() -> None:
    frac, numbers = torch.rand(2, 60, 3), torch.full((2, 60), 6)
    crystals = Crystals(frac, torch.eye(3).repeat(2, 1, 1) * 4, numbers, torch.zeros(2).long(), torch.zeros(2)).pad(70)
    found = by_matrix(crystals)
    assert torch.equal(found.frac, crystals.frac)
    assert torch.equal(found.numbers, crystals.numbers)
    matrix = to_matrix(crystals)
    with pytest.raises(ValueError, match="more than 60"):
        from_matrix(matrix, torch.full((2, 61), 6))
    with pytest.raises(ValueError, match="does not hold"):
        from_matrix(matrix[:, :60], numbers)
    assert bool(
        ((from_matrix(matrix * 7 - 3, numbers).frac >= 0) & (from_matrix(matrix * 7 - 3, numbers).frac < 1)).all()
    )
    assert len(by_matrix(crystals[:0])) == 0


def test_a_turned_crystal_has_the_same_matrix() -> None:
    rng = np.random.default_rng(1)
    lattice = torch.from_numpy(np.eye(3)[None] * 4 + rng.normal(0, 0.4, (5, 3, 3)))
    turn = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3))))[0]
    turn = turn * torch.linalg.det(turn)
    frac, numbers = torch.from_numpy(rng.random((5, 3, 3))), torch.full((5, 3), 6)
    group, energy = torch.zeros(5, dtype=torch.int64), torch.zeros(5).double()
    straight, turned = (Crystals(frac, cell, numbers, group, energy) for cell in (lattice, lattice @ turn.T))
    torch.testing.assert_close(to_matrix(straight), to_matrix(turned))
    with pytest.raises(ValueError, match="do not fit"):
        to_matrix(Crystals(torch.zeros(1, 61, 3), torch.eye(3)[None], torch.full((1, 61), 6), group[:1], energy[:1]))
