"""How fast the paper's preset trains and draws here: `python -m benchmarks.unet_speed [--device cuda]`.

Random crystals of 4 to 60 atoms. Prints structures/s, TFLOP/s and the share of what a large matrix product or a wide
convolution (the faster of both) reaches on the same device, in the same precision and run, beside what the authors
report for theirs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.encode_structures import random_batches
from core.data.matrix import ROWS
from core.models.registry import as_values, build_network, configure
from core.models.unet import UNet
from core.samplers.flow import FlowMatching
from core.samplers.geometry import PAPER
from core.samplers.noise import Noise
from core.training.data import Examples, generation_examples
from core.training.losses import l1

AUTHORS = {  # their network's published or measured speed: structure-steps/s forward, structures/s in training
    "cpu": ("2 CPU cores", 1 / 0.039, 1 / 0.160),
    "cuda": ("data-centre GPU", 399 * 100 / 55, 3.5 * 256),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each measurement")
    asked = parser.parse_args()
    gpu = asked.device.startswith("cuda")
    precision = torch.bfloat16 if gpu else torch.float32
    batch = asked.batch or (256 if gpu else 16)
    torch.manual_seed(0)
    network = build_network("unet", as_values(configure("unet", asked.preset))).to(asked.device)
    examples = generation_examples(random_batches()[0][:batch], "vectors").to(asked.device)
    flops = flops_of(network)
    peaks = [
        work / measure(step, asked.seconds / 4, asked.device)
        for step, work in (product(asked.device, precision), convolution(asked.device, precision))
    ]
    with torch.autocast("cuda" if gpu else "cpu", torch.bfloat16, enabled=gpu):
        forward = batch / measure(drawing(network, examples), asked.seconds, asked.device)
        training = batch / measure(learning(network, examples), asked.seconds, asked.device)
    kind, their_forward, their_training = AUTHORS["cuda" if gpu else "cpu"]
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{asked.preset}: {parameters / 1e6:.1f} M parameters, {flops / 1e9:.2f} GFLOP a structure and step")
    print(f"batch {batch}, {torch.get_num_threads()} threads")
    print(f"matrix product {peaks[0] / 1e12:.3f}, convolution {peaks[1] / 1e12:.3f} TFLOP/s")
    for name, rate, cost, theirs in (
        ("drawing, structure-steps/s", forward, flops, their_forward),
        ("training, structures/s", training, 3 * flops, their_training),
    ):
        done = rate * cost
        print(f"{name}: {rate:.1f} ({done / 1e12:.3f} TFLOP/s, {100 * done / max(peaks):.0f} % of the peak); "
              f"authors {theirs:.1f} on a {kind}: ratio {rate / theirs:.2f}")  # fmt: skip


SIZE = {False: 2048, True: 8192}


def product(device: str, precision: torch.dtype) -> tuple[Callable[[], None], float]:
    """A matrix product, and its floating-point operations."""
    size = SIZE[device.startswith("cuda")]
    a = torch.randn(size, size, device=device, dtype=precision)

    def step() -> None:
        torch.mm(a, a)

    return step, 2.0 * size**3


def convolution(device: str, precision: torch.dtype) -> tuple[Callable[[], None], float]:
    """A convolution of 1024 channels over the 64 rows of a batch, and its floating-point operations."""
    width, batch = 1024, SIZE[device.startswith("cuda")] // 64
    x = torch.randn(batch, width, ROWS, device=device, dtype=precision)
    weight = torch.randn(width, width, 3, device=device, dtype=precision)

    def step() -> None:
        with torch.no_grad():
            functional.conv1d(x, weight, padding=1)

    return step, 2.0 * 3 * width**2 * ROWS * batch


def drawing(network: torch.nn.Module, examples: Examples) -> Callable[[], None]:
    """One evaluation of the network, as the samplers do it at every step."""
    t = torch.full((len(examples),), 0.5, device=examples.target.frac.device)

    def step() -> None:
        with torch.no_grad():
            network(examples.target, t, examples.conditions)

    return step


def learning(network: torch.nn.Module, examples: Examples) -> Callable[[], None]:
    """One training step of flow matching with Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=examples.target.frac.is_cuda)
    flow, conditions = FlowMatching("uniform", geometry=PAPER), examples.conditions
    generator = torch.Generator(examples.target.frac.device).manual_seed(0)

    def step() -> None:
        x0 = flow.start(conditions, Noise(examples.target.mask, generator))
        t = flow.times(len(examples), generator)
        state, target = flow.training_target(x0, examples.target, t)
        loss = l1(network(state, t, conditions), target)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def measure(step: Callable[[], None], seconds: float, device: str) -> float:
    """Seconds of a step: the median of as many as fit, after two that warm up."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return sorted(times[2:])[len(times[2:]) // 2]


def flops_of(network: torch.nn.Module) -> float:
    assert isinstance(network, UNet)
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.body(torch.zeros(1, 3, ROWS, device=device), torch.zeros(1, 4 * network.config.base, device=device))
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
