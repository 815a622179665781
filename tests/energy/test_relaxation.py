"""Batches that are refilled, memory that runs out, trajectories: what a relaxation does beside its physics."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure
from safetensors.torch import save_file
from torch import Tensor

from core.crystals import Crystals, from_structures
from core.energy import potential as potentials
from core.energy.load import load_potential
from core.energy.parallel import relax_on_cores
from core.energy.potential import batches
from core.energy.relaxation import CONVERGED, STEP_LIMIT, RelaxationConfig, relax, short_status
from core.energy.trajectory import Recorder, TrajectoryError, load_trajectory, save_trajectory
from tests.energy.test_guards import Springs


def many(count: int = 9) -> Crystals:
    structures = []
    for i in range(count):
        sites = [[0.03 + 0.004 * i, 0, 0], [0.5, 0.52, 0.5], [0.01, 0.5, 0.49], [0.5, 0, 0.02]][: 2 + 2 * (i % 2)]
        structures.append(Structure(Lattice.cubic(3.2 + 0.03 * i), ["Ta"] * len(sites), sites))
    return from_structures(structures)


@pytest.mark.slow
def test_a_crystal_ends_where_it_ends_alone_whoever_moves_beside_it() -> None:
    crystals, config = many(), RelaxationConfig(fmax=0.01, steps=300)
    alone = [relax(crystals[[i]].trim(), Springs(), config) for i in range(len(crystals))]
    for batch in (0, 1, 4):
        together = relax(crystals, Springs(), RelaxationConfig(fmax=0.01, steps=300, batch=batch))
        assert together.status == [CONVERGED] * 9
        assert together.steps.tolist() == [int(a.steps[0]) for a in alone]
        torch.testing.assert_close(together.energy_after, torch.cat([a.energy_after for a in alone]))
    assert len(set(together.steps.tolist())) > 1  # so places were taken by others


def test_a_crystal_at_rest_needs_no_step_and_no_steps_are_a_single_point() -> None:
    relaxed = relax(many(), Springs(), RelaxationConfig(fmax=1e-6, steps=0))
    assert relaxed.status == [STEP_LIMIT] * 9
    torch.testing.assert_close(relaxed.energy_after, relaxed.energy_before)
    again = relax(
        relax(many(), Springs(), RelaxationConfig(fmax=0.01)).crystals, Springs(), RelaxationConfig(fmax=0.02)
    )
    assert again.steps.tolist() == [0] * 9
    assert again.status == [CONVERGED] * 9


def test_batches_hold_so_many_atoms_and_no_more_work() -> None:
    natoms = torch.tensor([4, 60, 8, 8, 2, 30])
    light = natoms * 100.0
    groups = batches([0, 1, 2, 3, 5], natoms, light, 40)
    assert sorted(i for g in groups for i in g) == [0, 1, 2, 3, 5]
    assert all(int(natoms[g].sum()) <= 40 or len(g) == 1 for g in groups)
    dense = light.clone()
    dense[2] = 79_000.0  # as much as 40 usual atoms
    assert [2] in batches([0, 2, 3], natoms, dense, 40)


def test_work_is_the_number_of_bonds_and_pairs_of_bonds() -> None:
    """pymatgen's neighbour lists, roughly: shells lie where they lie."""
    structure = Structure(Lattice.cubic(2.6), ["W", "W"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    bonds = sum(len(n) for n in structure.get_all_neighbors(5.0))
    angles = sum(len(n) ** 2 for n in structure.get_all_neighbors(4.0))
    assert float(Springs().work(from_structures([structure]))[0]) == pytest.approx(bonds + angles, rel=0.4)


class Small(Springs):
    """A device that holds so many atoms."""

    room = 10

    def __init__(self, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.error, self.tried = error, [0]

    def predict(self, crystals: Crystals) -> tuple[Tensor, Tensor, Tensor]:
        self.tried.append(int(crystals.natoms.sum()))
        if self.tried[-1] > self.room:
            raise self.error("out of memory")
        return super().predict(crystals)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_where_memory_runs_out_batches_are_halved_and_stay_small(error: type[Exception]) -> None:
    crystals = many()
    small = Small(error)
    expected = Springs().evaluate(crystals)
    found = small.evaluate(crystals)
    torch.testing.assert_close(found.energy, expected.energy)
    assert max(small.tried) > small.room
    small.tried = [0]
    relaxed = relax(crystals, small, RelaxationConfig(fmax=0.01, steps=300))
    assert max(small.tried) <= small.room
    assert relaxed.status == [CONVERGED] * 9


def test_a_crystal_that_alone_is_too_large_says_so() -> None:
    small = Small()
    small.room = 3
    found = small.evaluate(many(2))
    assert found.problem[0] == ""
    assert found.problem[1].startswith("out of memory: ")


def test_crystals_packed_so_densely_that_they_would_fill_the_memory_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(potentials, "MAX_WORK", 10_000)
    dense = from_structures(
        [Structure(Lattice.cubic(1.2), ["H"], [[0, 0, 0]]), Structure(Lattice.cubic(4), ["H"], [[0] * 3])]
    )
    assert Springs().evaluate(dense).problem == ["packed too densely: 1.73 Å³ per atom", ""]


def test_words_of_failures_fit_the_store() -> None:
    crystals = from_structures(
        [
            Structure(Lattice.cubic(3), ["Ta", "Ta"], [[0, 0, 0], [0.01, 0, 0]]),
            Structure(Lattice.cubic(0.9), ["Ta"], [[0, 0, 0]]),
            Structure(Lattice.cubic(4), ["Lr"], [[0, 0, 0]]),
            Structure(Lattice.cubic(40), ["Ta"], [[0, 0, 0]]),
        ]
    )
    words = [short_status(s) for s in relax(crystals, Springs()).status]
    expected = ["atoms under 0.5 Å", "cell under 1 Å³", "unknown element", "atoms too far apart"]
    assert words == [f"failed: {w}" for w in expected]
    assert all(len(w) <= 32 for w in [*words, STEP_LIMIT, "failed: cannot be evaluated", "failed: packed too densely"])
    assert short_status(CONVERGED) == CONVERGED


def test_trajectories_go_from_the_start_to_the_end_and_are_thinned() -> None:
    crystals = many(3)
    relaxed = relax(crystals, Springs(), RelaxationConfig(fmax=1e-9, steps=150, frames=20))
    for i, trajectory in enumerate(relaxed.trajectories):
        assert trajectory is not None
        assert 10 <= len(trajectory) <= 21
        assert trajectory.step[[0, -1]].tolist() == [0, 150]
        gaps = trajectory.step[1:-1] - trajectory.step[:-2]
        assert len(set(gaps.tolist())) == 1
        n = int(crystals.natoms[i])
        assert float(trajectory.energy[0]) * n == pytest.approx(float(relaxed.energy_before[i]), abs=1e-5)
        assert float(trajectory.energy[-1]) * n == pytest.approx(float(relaxed.energy_after[i]), abs=1e-5)
        assert float(trajectory.max_force[-1]) == pytest.approx(float(relaxed.max_force[i]), abs=1e-6)
        torch.testing.assert_close(trajectory.crystals.lattice[-1], relaxed.crystals.lattice[i].float())
        energies = Springs().evaluate(trajectory.crystals.to(dtype=torch.float64)).energy / n
        torch.testing.assert_close(energies.float(), trajectory.energy, atol=1e-5, rtol=1e-4)
    assert relax(crystals, Springs()).trajectories == []


def test_a_trajectory_comes_back_from_its_file_whole(tmp_path: Path) -> None:
    recorder = Recorder(torch.tensor([73, 5]), 5)
    for step in range(40):
        if recorder.wants(step) or step == 39:
            recorder.add(step, -step / 7, 1 / (1 + step), torch.rand(2, 3), torch.eye(3) * (3 + step))
    found = recorder.trajectory()
    assert found is not None
    path = tmp_path / "job" / "7.safetensors"
    save_trajectory(found, path)
    again = load_trajectory(path)
    assert again.step.tolist() == found.step.tolist()
    assert again.step[-1] == 39
    torch.testing.assert_close(again.crystals.frac, found.crystals.frac)
    assert again.crystals.numbers[0].tolist() == [73, 5]
    assert os.listdir(path.parent) == ["7.safetensors"]


def test_files_that_are_no_trajectory_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(TrajectoryError, match="cannot be read"):
        load_trajectory(path)
    path.write_bytes(b"no tensors at all")
    with pytest.raises(TrajectoryError, match="cannot be read"):
        load_trajectory(path)
    save_file({"step": torch.arange(3)}, path)
    with pytest.raises(TrajectoryError, match="holds no trajectory"):
        load_trajectory(path)


def test_a_cancelled_relaxation_keeps_what_had_ended() -> None:
    asked: Iterator[bool] = iter([False] * 30 + [True] * 100)
    crystals = many()
    relaxed = relax(crystals, Springs(), RelaxationConfig(fmax=0.05, batch=2), cancelled=lambda: next(asked))
    ended = torch.isfinite(relaxed.energy_after)
    assert 0 < int(ended.sum()) < 9
    assert all((s == CONVERGED) == bool(e) for s, e in zip(relaxed.status, ended, strict=True))


@pytest.mark.slow
def test_on_several_cores_comes_out_what_comes_out_on_one() -> None:
    """And in the order asked, failures and frames among them."""
    rock = Structure.from_spacegroup(225, Lattice.cubic(4.3), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    close = Structure(Lattice.cubic(3), ["Ta", "Ta"], [[0, 0, 0], [0.01, 0, 0]])
    silicon = Structure.from_spacegroup(227, Lattice.cubic(5.6), ["Si"], [[0, 0, 0]])
    start = from_structures([rock.get_primitive_structure(), close, rock, silicon.get_primitive_structure()])
    config = RelaxationConfig(steps=4, frames=10)
    seen: list[int] = []
    found = relax_on_cores(start, "chgnet", None, config, 2, lambda finished, _: seen.append(finished))
    expected = relax(start, load_potential("chgnet"), config)
    assert found.status == expected.status
    torch.testing.assert_close(found.energy_after, expected.energy_after, atol=1e-3, rtol=0, equal_nan=True)
    torch.testing.assert_close(found.crystals.lattice, expected.crystals.lattice, atol=1e-3, rtol=0)
    assert torch.equal(found.crystals.numbers, expected.crystals.numbers)
    assert [t is not None for t in found.trajectories] == [True, False, True, True]
    assert seen[-1] == 4
    assert multiprocessing.active_children() == []
