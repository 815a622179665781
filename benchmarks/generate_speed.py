"""What the estimate before a run rests on: `python -m benchmarks.generate_speed [CRYSTALS]`.

Draws TaWB6 with the shipped generator, evaluates energy, forces and stress of what came out with each potential here in
batches, and prints seconds per crystal and per atom on one core beside what `core.workflows.design_cost` expects.
Processor time, so that neighbours on the machine do not count. What is expected allows half as much again for the steps
of a relaxation.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch

from core.energy.load import load_potential
from core.models.state import conditions_for
from core.samplers.drawing import draw_crystals
from core.settings import settings
from core.workflows import starter
from core.workflows.chain import Chain
from core.workflows.design_cost import draw_seconds, relax_seconds
from core.workflows.models import load_model
from core.workflows.relax import potential_choices
from core.workflows.training_cost import speed_of

NUMBERS = [73, 74, 5, 5, 5, 5, 5, 5]
STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", nargs="?", type=int, default=64)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    starter.install()
    model, count = load_model("starter-generator"), asked.crystals
    print(f"one core, {speed_of('cpu', '32') / 1e9:.0f} GFLOP/s in matrix products")
    conditions = conditions_for([NUMBERS] * count, [12] * count, [-0.4] * count)
    started = time.process_time()
    crystals = draw_crystals(model.network, model.sampler, conditions, range(count), STEPS)
    drawn = (time.process_time() - started) / count / STEPS
    expected = draw_seconds(model, [len(NUMBERS)] * count, STEPS) / count / STEPS
    print(f"drawing: {1e3 * drawn:.2f} ms per crystal and step; expected with judging {1e3 * expected:.2f}")
    for choice in [c for c in potential_choices() if not c.problem]:
        potential = load_potential(choice.key, settings().m3gnet)
        potential.evaluate(crystals)
        started = time.process_time()
        found = potential.evaluate(crystals)
        good = int(found.ok.sum()) * len(NUMBERS)
        spent = (time.process_time() - started) / max(good, 1)
        chain = Chain(potential=choice.key, relax="none")
        expected = relax_seconds(chain, [len(NUMBERS)] * count) / count / len(NUMBERS)
        print(f"{choice.method}: {1e3 * spent:.2f} ms per atom and step; expected {1e3 * expected:.2f}")


if __name__ == "__main__":
    main()
