"""`dataset …`: import, prototypes, export, list, show, delete."""

from __future__ import annotations

import argparse
from dataclasses import asdict
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
    _add_build(parts, shared)
    parser = add(parts, shared, "aflow", "what matches a summons to AFLOW's search API, fetched as a dataset", _aflow)
    parser.add_argument("summons", help='as "species(B,Ta),nspecies(2)"; what the import needs is added')
    parser.add_argument("--name", default="")
    parser.add_argument("--dft-type", default="PAW_PBE", help='entries of other types are left out; "" takes all')
    parser.add_argument("--count", action="store_true", help="only ask how many entries match")
    add_detach(parser)
    parser = add(
        parts, shared, "prototypes", "decorate AFLOW's prototypes with elements, relax, keep as a dataset", _made
    )
    parser.add_argument("--elements", nargs="+", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--atoms", type=pair, default=(4, 20), help="cell sizes, as 4-20")
    parser.add_argument("--potential", choices=["m3gnet", "chgnet"], default="", help="default: the best one here")
    parser.add_argument("--relax", choices=["volume", "full", "none"], default="full", help="what is relaxed")
    parser.add_argument("--also", nargs="*", choices=["m3gnet", "chgnet"], default=[], help="energies by these too")
    parser.add_argument("--max-formulas", type=int)
    parser.add_argument("--whole", nargs="*", default=[], help="systems of which every formula is taken: B-Ta-W")
    parser.add_argument("--min-polymorphs", type=int, default=1, help="only formulas that have so many prototypes")
    parser.add_argument("--seed", type=int, default=0)
    add_detach(parser)
    parser = add(parts, shared, "export", "a dataset as JSON lines (.jsonl, .jsonl.gz) or .parquet", _export)
    parser.add_argument("name")
    parser.add_argument("file", type=Path)
    parser.add_argument("--tensors", action="store_true", help="as the one tensor file that training elsewhere reads")
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="with --tensors: fit pairs for modification ahead (ten milliseconds a pair)",
    )
    parser.add_argument("--processes", type=int, default=1, help="cores to fit pairs on")
    add(parts, shared, "list", "all datasets", _list)
    add(parts, shared, "show", "one dataset", _show).add_argument("name")
    add(parts, shared, "delete", "a dataset that no model learned from", _delete).add_argument("name")


def _add_build(parts: Any, shared: argparse.ArgumentParser) -> None:
    parser = add(parts, shared, "build", "a dataset of imports, with filters", _build)
    parser.add_argument("imports", nargs="+", metavar="IMPORT", help="names of imports or datasets")
    parser.add_argument("--name", required=True)
    parser.add_argument(
        "--like", metavar="DATASET", help="begin with this dataset's recipe; what is given here replaces it"
    )
    parser.add_argument("--method", nargs="+", help="energy method; more than one mixes them, the first found is taken")
    parser.add_argument("--atoms", type=pair, help="cell sizes, as 4-60")
    parser.add_argument("--energy", nargs=2, type=float, metavar=("LOW", "HIGH"), help="formation energy in eV/atom")
    parser.add_argument("--elements", nargs="+", help="only structures of these elements")
    parser.add_argument("--without", nargs="+", help="no structures with these elements")
    parser.add_argument("--space-group", nargs="+", type=int, dest="groups")
    parser.add_argument("--min-share", type=float, help="drop elements and space groups rarer than this share")
    parser.add_argument("--min-polymorphs", type=int, help="drop formulas with fewer structures")
    parser.add_argument("--drop-suspicious", action="store_const", const=False, dest="suspicious")
    parser.add_argument("--drop-duplicates", action="store_const", const=False, dest="duplicates")
    parser.add_argument("--split", type=float, help="share of the formulas for validation (0.05), drawn anew")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--new-split", action="store_const", const=False, dest="own_split", help="not the files' own")
    add_detach(parser)


