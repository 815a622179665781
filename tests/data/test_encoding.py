"""Encoding and decoding give back the same structure, for everything real that fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher

from core.crystals import Crystals, lattice_parameters, to_structures, unpack_cells
from core.data.encoding import decode, encode
from core.data.matrix import from_matrix, to_matrix
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import raw_rows
from core.models.state import Conditions


@pytest.fixture(scope="module")
def real(shared: Path) -> list[Crystals]:
    """Every structure of mp_polymorphs with 4 to 60 atoms, in batches."""
    cells = [
        r.cell
        for records, _ in parse_rows(raw_rows(shared / "data" / "mp_polymorphs.jsonl.gz"), "M", processes=1)
        for r in records
        if 4 <= r.natoms <= 60
    ]
    assert len(cells) > 50_000
    return [unpack_cells(cells[i : i + 4000]) for i in range(0, len(cells), 4000)]


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
def test_real_structures_come_back(real: list[Crystals], way, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    """Cells to 1e-5 Å (1e-5 of their length where they are long) and 1e-3°, coordinates to 1e-5 on the torus."""
    for crystals in real:
        found = way(crystals.to(dtype=dtype))
        before, after = (lattice_parameters(c.lattice.double()) for c in (crystals, found))
        loose = 1.0 if dtype == torch.float64 and way is by_matrix else 10.0
        assert float(((after - before)[:, :3].abs() / before[:, :3].clamp_min(1)).max()) < 1e-6 * loose
        assert float((after - before)[:, 3:].abs().max()) < 1e-4 * loose
        delta = found.frac.double() - crystals.frac
        assert float((delta - delta.round()).abs().max()) < 1e-5
        assert bool(((found.frac >= 0) & (found.frac < 1)).all())
        assert torch.equal(found.numbers, crystals.numbers)


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_matrix, by_state])
def test_a_thousand_of_them_match_themselves(real: list[Crystals], way) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    matcher = StructureMatcher()
    for batch, count in zip(real, np.bincount(rng.integers(0, len(real), 1000), minlength=len(real)), strict=True):
        small = np.flatnonzero(batch.natoms.numpy() <= 24)
        chosen = batch[rng.choice(small, int(count), replace=False)]
        for before, after in zip(to_structures(chosen), to_structures(way(chosen)), strict=True):
            assert matcher.fit(before, after)


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
