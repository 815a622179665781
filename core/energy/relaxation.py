"""Relaxation in batches: positions, or positions and cell, with torch-sim's FIRE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch_sim as ts
from torch import Tensor
from torch_sim.optimizers import fire, frechet_cell_fire

from core.crystals import Crystals, wrap
from core.data.symmetry_operations import SiteOperations, find_operations
from core.energy.potential import Potential, batches, handedness, screen
from core.energy.symmetry import Symmetry, symmetrize
from core.energy.torch_sim_model import TorchSimModel, from_state, to_state
from core.energy.trajectory import Recorder, Trajectory
from core.energy.volume import relax_volume

CONVERGED = "converged"
STEP_LIMIT = "stopped at the step limit"
RUNAWAY = 8.0  # a volume that grew or shrank by this factor is no longer the same crystal
_DT = 0.1  # ASE's first time step


@dataclass(frozen=True)
class RelaxationConfig:
    """cell: relax the cell too, or positions only (the paper's way); fmax in eV/Å; at most `steps` steps.

    batch: at most so many crystals at once, 0 for as many as the potential takes at once
    symmetry: keep each crystal's space group, as found within `symprec` Å; the crystal is first brought onto it
    frames: how many frames of each relaxation to keep, 0 for none
    """

    cell: bool = True
    fmax: float = 0.05
    steps: int = 500
    batch: int = 0
    symmetry: bool = False
    symprec: float = 0.1
    frames: int = 0


@dataclass(frozen=True)
class Relaxed:
    """Relaxed crystals in the order they came; where `status` is a failure the crystal is the one that came.

    energy_before, energy_after: (B,) eV per crystal, NaN where it could not be evaluated
    steps: (B,); max_force: (B,) eV/Å at the end
    status: "converged", "stopped at the step limit" or "failed: word: sentence"
    trajectories: per crystal, where frames were asked for
    """

    crystals: Crystals
    energy_before: Tensor
    energy_after: Tensor
    steps: Tensor
    max_force: Tensor
    status: list[str]
    trajectories: list[Trajectory | None] = field(default_factory=list)


def short_status(status: str) -> str:
    """The status with the word of a failure and without its sentence: "failed: atoms under 0.5 Å"."""
    return ": ".join(status.split(": ")[:2])


def relax(
    crystals: Crystals,
    potential: Potential,
    config: RelaxationConfig | None = None,
    on_step: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Relaxed:
    """Relax every crystal until its largest force (and cell force per atom) is under fmax, FIRE in batches.

    on_step(finished, steps done) is called after each step. A crystal that converges leaves the batch and the next one
    takes its place; one that fails leaves it too and never stops the others. When `cancelled` becomes true, what runs
    is left with the status of the step limit and no energy.
    """
    config = config or RelaxationConfig()
    operations: list[SiteOperations] = []
    if config.symmetry:
        operations = find_operations(crystals, config.symprec)
        crystals = symmetrize(crystals, operations)
    result, queue = _screened(crystals, potential, config)
    run = _Run(result, potential, config, operations)
    alone: list[int] = []  # of a batch that broke down: each by itself, so that the culprit is found
    while queue or alone or run.rows:
        try:
            if alone and not run.rows:
                run.add([alone.pop()])
            elif not alone:
                run.add(run.next_of(queue))
            run.settle()
            if on_step:
                on_step(len(crystals) - len(queue) - len(alone) - len(run.rows), run.last_step)
            if cancelled and cancelled():
                break
            run.advance()
        except (RuntimeError, ValueError, ArithmeticError) as error:
            broken = run.drop_all()
            if len(broken) > 1:
                alone += broken
            else:
                result.status[broken[0]] = f"failed: broke down: {error}"
    run.drop_all()
    return result


def _screened(crystals: Crystals, potential: Potential, config: RelaxationConfig) -> tuple[Relaxed, list[int]]:
    """A result before the first step, and the rows that can be relaxed, large ones first."""
    before = potential.evaluate(crystals)
    unknown = torch.full((len(crystals),), torch.nan, dtype=torch.float64)
    result = Relaxed(
        replace(crystals, frac=crystals.frac.double().clone(), lattice=crystals.lattice.double().clone()),
        before.energy,
        unknown.clone(),
        torch.zeros(len(crystals), dtype=torch.int64),
        unknown.clone(),
        [f"failed: {p}" if p else STEP_LIMIT for p in before.problem],
        [None] * len(crystals) if config.frames else [],
    )
    todo = [i for i, problem in enumerate(before.problem) if not problem]
    return result, sorted(todo, key=lambda i: -int(crystals.natoms[i]))


class _Run:
    """The crystals that move together, and where their results go."""

    def __init__(
        self, result: Relaxed, potential: Potential, config: RelaxationConfig, operations: Sequence[SiteOperations]
    ) -> None:
        self._result, self._potential, self._config, self._operations = result, potential, config, operations
        self._model = TorchSimModel(potential)
        self._init, self._advance = (frechet_cell_fire if config.cell else fire)(self._model, dt_start=_DT)
        self._work = potential.work(result.crystals)
        self.rows: list[int] = []
        self._state: ts.SimState | None = None
        self._problems: list[str] = []
        self._start_volume = torch.zeros(0, dtype=torch.float64)
        self._steps: list[int] = []
        self._recorders: dict[int, Recorder] = {}

    @property
    def last_step(self) -> int:
        """The steps of the crystal that has moved longest."""
        return max(self._steps, default=0)

    def next_of(self, queue: list[int]) -> list[int]:
        """Take from the queue what fits beside what moves now; whatever is next where nothing moves."""
        crystals = self._config.batch or len(queue) + len(self.rows)
        natoms, limit = self._result.crystals.natoms, self._potential.atoms_per_batch
        taken: list[int] = []
        while queue and len(self.rows) + len(taken) < crystals:
            moving = [*self.rows, *taken, queue[0]]
            if len(moving) > 1 and len(batches(moving, natoms, self._work, limit)) > 1:
                break
            taken.append(queue.pop(0))
        return taken

    def add(self, rows: list[int]) -> None:
        """Start these crystals beside the others."""
        if not rows:
            return
        self.rows = self.rows + rows
        self._steps += [0] * len(rows)
        self._model.symmetry = self._symmetry(rows)
        state = self._init(to_state(self._result.crystals[rows]))
        state.velocities = torch.zeros_like(state.positions)  # torch-sim's own mark, NaN, holds up the others' step
        if self._config.cell:
            state.cell_velocities = torch.zeros_like(state.cell_forces)
        state.dt = state.dt * 2  # at rest the first step halves it
        self._problems += self._model.problems
        self._start_volume = torch.cat([self._start_volume, state.volume])
        self._state = state if self._state is None else ts.concatenate_states([self._state, state])
        self._model.symmetry = self._symmetry(self.rows)
        for row in rows if self._config.frames else []:
            numbers = self._result.crystals.numbers[row]
            self._recorders[row] = Recorder(numbers[numbers > 0], self._config.frames)

    def settle(self) -> None:
        """Write down those that are done and those that failed, and go on without them."""
        if self._state is None:
            return
        force = _largest_force(self._state, self._config.cell)
        grown = self._state.volume / self._start_volume
        stay = []
        for i, row in enumerate(self.rows):
            problem = self._problems[i]
            if not 1 / RUNAWAY <= float(grown[i]) <= RUNAWAY:
                problem = problem or f"runaway volume: it changed {float(grown[i]):.1f}-fold"
            done = float(force[i]) < self._config.fmax
            self._result.steps[row] = self._steps[i]
            if problem:
                self._result.status[row] = f"failed: {problem}"
            elif done or self._steps[i] >= self._config.steps:
                self._keep(i, force, CONVERGED if done else STEP_LIMIT)
            else:
                stay.append(i)
        self._record(force)
        gone = set(range(len(self.rows))) - set(stay)
        for i in gone:
            self._end_record(self.rows[i])
        if gone:
            self._select(stay)

    def advance(self) -> None:
        """One step of FIRE for all."""
        if self._state is None:
            return
        self._state = self._advance(self._state)
        self._problems = list(self._model.problems)
        self._steps = [step + 1 for step in self._steps]

    def drop_all(self) -> list[int]:
        """Forget what moves; returns its rows."""
        rows = self.rows
        for row in rows:
            self._end_record(row)
        self._select([])
        return rows

    def _select(self, stay: list[int]) -> None:
        self.rows = [self.rows[i] for i in stay]
        self._steps = [self._steps[i] for i in stay]
        self._problems = [self._problems[i] for i in stay]
        self._state = self._state[stay] if self._state is not None and stay else None
        self._start_volume = self._start_volume[stay]
        self._model.symmetry = self._symmetry(self.rows)

    def _symmetry(self, rows: list[int]) -> Symmetry | None:
        return Symmetry([self._operations[i] for i in rows]) if self._operations and rows else None

    def _keep(self, index: int, force: Tensor, status: str) -> None:
        """Write one finished crystal into the result."""
        assert self._state is not None
        row, result = self.rows[index], self._result
        cell = self._state.row_vector_cell[index].detach()
        positions = self._state.positions[self._state.system_idx == index].detach()
        result.crystals.frac[row, : len(positions)] = wrap(positions @ torch.linalg.inv(cell))
        result.crystals.lattice[row] = cell * handedness(result.crystals.lattice[row])
        result.energy_after[row] = self._state.energy[index].detach()
        result.max_force[row] = force[index]
        result.status[row] = status

    def _record(self, force: Tensor) -> None:
        """Frames of those that want this step, and of those that end with it."""
        if not self._recorders or self._state is None:
            return
        now = from_state(self._state)
        hand = handedness(self._result.crystals.lattice[self.rows])
        for i, row in enumerate(self.rows):
            ended = self._result.status[row] != STEP_LIMIT or bool(self._result.energy_after[row].isfinite())
            if not self._problems[i] and (ended or self._recorders[row].wants(self._steps[i])):
                n = int(now.natoms[i])
                energy = float(self._state.energy[i]) / n
                self._recorders[row].add(
                    self._steps[i], energy, float(force[i]), now.frac[i, :n], now.lattice[i] * hand[i]
                )

    def _end_record(self, row: int) -> None:
        if row in self._recorders:
            self._result.trajectories[row] = self._recorders.pop(row).trajectory()


def _largest_force(state: ts.SimState, cell: bool) -> Tensor:
    """(B,) the largest norm of a crystal's forces and, where the cell moves, its cell forces per atom, eV/Å."""
    norms = state.forces.norm(dim=1)
    largest = norms.new_zeros(state.n_systems).scatter_reduce(0, state.system_idx, norms, "amax")
    if not cell:
        return largest
    return torch.maximum(largest, state.cell_forces.norm(dim=2).amax(1))


__all__ = [
    "CONVERGED",
    "STEP_LIMIT",
    "RelaxationConfig",
    "Relaxed",
    "relax",
    "relax_volume",
    "screen",
    "short_status",
]
