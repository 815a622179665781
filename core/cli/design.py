"""`train`; `generate`, `modify` and `relax` have files of their own."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from core.cli import generating, modifying, relaxing
from core.cli.common import add, add_detach, add_device, is_json, run_job


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    _add_train(commands, shared)
    generating.add_command(commands, shared)
    modifying.add_command(commands, shared)
    relaxing.add_command(commands, shared)


def _add_train(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = add(commands, shared, "train", "a model on a dataset", _train)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--task", choices=["generation", "modification"], help="default: the method's, else generation")
    parser.add_argument("--method", default="", help="cfm-uniform, cfm-normal, ddpm, ddim; cfm, regression, palette")
    parser.add_argument("--network", default="transformer", help="transformer or unet")
    parser.add_argument("--preset", default="small", help="quick, small; for unet also paper")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--patience", type=int, help="end after so many validations without a better loss")
    more = parser.add_argument_group("hyperparameters (default: the preset's; those of paper are the paper's)")
    for name in ("batch", "warmup"):
        more.add_argument(f"--{name}", type=int)
    more.add_argument("--ema", type=float, help="decay of the averaged weights, 0 for none")
    more.add_argument("--drop", type=float, help="share of the conditions that are not told")
    more.add_argument("--noise", type=float, help="blur of a start, in cell edges")
    for name in ("learning-rate", "clip", "weight-decay"):
        more.add_argument(f"--{name}", type=float)
    more.add_argument("--loss", default="", help="squared, l1, periodic or minimum-image")
    more.add_argument("--geometry", default="", help="periodic or paper")
    more.add_argument("--schedule", default="", help="of a diffusion: cosine or linear")
    more.add_argument("--path", default="", help="of a flow from noise: centred, matched or stored")
    more.add_argument("--precision", default="", help="auto, 32, bf16 or 16")
    more.add_argument("--pairs", default="", help="of polymorphs: all, paper or paper-code")
    add_detach(parser)


def _train(asked: argparse.Namespace) -> dict[str, Any]:
    from core.samplers.registry import METHODS
    from core.workflows.train import TrainParams, check_params

    asked.task = asked.task or next((t for t in METHODS if asked.method in METHODS[t]), "generation")
    params = TrainParams(**{f.name: getattr(asked, f.name) for f in fields(TrainParams)})
    check_params(params)
    result = run_job("train", f"Train {asked.name}", params, asked.device, asked.detach)
    if result.get("status") == "done" and not is_json(asked):
        found = {k: f"{100 * v:.1f} %" if k.startswith(("match", "valid")) and "loss" not in k else f"{v:.4f}"
                 for k, v in result.items() if isinstance(v, float)}  # fmt: skip
        print(f"{result['model']}: {result['steps']:,} steps, best at {result['best_step']:,}")
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items()))
    return result
