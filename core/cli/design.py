"""`train` and `relax`; `generate` is in `core.cli.generating`, `modify` in `core.cli.modifying`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli import generating, modifying
from core.cli.common import Console, add, add_detach, check_usable, is_json, new_folder, run_job

if TYPE_CHECKING:
    from core.energy.relaxation import Relaxed


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    _add_train(commands, shared)
    generating.add_command(commands, shared)
    modifying.add_command(commands, shared)
    parser = add(commands, shared, "relax", "files of structures with a potential", _relax, store=False)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--potential", choices=["m3gnet", "chgnet"], default="", help="default: the best one here")
    parser.add_argument("--positions-only", action="store_true", help="leave the cell as it is")
    parser.add_argument("--fmax", type=float, default=0.05, help="eV/Å")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--keep-symmetry", action="store_true", help="keep each crystal's space group")
    parser.add_argument("--symprec", type=float, default=0.1, help="Å, of the space groups before and after")
    parser.add_argument("--processes", type=int, default=1, help="cores to share the work")
    parser.add_argument("--trajectories", action="store_true", help="keep the frames, one safetensors file a structure")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--out", type=Path, required=True)


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
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
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


def _relax(asked: argparse.Namespace) -> dict[str, Any]:
    from core.crystals import to_structures
    from core.data.symmetry import detect_groups
    from core.export.bundle import BundleItem, write_folder
    from core.workflows.export import relaxed_row
    from core.workflows.relax import RelaxParams, read_structures, relax_crystals

    labels, crystals, problems = read_structures(asked.paths)
    params = RelaxParams(
        (),
        asked.potential,
        not asked.positions_only,
        asked.fmax,
        asked.steps,
        asked.keep_symmetry,
        asked.symprec,
        asked.trajectories,
        asked.processes,
    )
    check_usable(asked.device)
    console = Console(asked.device)
    console.folder = folder = new_folder(asked.out)
    relaxed, values = relax_crystals(crystals, params, console)
    before, after = to_structures(crystals), to_structures(relaxed.crystals)
    good = [i for i, v in enumerate(values) if not str(v["status"]).startswith("failed")]
    rows = [replace(relaxed_row(labels[i], crystals, i, values[i]), symprec=asked.symprec) for i in good]
    items = [BundleItem(row, before[i], after[i]) for row, i in zip(rows, good, strict=True)]
    report = _relax_report(labels, detect_groups(crystals, asked.symprec).tolist(), values, relaxed)
    method = values[0]["method"]
    write_folder(folder, items, {"energy_method": [method], "relaxation": asdict(params)})
    (folder / "relaxed.json").write_text(json.dumps(report, indent=1) + "\n")
    result = {"relaxed": len(good), "failed": len(values) - len(good), "unread": len(problems), "method": method}
    if not is_json(asked):
        print(f"{len(good)} relaxed with {method}, {result['failed']} failed; in {folder}")
        for line in report:
            if str(line["status"]).startswith("failed"):
                print(f"{line['label']}: {line['status']}")
        for place, sentence in problems:
            print(f"{place}: {sentence}")
    return result


def _relax_report(
    labels: list[str], groups: list[int], values: list[dict[str, Any]], relaxed: Relaxed
) -> list[dict[str, Any]]:
    """A row for each structure, with the space group it came with, the whole sentence of a failure, and its frames."""
    report = []
    for i, value in enumerate(values):
        kept = bool(relaxed.trajectories) and relaxed.trajectories[i] is not None
        row = {"label": labels[i], "group_before": groups[i] or None}
        row |= {key: v for key, v in value.items() if key != "cell"}
        report.append(
            row | {"status": relaxed.status[i], "trajectory": f"trajectories/{i + 1}.safetensors" if kept else ""}
        )
    return report
