"""Relaxation in batches: positions and cell with torch-sim's FIRE, or the volume alone by Newton steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch_sim as ts
from torch import Tensor
from torch_sim.models.interface import ModelInterface
from torch_sim.optimizers import fire, frechet_cell_fire

from core.crystals import Crystals, wrap
from core.energy.potential import Evaluation, Potential, handedness, screen

CONVERGED = "converged"
STEP_LIMIT = "stopped at the step limit"
RUNAWAY = 8.0  # a volume that grew or shrank by this factor is no longer the same crystal


@dataclass(frozen=True)
class RelaxationConfig:
    """cell: relax the cell too, or positions only (the paper's way); fmax in eV/Å; at most `steps` steps."""

    cell: bool = True
    fmax: float = 0.05
    steps: int = 500
    batch: int = 32


@dataclass(frozen=True)
class Relaxed:
    """Relaxed crystals in the order they came; where `status` is a failure the crystal is the one that came.

    energy_before, energy_after: (B,) eV per crystal, NaN where it could not be evaluated
    steps: (B,); max_force: (B,) eV/Å at the end
    status: "converged", "stopped at the step limit" or "failed: why"
    """

    crystals: Crystals
    energy_before: Tensor
    energy_after: Tensor
    steps: Tensor
    max_force: Tensor
    status: list[str]


def relax(
    crystals: Crystals,
    potential: Potential,
    config: RelaxationConfig | None = None,
    on_step: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Relaxed:
    """Relax every crystal until its largest force (and cell force per atom) is under fmax, FIRE in batches.

    on_step(finished, steps done) is called after each step. A crystal that converges leaves its batch; one that fails
    leaves it too and never stops the others. When `cancelled` becomes true, what runs is left at the step limit.
    """
    config = config or RelaxationConfig()
    before = potential.evaluate(crystals)
    b = len(crystals)
    result = Relaxed(
        replace(crystals, frac=crystals.frac.double().clone(), lattice=crystals.lattice.double().clone()),
        before.energy,
        torch.full((b,), torch.nan, dtype=torch.float64),
        torch.zeros(b, dtype=torch.int64),
        torch.full((b,), torch.nan, dtype=torch.float64),
        [f"failed: {p}" if p else STEP_LIMIT for p in before.problem],
    )
    todo = [i for i in range(b) if not before.problem[i]]
    todo.sort(key=lambda i: int(crystals.natoms[i]))
    for start in range(0, len(todo), config.batch):
        rows = todo[start : start + config.batch]
        finished = b - len(todo) + start
        for step, left in _relax_guarded(result, rows, potential, config):
            if on_step:
                on_step(finished + len(rows) - left, step)
            if cancelled and cancelled():
                return result
    return result


def _relax_guarded(
    result: Relaxed, rows: list[int], potential: Potential, config: RelaxationConfig
) -> Iterator[tuple[int, int]]:
    """`_relax_batch`; where a cell breaks the optimiser's algebra, the unfinished ones alone, and the culprit named."""
    try:
        yield from _relax_batch(result, rows, potential, config)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        unfinished = [row for row in rows if result.status[row] == STEP_LIMIT and result.energy_after[row].isnan()]
        if len(rows) == 1:
            result.status[rows[0]] = f"failed: the relaxation broke down: {error}"
            yield int(result.steps[rows[0]]), 0
            return
        for left, row in enumerate(reversed(unfinished)):
            for step, moving in _relax_guarded(result, [row], potential, config):
                yield step, len(unfinished) - 1 - left + moving


def _relax_batch(
    result: Relaxed, rows: list[int], potential: Potential, config: RelaxationConfig
) -> Iterator[tuple[int, int]]:
    """Relax these rows into `result`, yielding (step, crystals still moving) after each step."""
    model = _TorchSimModel(potential)
    init, advance = (frechet_cell_fire if config.cell else fire)(model)
    state = init(_to_state(result.crystals[rows]))
    volumes = state.volume.clone()
    for step in range(config.steps + 1):
        force = _largest_force(state, config.cell)
        problems = list(model.problems)
        grown = state.volume / volumes
        for i in torch.nonzero((grown > RUNAWAY) | (grown < 1 / RUNAWAY)).flatten().tolist():
            problems[i] = problems[i] or f"its volume changed {float(grown[i]):.1f}-fold: it ran away"
        failed = torch.tensor([bool(p) for p in problems])
        done = (force < config.fmax) & ~failed
        last = step == config.steps
        for i in range(len(rows)):
            if failed[i]:
                result.status[rows[i]] = f"failed: {problems[i]}"
            elif done[i] or last:
                _keep(result, rows[i], state, i, force, CONVERGED if done[i] else STEP_LIMIT)
            result.steps[rows[i]] = step
        stay = [i for i in range(len(rows)) if not (failed[i] or done[i])]
        yield step, 0 if last else len(stay)
        if last or not stay:
            return
        if len(stay) < len(rows):
            rows, state, volumes = [rows[i] for i in stay], state[stay], volumes[stay]
        state = advance(state)


def _keep(result: Relaxed, row: int, state: ts.SimState, index: int, force: Tensor, status: str) -> None:
    """Write one finished crystal into the result."""
    cell = state.row_vector_cell[index].detach()
    positions = state.positions[state.system_idx == index].detach()
    result.crystals.frac[row, : len(positions)] = wrap(positions @ torch.linalg.inv(cell))
    result.crystals.lattice[row] = cell * handedness(result.crystals.lattice[row])
    result.energy_after[row] = state.energy[index].detach()
    result.max_force[row] = force[index]
    result.status[row] = status


def _largest_force(state: ts.SimState, cell: bool) -> Tensor:
    """(B,) the largest norm of a crystal's forces and, where the cell moves, its cell forces per atom, eV/Å."""
    norms = state.forces.norm(dim=1)
    largest = norms.new_zeros(state.n_systems).scatter_reduce(0, state.system_idx, norms, "amax")
    if not cell:
        return largest
    return torch.maximum(largest, state.cell_forces.norm(dim=2).amax(1))


class _TorchSimModel(ModelInterface):
    """Any Potential as torch-sim sees a model; `problems` names the crystals of the last call that failed."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self._potential = potential
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._compute_stress = self._compute_forces = True
        self.problems: list[str] = []

    def forward(self, state: ts.SimState, **_: object) -> dict[str, Tensor]:
        found: Evaluation = self._potential.evaluate(_from_state(state))
        self.problems = found.problem
        mask = torch.arange(found.forces.shape[1]) < state.n_atoms_per_system[:, None]
        return {
            "energy": found.energy.nan_to_num(),
            "forces": found.forces[mask].nan_to_num(),
            "stress": found.stress.nan_to_num(),
        }


def _to_state(crystals: Crystals) -> ts.SimState:
    """Left-handed cells go in as their mirror image: torch-sim takes the virial times the signed volume."""
    mask = crystals.mask
    right = crystals.lattice.double() * handedness(crystals.lattice.double())
    system = torch.arange(len(crystals))[:, None].expand_as(mask)[mask]
    cart = (crystals.frac.double() @ right)[mask]
    return ts.SimState(
        positions=cart,
        masses=torch.ones(len(cart), dtype=torch.float64),  # FIRE as in ASE moves by forces, not by masses
        cell=right.mT.contiguous(),
        pbc=True,
        atomic_numbers=crystals.numbers[mask],
        system_idx=system,
    )


def _from_state(state: ts.SimState) -> Crystals:
    counts = state.n_atoms_per_system
    mask = torch.arange(int(counts.max())) < counts[:, None]
    lattice = state.row_vector_cell.detach()
    positions = torch.zeros(*mask.shape, 3, dtype=torch.float64)
    numbers = torch.zeros(mask.shape, dtype=torch.int64)
    positions[mask], numbers[mask] = state.positions.detach().double(), state.atomic_numbers.long()
    frac = wrap(positions @ torch.linalg.inv(lattice)) * mask[:, :, None]
    unknown = torch.zeros(len(counts), dtype=torch.int64)
    return Crystals(frac, lattice, numbers, unknown, torch.full((len(counts),), torch.nan, dtype=torch.float64))


def relax_volume(
    crystals: Crystals, potential: Potential, pressure: float = 0.002, steps: int = 12
) -> tuple[Crystals, Evaluation]:
    """Scale each cell until its mean stress is under `pressure` (eV/Å³; 0.002 is 0.3 GPa); shape and sites stay.

    Newton on the mean stress against the logarithm of the volume, first with a bulk modulus of 1 eV/Å³, then with the
    secant of the last two steps. Returns the crystals and their evaluation there; crystals that do not settle within
    `steps` evaluations, or that cannot be evaluated, carry a problem.
    """
    found = potential.evaluate(crystals)
    lattice = crystals.lattice.double().clone()
    problems = list(found.problem)
    mean = found.stress.diagonal(dim1=1, dim2=2).mean(1)
    modulus = torch.ones_like(mean)
    result = Evaluation(found.energy.clone(), found.forces.clone(), found.stress.clone(), problems)
    for _ in range(steps):
        todo = torch.tensor([not p for p in problems]) & (mean.abs() >= pressure)
        rows = torch.nonzero(todo).flatten()
        if not len(rows):
            break
        step = (-mean[rows] / modulus[rows]).clamp(-0.25, 0.25)  # change of ln V
        lattice[rows] *= torch.exp(step / 3)[:, None, None]
        part = replace(crystals, lattice=lattice)[rows]
        found = potential.evaluate(part)
        new = found.stress.diagonal(dim1=1, dim2=2).mean(1)
        secant = (new - mean[rows]) / step
        modulus[rows] = torch.where(secant > 0.05, secant, modulus[rows]).clamp(0.05, 5)
        mean[rows] = new
        result.energy[rows], result.stress[rows] = found.energy, found.stress
        result.forces[rows] = found.forces
        for i, problem in zip(rows.tolist(), found.problem, strict=True):
            problems[i] = problem
    for i in torch.nonzero(mean.abs() >= pressure).flatten().tolist():
        problems[i] = problems[i] or "its volume did not settle"
    return replace(crystals, lattice=lattice), result


__all__ = ["CONVERGED", "STEP_LIMIT", "RelaxationConfig", "Relaxed", "relax", "relax_volume", "screen"]
