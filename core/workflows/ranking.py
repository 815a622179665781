"""Which of several crystals is the best by a potential: the one that meets the energy asked for, else the lowest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from core.crystals import Crystals
from core.energy.formation import formation_energy, load_references
from core.energy.potential import Potential
from core.evaluation.validity import published_verdicts
from core.workflows.chain import Stage
from core.workflows.context import Cancelled, Context
from core.workflows.method import Asked, Drawn, Method
from core.workflows.relax import RelaxParams, potential_for, relax_crystals

_PART = 64  # crystals whose energies are found at once


@dataclass(frozen=True)
class Score:
    """What a crystal is ranked by, the lowest first: what is not valid or has no energy comes last.

    off: eV/atom, how far the formation energy is from the one asked for, else the energy itself
    """

    bad: bool
    off: float

    def __lt__(self, other: Score) -> bool:
        return (self.bad, self.off) < (other.bad, other.off)


class _Quiet(Stage):
    """A context that says nothing of how far it has come."""

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        return None


class Judge:
    """Ranks by one potential, as drawn or after a few steps of relaxation (of which the energy alone is kept)."""

    def __init__(self, key: str, relax_steps: int, context: Context) -> None:
        """key: of a potential, "" for the default one. Raises UserError for one that is not here."""
        self.key, self.steps, self.context = key, relax_steps, context
        self.potential: Potential = potential_for(key, context.device)

    def scores(self, crystals: Crystals, asked: Asked, scale: str) -> list[Score]:
        """One for each of B crystals, and what was asked for each of them; scale: the method of the energies asked for.

        Crystals that answer one composition are compared by their energies; where an energy was asked for on the
        potential's own scale, by how well they meet it.
        """
        valid = [v.valid for v in published_verdicts(crystals)]
        places = torch.tensor([i for i, good in enumerate(valid) if good], dtype=torch.int64)
        wanted = self._wanted(asked) if scale == self.potential.name else torch.full((len(asked),), math.nan)
        found = [Score(True, math.inf)] * len(crystals)
        for part in places.split(_PART):
            if self.context.cancelled():
                raise Cancelled
            total, formation = self._energies(crystals[part].trim())
            for i, e, f in zip(part.tolist(), total.tolist(), formation.tolist(), strict=True):
                off = abs(f - float(wanted[i])) if math.isfinite(float(wanted[i])) and math.isfinite(f) else e
                found[i] = Score(not math.isfinite(off), off)
        return found

    def _wanted(self, asked: Asked) -> torch.Tensor:
        """(B,) formation energies, eV/atom; NaN where none is asked for, or the start's is not known."""
        return asked.energy if asked.start is None else asked.start.energy.double() + asked.energy

    def _energies(self, crystals: Crystals) -> tuple[torch.Tensor, torch.Tensor]:
        """(total, formation), eV/atom; NaN where there is none."""
        if self.steps:
            params = RelaxParams((), self.key, True, 0.05, self.steps, trajectories=False)
            _, values = relax_crystals(crystals, params, _Quiet(self.context, "", 0.0, 1.0))
            rows = [(v["total_after"], v["formation_after"]) for v in values]
            pairs = torch.tensor([[math.nan if x is None else x for x in row] for row in rows], dtype=torch.float64)
            return pairs[:, 0], pairs[:, 1]
        energy = self.potential.evaluate(crystals).energy.double()
        try:
            formation = formation_energy(energy, crystals, load_references(self.potential.name)).double()
        except ValueError:  # a potential without references
            formation = torch.full_like(energy, math.nan)
        return energy / crystals.natoms, formation


class Ranked:
    """Draws several crystals for each one asked for, and answers with the best of them."""

    def __init__(self, method: Method, draws: int, judge: Judge) -> None:
        self.method, self.draws, self.judge = method, draws, judge

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        """The best of `draws` for each; none where the method has none. Raises Cancelled and UserError."""
        several = self._several(asked)
        drawn = self.method.draw(several, steps, context)
        if not len(drawn):
            return drawn
        scores = self.judge.scores(drawn.crystals, several[torch.tensor(drawn.which)], self.method.about.energy_method)
        best: dict[int, int] = {}
        for k, place in enumerate(drawn.which):
            i = place // self.draws
            if i not in best or scores[k] < scores[best[i]]:
                best[i] = k
        chosen = [best[i] for i in sorted(best)]
        return Drawn(
            drawn.crystals[torch.tensor(chosen, dtype=torch.int64)], sorted(best), [drawn.origins[k] for k in chosen]
        )

    def _several(self, asked: Asked) -> Asked:
        """Each `draws` times side by side: further samples of its conditions, each from a seed of its own."""
        index = torch.arange(len(asked)).repeat_interleave(self.draws)
        sample = [s * self.draws + j for s in asked.sample for j in range(self.draws)]
        seeds = [(seed + 7_919_000_003 * j) % (2**63 - 1) for seed in asked.seeds for j in range(self.draws)]
        return replace(asked[index], sample=tuple(sample), seeds=tuple(seeds))
