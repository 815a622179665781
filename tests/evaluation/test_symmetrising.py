"""Crystals brought onto their group: spglib finds it again, and pymatgen the structure that was disturbed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher

from core.crystals import Crystals, from_structures, pack_cells, to_structures, unpack_cells, wrap
from core.data.symmetry import detect_group
from core.evaluation.symmetrising import symmetrise
from tests.evaluation.real import some_structures
from tests.evaluation.test_matching import QUARTZ, TIO2


def shaken(crystals: Crystals, distance: float, seed: int) -> Crystals:
    """One crystal with its atoms moved by `distance` Å (root mean square) and its cell strained by 0.2 %."""
    rng = np.random.default_rng(seed)
    steps = torch.from_numpy(rng.normal(0, distance / np.sqrt(3), crystals.frac.shape)) * crystals.mask[..., None]
    strain = torch.from_numpy(np.eye(3) + rng.normal(0, 0.002, (3, 3)))
    frac = wrap(crystals.frac + steps @ torch.linalg.inv(crystals.lattice))
    return Crystals(frac, crystals.lattice @ strain, crystals.numbers, crystals.group, crystals.energy)


@pytest.mark.slow
def test_real_structures_come_back_from_a_disturbance(shared: Path) -> None:
    """Atoms moved by 0.02 Å: the group is back within 0.001 Å, in the same setting, and it is the same crystal."""
    crystals, _ = some_structures(shared / "data" / "mp_polymorphs.jsonl.gz", 900)
    matcher, asked, back = StructureMatcher(), 0, 0
    for i in range(len(crystals)):
        one = crystals[[i]].trim()
        group = detect_group(one, 0, 1e-3)
        if group < 2:
            continue
        asked += 1
        disturbed = shaken(one, 0.02, i)
        found = symmetrise(disturbed, group)
        if found is None:  # spglib finds that group at no tolerance
            continue
        back += 1
        even = unpack_cells(pack_cells(found.crystals))  # as the store keeps it
        assert detect_group(even, 0, 1e-3) == group
        assert torch.equal(even.numbers, one.numbers)
        change = even.frac - disturbed.frac
        sites = ((change - change.round()) @ even.lattice).norm(dim=-1)
        assert float(sites.max()) < 0.3
        assert float((even.lattice - one.lattice).norm(dim=-1).max()) < 0.02 * float(one.lattice.norm(dim=-1).max())
        assert 0 < found.moved < 0.3
        assert matcher.fit(*to_structures(one), *to_structures(even))
    assert asked > 40
    assert back / asked > 0.9


def test_a_group_that_is_not_there_is_not_forced() -> None:
    rutile = from_structures([TIO2])
    assert symmetrise(rutile, 225) is None
    assert symmetrise(rutile, 0) is None
    same = symmetrise(rutile, 136)
    assert same is not None
    assert same.symprec == 0.001
    assert same.moved == pytest.approx(0, abs=1e-9)


def test_the_distance_told_is_what_was_moved() -> None:
    """Two atoms of quartz moved by 0.06 Å against each other; a common shift of all atoms is no displacement."""
    quartz = from_structures([QUARTZ])
    frac = quartz.frac.clone()
    frac[0, 0] += torch.tensor([0.06 / 4.916, 0, 0], dtype=torch.float64)
    moved = Crystals(wrap(frac + 0.3), quartz.lattice, quartz.numbers, quartz.group, quartz.energy)
    found = symmetrise(moved, 154)
    assert found is not None
    assert 0.02 < found.moved < 0.06
    assert found.symprec in (0.05, 0.07, 0.1, 0.15)


def test_a_flat_or_broken_cell_is_left() -> None:
    rutile = from_structures([TIO2])
    for factor in (0.0, float("nan")):
        broken = Crystals(rutile.frac, rutile.lattice * factor, rutile.numbers, rutile.group, rutile.energy)
        assert symmetrise(broken, 136) is None
