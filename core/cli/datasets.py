"""`dataset …`: import, prototypes, export, list, show, delete."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli.common import add, add_detach, is_json, pair, run_job, table


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    dataset = commands.add_parser("dataset", help="import, make, list, show, export datasets")
    parts = dataset.add_subparsers(metavar="COMMAND", required=True)
    parser = add(parts, shared, "import", "files of structures into the store, and a dataset of all of them", _import)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--name", required=True)
    parser.add_argument("--method", default="", help="energy method where the rows name none")
    add_detach(parser)
    parser = add(
        parts, shared, "prototypes", "decorate AFLOW's prototypes with elements, relax, keep as a dataset", _made
    )
    parser.add_argument("--elements", nargs="+", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--atoms", type=pair, default=(4, 20), help="cell sizes, as 4-20")
    parser.add_argument("--potential", choices=["m3gnet", "chgnet"], default="", help="default: the best one here")
    parser.add_argument("--also", nargs="*", choices=["m3gnet", "chgnet"], default=[], help="energies by these too")
    parser.add_argument("--max-formulas", type=int)
    parser.add_argument("--whole", nargs="*", default=[], help="systems of which every formula is taken: B-Ta-W")
    parser.add_argument("--min-polymorphs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    add_detach(parser)
    parser = add(parts, shared, "export", "a dataset as JSON lines, or as the tensor file that training reads", _export)
    parser.add_argument("name")
    parser.add_argument("file", type=Path)
    parser.add_argument("--tensors", action="store_true")
    add(parts, shared, "list", "all datasets", _list)
    add(parts, shared, "show", "one dataset", _show).add_argument("name")
    add(parts, shared, "delete", "a dataset that no model learned from", _delete).add_argument("name")


def _import(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.datasets import ImportParams

    params = ImportParams(tuple(str(f.resolve()) for f in asked.files), asked.name, asked.method)
    result = run_job("import", f"Import {asked.name}", params, "io", asked.detach)
    if not is_json(asked) and "structures" in result:
        print(f"{result['structures']:,} structures are the dataset {asked.name}; {result['skipped']:,} rows skipped")
        for reason, count in result["reasons"].items():
            print(f"  {count:,} {reason}")
    return result


def _made(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.prototypes import PrototypeParams

    params = PrototypeParams(
        name=asked.name,
        elements=tuple(asked.elements),
        atoms=asked.atoms,
        potential=asked.potential,
        also=tuple(asked.also),
        max_formulas=asked.max_formulas,
        whole=tuple(asked.whole),
        min_polymorphs=asked.min_polymorphs,
        seed=asked.seed,
    )
    return run_job("prototypes", f"Prototypes of {' '.join(asked.elements)}", params, detach=asked.detach)


def _export(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.datasets import export_dataset

    count = export_dataset(asked.name, asked.file, asked.tensors)
    if not is_json(asked):
        print(f"{count:,} structures written to {asked.file}")
    return {"structures": count, "file": str(asked.file)}


def _list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.datasets import list_datasets

    found = list_datasets()
    if not is_json(asked):
        headings = ["name", "structures", "formulas", "energies", "hash"]
        rows = [
            [d.name, d.summary["structures"], d.summary["formulas"], d.method or "none", d.hash[:12]] for d in found
        ]
        table(headings, rows)
    return {"datasets": [d.name for d in found]}


def _show(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.datasets import get_dataset

    found = get_dataset(asked.name)
    values = {"name": found.name, "hash": found.hash, "method": found.method, **found.summary}
    if not is_json(asked):
        table(["", ""], [[k, v] for k, v in values.items() if k != "space_groups"])
    return {**values, "recipe": found.recipe}


def _delete(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.datasets import delete_dataset

    delete_dataset(asked.name)
    return {"deleted": asked.name}
