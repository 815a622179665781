"""`evaluate`, `match`: how good a model is, and whether structures are the same."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli.common import add, add_detach, add_device, duration, is_json, pair, run_job, table
from core.cli.generating import SITES

TABLES = {"by_size": "atoms in the cell", "by_elements": "elements", "by_system": "crystal system"}


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    help_ = "the share of known structures that a model finds"
    parser = add(commands, shared, "evaluate", help_, _evaluate)
    parser.add_argument(
        "--model",
        required=True,
        help="a model, substitution:DATASET, refine:MODEL:DATASET, best:MODEL:DATASET, or start (for modification)",
    )
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE", help="files of structures")
    parser.add_argument("--dataset", default="", help="a dataset instead of files")
    parser.add_argument("--split", default="", help="val or train; without it, all")
    parser.add_argument(
        "--condition", action="append", metavar="A,B",
        help="what is given, of composition, space-group, energy: all by default; the composition always is",
    )  # fmt: skip
    parser.add_argument("--samples", type=int, default=1, help="drawn for each structure")
    parser.add_argument("--matcher", default="paper", help="paper or field; of paper,field the first counts")
    parser.add_argument("--atoms", type=pair, help="smallest and largest cell, 4-20")
    parser.add_argument("--formulas", default="", choices=["", "even", "odd"], help="half of a dataset's formulas")
    parser.add_argument("--limit", type=int, default=0, help="so many structures, drawn by the seed; 0 is all")
    parser.add_argument("--steps", type=int, help="of the sampler; default: as many as are usual for the method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", default="", help="generation or modification, where the model does both")
    parser.add_argument(
        "--hold-group", action="store_true", help="a generator starts on the space group that is given and keeps it"
    )
    parser.add_argument(
        "--rank-by", default="", choices=["", "potential", "m3gnet", "chgnet"],
        help="of several samples, the one that is best by a potential is reported too",
    )  # fmt: skip
    parser.add_argument("--rank-steps", type=int, default=0, help="of relaxation before they are ranked and matched")
    parser.add_argument("--sites", default="", metavar="DATASET", help=SITES)
    add_device(parser)
    add_detach(parser)
    parser = add(commands, shared, "match", "two files of structures, row by row", _match, store=False)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--matcher", choices=["paper", "field"], default="paper")


def _evaluate(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.evaluate import CONDITIONS, EvaluateParams, check_params, usual_steps

    first, *also = (m.strip() for m in asked.matcher.split(","))
    params = EvaluateParams(
        asked.model,
        tuple(str(f.resolve()) for f in asked.data),
        asked.dataset,
        asked.split,
        tuple(c.strip() for c in ",".join(asked.condition or CONDITIONS).split(",") if c.strip()),
        asked.samples,
        first,
        asked.limit,
        asked.steps or usual_steps(asked.model),
        asked.seed,
        asked.task,
        tuple(also),
        asked.atoms or (),
        asked.formulas,
        hold_group=asked.hold_group,
        sites=asked.sites,
        rank_by=asked.rank_by,
        rank_steps=asked.rank_steps,
    )
    check_params(params)
    result = run_job("evaluate", f"Evaluate {asked.model}", params, asked.device, asked.detach)
    if not is_json(asked) and "match_rate" in result:
        show(result)
    return result


def show(result: dict[str, Any]) -> None:
    """A report as a person reads it."""
    rms = "" if result["rms"] is None else f", RMS {result['rms']:.4f} (V/N)^⅓"
    print(
        f"{result['model']} on {result['data']}{' ' + result['split'] if result['split'] else ''}: "
        f"{share(result)} of {result['targets']:,} structures match ({result['matcher']}){rms}"
    )
    if result["task"] == "modification":
        print(f"of {result['structures']:,} structures the lowest of each formula is the target, the others are starts")
    if result["samples"] > 1:
        print(f"with {result['samples']} samples, any of them: {100 * result['match_rate_at_k']:.2f} %")
    if ranked := result.get("ranked"):
        print(f"the one that is first by {result['rank_by']}: {share(ranked)}")
    for name, rates in result.get("also", {}).items():
        within = (
            f"; any of {result['samples']}: {100 * rates['match_rate_at_k']:.2f} %" if result["samples"] > 1 else ""
        )
        print(f"by the matcher {name}: {share(rates)}{within}")
    for key, of in (("in_group", "a space group other than P1"), ("in_group_p1", "P1")):
        if found := result.get(key):
            print(f"{of} asked for: {100 * found['share']:.1f} % of {found['asked']:,} have it")
    print(f"valid: {100 * result['valid']:.1f} % of the samples; given: {', '.join(result['conditions'])}")
    for problem, count in result["problems"].items():
        print(f"{count:,} were not drawn: {problem}")
    for key, heading in TABLES.items():
        print()
        table(
            [heading, "structures", "match, 95 % interval"], [[r["name"], r["targets"], share(r)] for r in result[key]]
        )
    print(f"\n{duration(result['seconds_sampling'])} of sampling, {duration(result['seconds_matching'])} of matching")


def share(row: dict[str, Any]) -> str:
    """ "48.20 % (46.01-50.39)"."""
    low, high = row["ci95"]
    return f"{100 * row['match_rate']:.2f} % ({100 * low:.2f}-{100 * high:.2f})"


def _match(asked: argparse.Namespace) -> dict[str, Any]:
    from core.crystals import to_structures
    from core.evaluation.pool import match_pairs
    from core.workflows.context import UserError

    first, second = (to_structures(_read_all(path)) for path in (asked.first, asked.second))
    if len(first) != len(second):
        raise UserError(f"{asked.first.name} has {len(first)} structures, {asked.second.name} {len(second)}.")
    distances = match_pairs(first, second, asked.matcher)
    found = [d for d in distances if d is not None]
    result = {
        "pairs": len(distances),
        "matched": len(found),
        "match_rate": len(found) / len(distances),
        "rms": sum(found) / len(found) if found else None,
    }
    if not is_json(asked):
        print(f"{len(found)} of {len(distances)} pairs match ({asked.matcher})")
    return result


def _read_all(path: Path) -> Any:
    """Every structure of a file. Raises UserError where one is missing, as the rows would not be pairs any more."""
    from core.workflows.context import UserError
    from core.workflows.relax import read_structures

    _, crystals, problems = read_structures([path])
    if problems:
        place, detail = problems[0]
        raise UserError(
            f"{place}: {detail}. Rows that cannot be read leave no pairs: mend or remove them in both files."
        )
    return crystals