def _build(asked: argparse.Namespace) -> dict[str, Any]:
    from core.data.recipe import Recipe, check_recipe
    from core.workflows.context import UserError
    from core.workflows.datasets import BuildParams, check_new_name, get_dataset, recipe_of

    base = recipe_of(get_dataset(asked.like).recipe) if asked.like else Recipe()
    given = {"methods": asked.method and tuple(asked.method)}
    names = ("atoms", "energy", "elements", "without", "groups", "min_share", "suspicious", "duplicates")
    given |= {name: getattr(asked, name) for name in (*names, "min_polymorphs", "split", "seed", "own_split")}
    chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None}
    if {"split", "seed"} & set(chosen):
        chosen.setdefault("own_split", False)  # a split that was asked for is a new one
    values: dict[str, Any] = {**asdict(base), **chosen}
    check_new_name(asked.name)
    try:
        check_recipe(Recipe(**values))
    except ValueError as error:
        raise UserError(str(error)) from error
    params = BuildParams(**values, imports=tuple(asked.imports), name=asked.name)
    result = run_job("build", f"Build {asked.name}", params, "io", asked.detach)
    if not is_json(asked) and "structures" in result:
        _show_stages(result["stages"])
        print(f"{result['structures']:,} structures of {result['formulas']:,} formulas are the dataset {asked.name}")
    return result


STAGE_KEYS = ("structures", "formulas", "elements", "groups")


def _show_stages(stages: list[dict[str, Any]]) -> None:
    """What each filter left, as a table."""
    from core.data.recipe import WORDS

    if stages:
        headings = ["after", "structures", "formulas", "elements", "space groups"]
        rows = [[WORDS.get(s["name"], s["name"]), *(s[k] for k in STAGE_KEYS)] for s in stages]
        table(headings, rows)


def _plainly(value: Any) -> Any:
    """Counts and ranges as a person writes them."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return " to ".join(f"{v:.4g}" for v in value)
    return value


def _aflow(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.aflow import AflowParams, count_entries
    from core.workflows.datasets import check_new_name

    if asked.count:
        count = count_entries(asked.summons)
        if not is_json(asked):
            print(f"{count:,} entries match")
        return {"matching": count}
    check_new_name(asked.name)
    params = AflowParams(asked.summons, asked.name, asked.dft_type)
    result = run_job("aflow", f"AFLOW {asked.name}", params, "io", asked.detach)
    _say_taken(asked, result)
    return result


def _say_taken(asked: argparse.Namespace, result: dict[str, Any]) -> None:
    if not is_json(asked) and "structures" in result:
        print(f"{result['structures']:,} structures are the dataset {asked.name}; {result['skipped']:,} rows skipped")
        for reason, count in result["reasons"].items():
            print(f"  {count:,} {reason}")


def _import(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.context import UserError
    from core.workflows.datasets import check_new_name
    from core.workflows.imports import ImportParams

    check_new_name(asked.name)
    missing = [f for f in asked.files if not f.is_file()]
    if missing:
        raise UserError(f"There is no file {missing[0]}.")
    params = ImportParams(tuple(str(f.resolve()) for f in asked.files), asked.name, asked.method)
    result = run_job("import", f"Import {asked.name}", params, "io", asked.detach)
    _say_taken(asked, result)
    return result


def _made(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.prototypes import PrototypeParams

    params = PrototypeParams(
        name=asked.name,
        elements=tuple(asked.elements),
        atoms=asked.atoms,
        potential=asked.potential,
        also=tuple(asked.also),
        relax=asked.relax,
        max_formulas=asked.max_formulas,
        whole=tuple(asked.whole),
        min_polymorphs=asked.min_polymorphs,
        seed=asked.seed,
    )
    return run_job("prototypes", f"Prototypes of {' '.join(asked.elements)}", params, detach=asked.detach)


def _export(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.context import UserError
    from core.workflows.dataset_export import export_dataset

    if asked.pairs and not asked.tensors:
        raise UserError("--pairs goes with --tensors: no other file holds them.")
    count = export_dataset(asked.name, asked.file, asked.tensors, asked.pairs, asked.processes)
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
        table(["", ""], [[k, _plainly(v)] for k, v in values.items() if k not in ("space_groups", "stages")])
        _show_stages(found.summary.get("stages", []))
    return {**values, "recipe": found.recipe}


def _delete(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.datasets import delete_dataset

    delete_dataset(asked.name)
    if not is_json(asked):
        print(f"{asked.name} is deleted")
    return {"deleted": asked.name}
