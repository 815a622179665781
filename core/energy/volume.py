"""The volume alone relaxed, by Newton steps on the mean stress."""

from __future__ import annotations

from dataclasses import replace

import torch

from core.crystals import Crystals
from core.energy.potential import Evaluation, Potential


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
