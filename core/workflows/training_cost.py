"""What a training would cost here: counted operations and a short measurement of the device."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.data.matrix import FEATURES, ROWS
from core.models.registry import build_network
from core.models.state import Conditions, State
from core.models.unet import Tables, UNet
from core.training.plan import Plan

_BASE_MB = 700.0  # of the process, its packages and a small dataset
_COPIES = 5  # weights, gradients, two moments, average
# measured on two processors and carried over: the share of a matrix product's speed that each network reaches (oneDNN's
# convolutions pass it), seconds per crystal for making batches and in layers that do little, for aligning pairs, per
# parameter and step for the optimiser, and per step for all the rest
_SHARE = {"transformer": 0.45, "unet": 0.85}
_PER_CRYSTAL_S = {"transformer": 1.0e-4, "unet": 6e-4}
_ALIGNING_S, _PER_PARAMETER_S, _PER_STEP_S = 2e-4, 4e-9, 0.01


@dataclass(frozen=True)
class Estimate:
    """parameters of the network, structures/s in training, memory (MB), structures to learn from, seconds a pass.

    too_large: structures that the network cannot hold and will not see
    """

    parameters: int
    structures_per_s: float
    memory_mb: float
    structures: int
    epoch_s: float
    too_large: int = 0


@dataclass(frozen=True)
class _Counted:
    parameters: int
    flops: float  # of one crystal forward
    activations: float  # numbers kept for the way back, of one crystal


def estimate_plan(plan: Plan, natoms: Tensor, device: str) -> Estimate:
    """From the mean size of the crystals; the truth lies within a factor of two."""
    network, config = plan.network, plan.config
    counted = _count(network, json.dumps(plan.network_config), int(natoms.double().mean().round()))
    speed = speed_of(device, config.precision) * _SHARE[network]
    shared = _PER_CRYSTAL_S[network] + (_ALIGNING_S if plan.task == "modification" else 0.0)
    shared = shared if device == "cpu" else shared / 20
    update = counted.parameters * (_PER_PARAMETER_S if device == "cpu" else _PER_PARAMETER_S / 200) / config.batch
    rest = (_PER_STEP_S if device == "cpu" else _PER_STEP_S / 5) / config.batch
    per_crystal = 3 * counted.flops / speed + shared + update + rest
    memory = counted.parameters * 4 * _COPIES + config.batch * counted.activations * 4
    return Estimate(
        counted.parameters,
        1 / per_crystal,
        _BASE_MB + memory / 1e6,
        len(natoms),
        per_crystal * len(natoms),
    )


@lru_cache(maxsize=64)
def _count(network: str, values: str, sites: int) -> _Counted:
    """By running the network on tensors without numbers; no memory is taken."""
    with torch.device("meta"):
        empty = Tables(torch.empty(119, FEATURES), torch.empty(231, 192, 4, 4))
        built = build_network(network, json.loads(values), lambda: empty)
        kept = [0]

        def keep(module: nn.Module, _: Any, answer: Any) -> None:
            if isinstance(answer, Tensor) and not list(module.children()):
                kept[0] += answer.numel()

        hooks = [m.register_forward_hook(keep) for m in built.modules()]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            _run(built, sites)
        for hook in hooks:
            hook.remove()
    parameters = sum(p.numel() for p in built.parameters())
    return _Counted(parameters, float(counter.get_total_flops()), 2.0 * kept[0])


def _run(network: nn.Module, sites: int) -> None:
    if isinstance(network, UNet):  # its conditions are counted once per composition: next to nothing
        network.body(torch.empty(1, 3, ROWS), torch.empty(1, 4 * network.config.base))
        return
    mask = torch.ones(1, sites, dtype=torch.bool)
    state = State(torch.empty(1, sites, 3), torch.empty(1, 3, 3), mask)
    numbers = torch.ones(1, sites, dtype=torch.int64)
    given = torch.ones(1, 2, dtype=torch.bool)
    conditions = Conditions(numbers, torch.ones(1, dtype=torch.int64), torch.zeros(1), given, state)
    network(state, torch.zeros(1), conditions)


@lru_cache(maxsize=8)
def speed_of(device: str, precision: str) -> float:
    """FLOP/s of a matrix product on the device; on the processor with one thread, as trainings run."""
    kind = torch.bfloat16 if device != "cpu" and precision != "32" else torch.float32
    size = 384 if device == "cpu" else 4096
    a = torch.randn(size, size, device=device, dtype=kind)
    threads = torch.get_num_threads()
    best = float("inf")
    try:
        torch.set_num_threads(1)
        for _ in range(5):
            started = time.perf_counter()
            product = a @ a
            float(product[0, 0])  # waits for the device
            best = min(best, time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return 2 * size**3 / best
