"""How long the shipped generator takes for many crystals: `python -m benchmarks.sampling_speed [COUNT] [--device D]`.

Cells of 8 to 20 atoms, three elements each, no space group, the model's own sampler at its usual number of steps; on a
CPU as many processes as there are cores, each with one thread, on a GPU one. The start of the processes is not counted.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from core.models.checkpoint import load_weights, read_config
from core.models.registry import build_network
from core.models.state import conditions_for
from core.samplers.drawing import draw_crystals
from core.settings import ASSETS
from core.workflows.models import sampler_of

MODEL = ASSETS / "models" / "generator"
STEPS, BATCH = 50, 125


def draw(sizes: Sequence[int], device: str, steps: int) -> int:
    """Draw a crystal of each size, in batches of like ones; returns how many are finite."""
    torch.set_num_threads(1)
    config = read_config(MODEL)
    network = load_weights(build_network(config["network"], config["network_config"]), MODEL).to(device)
    good, batch = 0, len(sizes) if device != "cpu" else BATCH
    for first in range(0, len(sizes), batch):
        part = sizes[first : first + batch]
        numbers = [[22] * (n // 4) + [73] * (n // 4) + [5] * (n - 2 * (n // 4)) for n in part]
        conditions = conditions_for(numbers, [None] * len(part), [None] * len(part))
        crystals = draw_crystals(network, sampler_of(config), conditions, range(first, first + len(part)), steps)
        good += int(torch.isfinite(crystals.lattice).flatten(1).all(1).sum())
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crystals", nargs="?", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    sizes = sorted(8 + i % 13 for i in range(asked.crystals))
    processes = len(os.sched_getaffinity(0)) if asked.device == "cpu" else 1
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(draw, [[8]] * processes, [asked.device] * processes, [1] * processes))  # every process is there
        started = time.monotonic()
        parts = [sizes[i::processes] for i in range(processes)]
        good = sum(pool.map(draw, parts, [asked.device] * processes, [STEPS] * processes))
        took = time.monotonic() - started
    print(f"{asked.crystals:,} crystals of 8 to 20 atoms, {STEPS} steps, {processes} x {asked.device}: {took:.1f} s")
    print(f"{good:,} of them finite")


if __name__ == "__main__":
    main()
