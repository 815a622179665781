"""How long a run would take here: a short measurement of the network, and what relaxations cost by experience."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from core.models.state import State, conditions_for
from core.samplers.drawing import draw_crystals
from core.workflows.chain import Chain, usual_steps
from core.workflows.relax import method_of
from core.workflows.training_cost import speed_of

if TYPE_CHECKING:
    from core.workflows.method import Method
    from core.workflows.models import LoadedModel

# measured on one core that multiplies matrices at _REFERENCE FLOP/s, and carried over by that speed: seconds per atom
# for energy, forces and stress in a batch (`benchmarks.generate_speed`)
_REFERENCE = 9e10
_PER_ATOM_S = {"M3GNet-MP-2021.2.8": 1.5e-3, "CHGNet-0.3.0": 7.5e-3}
_CARD_SPEEDUP = 30.0  # of a graphics card in batches, over one core
_JUDGE_S = 0.05  # contacts, groups, matching (`benchmarks.judge_candidates`)
_AT_REST = 4  # evaluations that bring a volume to rest
_LARGE = 50e6  # parameters: measured with fewer crystals


@dataclass(frozen=True)
class Cost:
    """Seconds of each stage; relaxing is the rough one (a factor of two or three)."""

    draw_s: float
    relax_s: float

    @property
    def total_s(self) -> float:
        return self.draw_s + self.relax_s


def cost_of(method: Method, sizes: Sequence[int], steps: int, chain: Chain, device: str = "cpu") -> Cost:
    """Of a run with cells of these numbers of atoms, if none of the candidates is hopeless."""
    drawing = method.seconds(sizes, steps, device) * chain.draws
    if chain.draws > 1:
        ranking = replace(chain, relax="cell", relax_steps=chain.rank_steps or _AT_REST)
        drawing += chain.draws * relax_seconds(ranking, sizes, device)
    return Cost(drawing, relax_seconds(chain, sizes, device))


def draw_seconds(model: LoadedModel, sizes: Sequence[int], steps: int, device: str = "cpu") -> float:
    """Seconds to draw and judge crystals of these numbers of atoms."""
    if not sizes:
        return 0.0
    mean = max(1, round(sum(sizes) / len(sizes)))
    per_step = _step_seconds(model, mean)
    if device != "cpu":
        per_step *= speed_of("cpu", "32") / speed_of(device, "auto") * 5  # small networks keep no card busy
    return len(sizes) * (max(1, steps) * per_step + _JUDGE_S)


def relax_seconds(chain: Chain, sizes: Sequence[int], device: str = "cpu") -> float:
    """Seconds to relax crystals of these numbers of atoms, or to take their energies; 0 where neither is asked."""
    if chain.potential is None or not sizes:
        return 0.0
    method = method_of(chain.potential)
    steps = 1.0 if chain.relax == "none" else usual_steps(method, chain.relax_steps) + 1
    seconds = sum(sizes) * steps * _PER_ATOM_S.get(method, 3e-3) * _REFERENCE / speed_of("cpu", "32")
    return seconds / (_CARD_SPEEDUP if device != "cpu" else max(1, chain.processes))


def _step_seconds(model: LoadedModel, natoms: int) -> float:
    """Seconds for one crystal and one step of the sampler on this processor, measured once for each network."""
    key = (model.row.hash, repr(model.sampler), natoms)
    if key not in _measured:
        _measured[key] = _measure(model, natoms)
    return _measured[key]


_measured: dict[tuple[str, str, int], float] = {}


def _measure(model: LoadedModel, natoms: int) -> float:
    large = sum(p.numel() for p in model.network.parameters()) > _LARGE
    crystals, steps = (4, 1) if large else (32, 2)
    conditions = conditions_for([[5] * natoms] * crystals, [1] * crystals, [0.0] * crystals)
    if model.row.task == "modification":
        start = State(torch.rand(crystals, natoms, 3), torch.eye(3).repeat(crystals, 1, 1), conditions.mask)
        conditions = replace(conditions, start=start)
    threads, best = torch.get_num_threads(), float("inf")
    try:
        torch.set_num_threads(1)
        for _ in range(2):
            started = time.perf_counter()
            draw_crystals(model.network, model.sampler, conditions, range(crystals), steps)
            best = min(best, time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return best / crystals / steps
