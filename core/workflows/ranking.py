"""Which of several crystals is the best by a potential: the one that meets the energy asked for, else the lowest.

Volumes are brought to rest before (`core.energy.volume`), since a volume that is only estimated hides what differs.
With steps of relaxation crystals move within their symmetry, and what was compared is the answer: a draw that becomes
the crystal asked for counts, and none has its energy from a crystal that it is not.
Where an energy is asked for, how sure a template was counts too: an error of `MISS` weighs as much as a confidence that
is e times lower. Numbers are in benchmarks/README.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from core.crystals import Crystals, concatenate
from core.data.rows import symbol
from core.energy.formation import formation_energy, load_references
from core.energy.potential import Potential
from core.energy.scales import stand_ins
from core.energy.volume import relax_volume
from core.evaluation.validity import published_verdicts
from core.workflows.chain import Stage
from core.workflows.context import Cancelled, Context
from core.workflows.method import Asked, Drawn, Method
from core.workflows.refined import OWN
from core.workflows.relax import RelaxParams, potential_for, relax_crystals

MISS = 0.02  # eV/atom: the usual error of a potential between polymorphs
OWN_MISS = 0.005  # where the energy asked for is the potential's own
_PART = 64  # crystals whose energies are found at once


@dataclass(frozen=True)
class Score:
    """What a crystal is ranked by, the lowest first: what is not valid or has no energy comes last.

    cost: how far the energy is from the one asked for in units of `MISS` or `OWN_MISS`, less the logarithm of the
    confidence; where none is asked for the energy itself, eV/atom
    """

    bad: bool
    cost: float

    def __lt__(self, other: Score) -> bool:
        return (self.bad, self.cost) < (other.bad, other.cost)


class _Quiet(Stage):
    """A context that says nothing of how far it has come."""

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        return None


class Judge:
    """Ranks by one potential after a few steps of relaxation, else of the volume alone; the energies alone are kept."""

    def __init__(self, key: str, relax_steps: int, context: Context) -> None:
        """key: of a potential, "" for the default one. Raises UserError for one that is not here."""
        self.key, self.steps, self.context = key, relax_steps, context
        self.potential: Potential = potential_for(key, context.device)
        self._starts: dict[bytes, float] = {}

    def scores(self, drawn: Drawn, asked: Asked, scale: str) -> tuple[list[Score], Drawn]:
        """One for each of B crystals, of what was asked for each of them, and the crystals as they were compared.

        scale: the method of the energies asked for

        Crystals that answer one composition are compared by their energies; where an energy was asked for on the
        potential's own scale (`core.energy.scales`), or a change of energy from a start, by how well they meet it.
        """
        valid = [v.valid for v in published_verdicts(drawn.crystals)]
        places = torch.tensor([i for i, good in enumerate(valid) if good], dtype=torch.int64)
        found = [Score(True, math.inf)] * len(drawn)
        usual = OWN_MISS if asked.start is None and scale == self.potential.name else MISS
        compared = [drawn.crystals[[i]] for i in range(len(drawn))]
        for part in places.split(_PART):
            if self.context.cancelled():
                raise Cancelled
            crystals, total, formation = self._energies(drawn.crystals[part].trim())
            off = self._misses(total, formation, crystals, asked[part], scale)
            for k, (i, energy, miss) in enumerate(zip(part.tolist(), total.tolist(), off.tolist(), strict=True)):
                origin = drawn.origins[i]
                sure = max(origin.confidence, 1e-6) if origin else OWN
                cost = miss / usual - math.log(sure) if math.isfinite(miss) else energy
                found[i] = Score(not math.isfinite(cost), cost)
                if self.steps:
                    compared[i] = crystals[[k]]
        return found, replace(drawn, crystals=concatenate(compared) if compared else drawn.crystals)

    def _misses(
        self, total: torch.Tensor, formation: torch.Tensor, crystals: Crystals, asked: Asked, scale: str
    ) -> torch.Tensor:
        """(B,) how far energies are from what was asked, eV/atom; NaN where nothing can be compared."""
        if asked.start is not None:
            return (total - self._start_energies(asked.start) - asked.energy).abs()
        known = torch.tensor([self._knows(scale, numbers) for numbers in crystals.numbers.tolist()])
        return (formation - asked.energy).abs().where(known, math.nan)

    def _knows(self, scale: str, numbers: list[int]) -> bool:
        """Are formation energies of this cell content by the potential on that scale?"""
        name = self.potential.name
        return name == scale or name in stand_ins(scale, {symbol(z) for z in numbers if z})

    def _start_energies(self, starts: Crystals) -> torch.Tensor:
        """(B,) eV/atom, found in the same way as the crystals' own; a start that comes again is looked at once."""
        each = [starts[[i]].trim() for i in range(len(starts))]
        keys = [c.lattice.numpy().tobytes() + c.frac.numpy().tobytes() for c in each]
        missing = [keys.index(key) for key in dict.fromkeys(keys) if key not in self._starts]
        if missing:
            _, energies, _ = self._energies(starts[torch.tensor(missing)].trim())
            self._starts |= {keys[i]: e for i, e in zip(missing, energies.tolist(), strict=True)}
        return torch.tensor([self._starts[key] for key in keys], dtype=torch.float64)

    def _energies(self, crystals: Crystals) -> tuple[Crystals, torch.Tensor, torch.Tensor]:
        """The crystals after the relaxation asked for, (B,) total and (B,) formation energies of them, eV/atom.

        Without steps the crystals as they are, and energies with the volume at rest; NaN for none.
        """
        if self.steps:
            params = RelaxParams((), self.key, True, 0.05, self.steps, symmetry=True, trajectories=False)
            relaxed, values = relax_crystals(crystals, params, _Quiet(self.context, "", 0.0, 1.0))
            rows = [(v["total_after"], v["formation_after"]) for v in values]
            pairs = torch.tensor([[math.nan if x is None else x for x in row] for row in rows], dtype=torch.float64)
            return relaxed.crystals.to(dtype=torch.float64), pairs[:, 0], pairs[:, 1]
        _, found = relax_volume(crystals, self.potential)
        energy = found.energy.double()
        try:
            formation = formation_energy(energy, crystals, load_references(self.potential.name)).double()
        except ValueError:  # a potential without references
            formation = torch.full_like(energy, math.nan)
        return crystals, energy / crystals.natoms, formation


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
        scores, drawn = self.judge.scores(drawn, several[torch.tensor(drawn.which)], self.method.about.energy_method)
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
