"""The paper's seven methods on one dataset, each with the same network, steps and data.

    python -m benchmarks.seven_methods DATASET --network transformer --steps 3000 [--method cfm-uniform …] --out FILE
    python -m benchmarks.seven_methods DATASET --out FILE --table

DATASET is one of the store. Every method appends a JSON line to FILE: match rates of validation structures (for
modification: of lowest-energy pairs) with the composition, space group and energy given, one sample each, beside what
it cost. DDIM is drawn from DDPM's training. Two baselines need no network: the start returned, and the nearest training
structure with its elements substituted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.crystals import Crystals, concatenate
from core.data.encoding import decode
from core.data.tensors import TRAIN, TensorData
from core.evaluation.pool import MatchPool
from core.evaluation.report import wilson
from core.models.registry import build_network
from core.samplers.drawing import draw_crystals
from core.samplers.geometry import CELLS
from core.samplers.registry import METHODS, STEPS, sampler_for
from core.templates.library import build_library
from core.templates.propose import propose
from core.training.data import Examples
from core.training.loop import Training
from core.training.plan import make_sources
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.starter import install
from core.workflows.train import TrainParams, plan_of

CHOSEN = [(task, method) for task in METHODS for method in METHODS[task] if method != "ddim"]


def main() -> None:
    asked = _arguments()
    install()
    if asked.table:
        print(table([json.loads(line) for line in asked.out.read_text().splitlines()]))
        return
    torch.set_num_threads(1)
    data = load_tensors(get_dataset(asked.dataset))
    for task, method in CHOSEN:
        if not asked.method or method in asked.method:
            for row in run(data, task, method, asked):
                with asked.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)
    for task in METHODS:
        if "baselines" in asked.method or not asked.method:
            for row in baselines(data, task, asked):
                with asked.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def run(data: TensorData, task: str, method: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Train one method and draw with it; for DDPM with DDIM too."""
    params = TrainParams(
        asked.dataset,
        "benchmark",
        task,
        method,
        asked.network,
        asked.preset,
        steps=asked.steps,
        seed=asked.seed,
        geometry=asked.geometry,
        loss=_loss(method) if asked.geometry == "paper" else "",
        learning_rate=asked.learning_rate,
        batch=asked.batch,
    )
    plan = plan_of(params)
    learning, validation = make_sources(plan, data)
    assert validation is not None, "the dataset has a validation part"
    torch.manual_seed(asked.seed)
    network = build_network(asked.network, plan.network_config)
    config = replace(plan.config, samples=0, validate_s=30.0, checkpoint_s=1e9)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        training = Training(network, plan.sampler, learning, validation, config, Path(folder))
        final = training.run(lambda r: print(task, method, r.step, r.values, flush=True), lambda: False)
        network.load_state_dict(training.weights())
    trained = time.monotonic() - started
    examples = validation[_sample(len(validation), asked.targets)]
    rows = []
    for draws in [method, "ddim"] if method == "ddpm" else [method]:
        sampler = sampler_for(task, draws, geometry=plan.sampler.geometry)
        started = time.monotonic()
        drawn = draw_crystals(network.eval(), sampler, examples.conditions, range(len(examples)), STEPS[draws])
        spent = time.monotonic() - started
        row = judged(drawn, decode(examples.target, examples.conditions, CELLS[sampler.geometry]))
        cost = {"training_s": round(trained, 1), "sampling_s": round(spent, 2), "evaluations": STEPS[draws]}
        rows.append({"task": task, "method": draws, **_settings(asked, network), **row, **cost, **final})
    return rows


def baselines(data: TensorData, task: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The start returned (modification), and the substituted nearest training structure."""
    plan = plan_of(TrainParams(asked.dataset, "benchmark", task, minutes=1.0))
    _, validation = make_sources(plan, data)
    assert validation is not None, "the dataset has a validation part"
    examples = validation[_sample(len(validation), asked.targets)]
    conditions = examples.conditions
    target = decode(examples.target, conditions)
    rows = []
    if conditions.start is not None:
        rows.append(
            {"task": task, "method": "return the start", **judged(decode(conditions.start, conditions), target)}
        )
    started = time.monotonic()
    found = substituted(data, examples, task)
    spent = time.monotonic() - started
    row = judged(found, target) | {"sampling_s": round(spent, 2)}
    return [*rows, {"task": task, "method": "substitution", **row}]


def substituted(data: TensorData, examples: Examples, task: str) -> Crystals:
    """The nearest training structure for every example; of a change of energy nothing is known to it."""
    library = build_library(data.crystals, data.part(TRAIN))
    conditions = examples.conditions
    found = []
    for i in range(len(examples)):
        group, energy = (conditions.present[i] & torch.tensor([True, task == "generation"])).tolist()
        asked = (int(conditions.group[i]) if group else None, float(conditions.energy[i]) if energy else None)
        numbers = conditions.numbers[i][conditions.mask[i]].tolist()
        proposed = propose(library, numbers, *asked).crystals
        found.append(proposed if len(proposed) else _nothing(len(numbers)))
    return concatenate(found)


def _nothing(natoms: int) -> Crystals:
    """Where no template is: a miss."""
    numbers, nan = torch.ones(1, natoms, dtype=torch.int64), torch.full((1,), torch.nan, dtype=torch.float64)
    flat = torch.zeros(1, 3, 3, dtype=torch.float64)
    return Crystals(torch.zeros(1, natoms, 3, dtype=torch.float64), flat, numbers, torch.zeros(1).long(), nan)


def judged(drawn: Crystals, target: Crystals) -> dict[str, Any]:
    """Match rates by both matchers with their 95 % intervals."""
    with MatchPool(processes=1) as pool:
        found = pool.submit(drawn, target, ("paper", "field")).result()
    row: dict[str, Any] = {"targets": len(target)}
    for name, distances in found.items():
        hits = sum(d is not None for d in distances)
        row[name], row[f"{name}_ci95"] = hits / len(distances), wilson(hits, len(distances))
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, best of each task first."""
    lines = ["| task | method | paper matcher | field matcher | targets | training | drawing |", "|" + "---|" * 7]
    for row in sorted(rows, key=lambda r: (r["task"], -r["paper"])):
        rates = [_rate(row[name], row[f"{name}_ci95"]) for name in ("paper", "field")]
        cost = [f"{row[k]:.0f} s" if k in row else "–" for k in ("training_s", "sampling_s")]
        lines.append(f"| {row['task']} | {row['method']} | {' | '.join([*rates, str(row['targets']), *cost])} |")
    return "\n".join(lines)


def _rate(share: float, interval: list[float]) -> str:
    return f"{100 * share:.1f} % ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"


def _settings(asked: argparse.Namespace, network: torch.nn.Module) -> dict[str, Any]:
    parameters = sum(p.numel() for p in network.parameters())
    return {"network": asked.network, "geometry": asked.geometry, "steps": asked.steps, "parameters": parameters}


def _loss(method: str) -> str:
    return "periodic" if method == "regression" else "l1"


def _sample(count: int, wanted: int) -> torch.Tensor:
    return torch.linspace(0, count - 1, min(count, wanted)).long()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--network", default="transformer")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--geometry", default="periodic", choices=["periodic", "paper"])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--targets", type=int, default=300, help="validation structures drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", nargs="*", default=[], help="methods, or baselines; all of them by default")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="print what FILE holds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
