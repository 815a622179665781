"""`relax`: files of structures in this process, or candidates of the store as jobs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import (
    Console,
    add,
    add_detach,
    add_device,
    check_usable,
    detached,
    follow_all,
    is_json,
    new_folder,
)
from core.workflows.context import UserError

if TYPE_CHECKING:
    from core.energy.relaxation import Relaxed
    from core.workflows.relax import RelaxParams


def add_command(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = add(commands, shared, "relax", "files of structures, or candidates of the store, with a potential", _relax)
    parser.set_defaults(needs_store=False)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    parser.add_argument("--potential", choices=["m3gnet", "chgnet"], default="", help="default: the best one here")
    parser.add_argument("--positions-only", action="store_true", help="leave the cell as it is")
    parser.add_argument("--fmax", type=float, default=0.05, help="eV/Å")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--keep-symmetry", action="store_true", help="keep each crystal's space group")
    parser.add_argument("--symprec", type=float, default=0.1, help="Å, of the space groups before and after")
    parser.add_argument("--processes", type=int, default=1, help="cores to share the work")
    parser.add_argument("--trajectories", action="store_true", help="keep the frames, one safetensors file a structure")
    add_device(parser)
    parser.add_argument("--out", type=Path, help="a folder for what came of files")
    stored = parser.add_argument_group("candidates of the store, as jobs")
    stored.add_argument("--candidates", nargs="+", default=[], metavar="ID", help="12-3; 12 is all of run 12 to relax")
    stored.add_argument(
        "--shards", type=int, default=1, metavar="N", help="as N jobs, which a cluster runs side by side"
    )
    add_detach(parser)


def _relax(asked: argparse.Namespace) -> dict[str, Any]:
    """Raises UserError for what does not go together."""
    from core.workflows.relax import RelaxParams

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
    if bool(asked.paths) == bool(asked.candidates):
        raise UserError("Name files to relax, or candidates of the store with --candidates: one of the two.")
    if asked.candidates:
        if asked.out:
            raise UserError("Candidates are relaxed in the store: leave --out away.")
        return _relax_stored(asked, params)
    if asked.out is None:
        raise UserError("Say with --out into which folder the relaxed structures go.")
    if asked.shards != 1 or asked.detach:
        raise UserError("Only candidates of the store are relaxed as jobs: --shards and --detach go with --candidates.")
    return _relax_files(asked, params)


def _relax_stored(asked: argparse.Namespace, params: RelaxParams) -> dict[str, Any]:
    from core.jobs.shards import submit_relaxation
    from core.workflows.relax import candidates_to_relax

    check_usable(asked.device)
    ids = candidates_to_relax(asked.candidates)
    made = submit_relaxation(replace(params, candidate_ids=ids), asked.device, asked.shards)
    if asked.detach:
        return {"jobs": made, "status": detached(made)}
    ended = follow_all(made)
    results = [job.result or {} for job in ended]
    found = {key: sum(int(r.get(key, 0)) for r in results) for key in ("relaxed", "failed")}
    status = next((job.status for job in ended if job.status != "done"), "done")
    if not is_json(asked):
        print(f"{found['relaxed']} relaxed, {found['failed']} failed, in {len(made)} job{'s' * (len(made) > 1)}")
    return {**found, "jobs": made, "status": status}


def _relax_files(asked: argparse.Namespace, params: RelaxParams) -> dict[str, Any]:
    from core.crystals import to_structures
    from core.data.symmetry import detect_groups
    from core.export.bundle import BundleItem, write_folder
    from core.workflows.export import relaxed_row
    from core.workflows.relax import read_structures, relax_crystals

    labels, crystals, problems = read_structures(asked.paths)
    check_usable(asked.device, here=True)
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
