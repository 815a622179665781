"""Train on a machine that has torch, numpy and Lightning alone, on one device or several.

    python -m core.training DATA.safetensors FOLDER --task generation --method cfm-uniform --minutes 9 --device cuda
    torchrun --nproc-per-node 2 -m core.training DATA.safetensors FOLDER …

DATA is what `./run cli dataset export NAME FILE --tensors` wrote. FOLDER keeps the checkpoint (the same command goes on
from it), losses.jsonl, the latest samples, and at the end the model, which `./run cli models add FOLDER/model` takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open

from core.data.matrix import element_table
from core.data.pairs import fits_ahead
from core.data.tensors import TensorData, read_tensors
from core.models.checkpoint import begin_with, read_config, save_model
from core.models.registry import build_network
from core.models.unet import Tables
from core.training.loop import Report, Training, TrainingError
from core.training.plan import Plan, make_plan, make_sources
from core.training.templates import TemplateStarts


def main() -> int:
    """Exit code 0, or 2 with a sentence."""
    asked = _arguments()
    try:
        train(asked)
    except (TrainingError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def train(asked: argparse.Namespace) -> None:
    """Raises TrainingError and ValueError, with sentences."""
    if not asked.data.is_file():
        raise ValueError(f"There is no file {asked.data}.")
    try:
        data = read_tensors(asked.data)
    except ValueError as error:
        raise ValueError(f"{asked.data} is no file that `dataset export --tensors` wrote, or it is damaged.") from error
    plan = make_plan(asked.task, asked.method, asked.network, asked.preset, vars(asked))
    plan = plan.like(read_config(asked.initial)) if asked.initial else plan
    if too_large := plan.too_large(data):
        print(f"{too_large:,} structures are larger than the {plan.network} holds: left out", flush=True)
    if plan.task == "modification" and data.fits is None and asked.processes > 1:
        data = replace(data, fits=fits_ahead(data, asked.processes))
    templates = TemplateStarts.read(asked.templates) if asked.templates else None
    learning, validation = make_sources(plan, data, templates)
    torch.manual_seed(asked.seed)
    network = build_network(plan.network, plan.network_config, lambda: _tables(asked.data))
    if asked.initial:
        begin_with(network, asked.initial)
    run = Training(network, plan.sampler, learning, validation, plan.config, asked.folder, asked.device)
    if run.step:
        print(f"going on from the checkpoint at step {run.step:,}", flush=True)
    final = run.run(lambda report: _write(asked.folder, report), lambda: False)
    if run.fleet.first:
        config = plan.model_config() | {"energy_method": data.method}
        save_model(asked.folder / "model", run.weights(), config, _card(asked, plan, data, run, final))
        losses = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in final.items())
        print(f"{run.step:,} steps; {losses}\nthe model is in {asked.folder / 'model'}", flush=True)


def _card(
    asked: argparse.Namespace, plan: Plan, data: TensorData, run: Training, final: dict[str, float]
) -> dict[str, object]:
    begun = {"initial": asked.initial.resolve().name} if asked.initial else {"preset": asked.preset}
    return {
        "task": plan.task,
        "dataset": data.name,
        "dataset_hash": data.hash,
        "energy_method": data.method,
        "recipe": begun | plan.values,
        "parameters": sum(p.numel() for p in run.network.parameters()),
        "steps": run.step,
        "best_step": run.best_step,
        "training_minutes": round(run.seconds / 60, 2),
        "device": f"{run.fleet.size} x {run.fabric.device.type}",
        "metrics": {name: round(value, 5) for name, value in final.items()},
        "torch": torch.__version__,
    }


def _tables(path: Path) -> Tables:
    with safe_open(str(path), "pt") as file:
        return Tables(element_table(file.get_tensor("element_features")), file.get_tensor("operations"))


def _write(folder: Path, report: Report) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "losses.jsonl").open("a") as file:
        file.write(json.dumps({"step": report.step, **report.values}) + "\n")
    print(f"step {report.step:,}, {100 * report.fraction:.0f} %: {report.values}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default="generation")
    parser.add_argument("--method", default="")
    parser.add_argument("--network", default="transformer")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name in ("steps", "batch", "warmup", "patience"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("minutes", "learning-rate", "clip", "weight-decay", "ema", "drop", "noise"):
        parser.add_argument(f"--{name}", type=float)
    for name in ("loss", "geometry", "schedule", "path", "precision", "pairs"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--templates", type=Path, help="starts for generation, by `dataset export --templates`")
    parser.add_argument(
        "--initial", type=Path, metavar="MODEL", help="begin with the weights of another model's folder"
    )
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--processes", type=int, default=1, help="cores to fit pairs for modification on beforehand")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
