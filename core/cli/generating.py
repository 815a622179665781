"""`generate`: the whole chain, from conditions to candidates on a hull, and the paper's experiments."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import add, add_device, check_usable, is_json, new_folder, run_job, table
from core.workflows.context import UserError

if TYPE_CHECKING:
    from core.workflows.generate import GenerateParams

_ABOUT = (
    "New crystals of a composition: drawn, judged (distances, volume, space group, repeats, known structures) and, "
    "with --relax, relaxed and placed on a hull, as one job. Energies are on the scale of the method that the model "
    "learned from; ladders are the paper's, of 21 energies down from a hull: 1 in steps of 0.01 eV/atom, 2 in steps of "
    "0.1, 3 from 1 eV below it in steps of 0.01. A hull of another method lends its ladder as the same offsets from "
    "a hull of the model's method."
)


METHODS = (
    "a model, or substitution:DATASET (known structures of a dataset with their elements exchanged, the likeliest "
    "first, fewer where fewer are known), refine:MODEL:DATASET (those, moved by a model from there), or "
    "best:MODEL:DATASET (those where they are likely, else the model's own)"
)

SITES = "held candidates start on sites as structures of this dataset take, of the same stoichiometry and group"


def add_command(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = add(commands, shared, "generate", "new crystals of a composition", _generate)
    parser.description = _ABOUT
    parser.add_argument("--model", required=True, help=METHODS)
    parser.add_argument("--formula", nargs="+", default=[], help="cell content: Ta2W2B12 is two units of TaWB6")
    parser.add_argument("--units", nargs="+", type=int, default=[], help="formula units in a cell, instead of as typed")
    parser.add_argument("--up-to", type=int, metavar="ATOMS", help="every number of formula units up to so many atoms")
    parser.add_argument(
        "--space-group", nargs="*", default=[], help="numbers, ranges, symbols, crystal systems: 12 6-10 Fm-3m cubic"
    )
    parser.add_argument(
        "--free-group", action="store_true",
        help="do not hold the space group: by default each candidate starts on random sites of it and keeps it",
    )  # fmt: skip
    parser.add_argument("--sites", default="", metavar="DATASET", help=SITES)
    parser.add_argument("--energy", nargs="*", type=float, default=[], help="formation energies, eV/atom")
    parser.add_argument(
        "--ladder", nargs="+", type=int, default=[], choices=[1, 2, 3], help="energies down from a hull"
    )
    parser.add_argument("--every", type=int, default=1, help="of a ladder's 21 energies every so manyth")
    parser.add_argument("--hull-system", default="", help="the ladder's hull: B-Ta-W; default: of the model's method")
    parser.add_argument("--hull-method", default="", help="its energy method")
    parser.add_argument("--experiment", choices=["ta-w-b"], default="", help="the paper's: 3,591 candidates of Ta-W-B")
    add_sampling(parser)
    parser.set_defaults(count=None)  # 8, of an experiment 1
    add_after(parser)


def add_after(parser: argparse.ArgumentParser) -> None:
    """What happens to candidates, as `chain_of` reads it: `generate` and `modify` share it."""
    after = parser.add_argument_group("after drawing")
    after.add_argument("--compare", nargs="+", default=[], help="datasets to be new against, beside the model's own")
    after.add_argument("--symmetrise", action="store_true", help="onto the space group asked for, within a tolerance")
    after.add_argument(
        "--relax", nargs="?", const="", choices=["", "m3gnet", "chgnet"], metavar="POTENTIAL",
        help="m3gnet or chgnet; alone: the best one here. Relaxed is all that meets the field's criterion (no atoms "
        "closer than 0.5 Å), valid or not",
    )  # fmt: skip
    after.add_argument("--positions-only", action="store_true", help="leave the cell as it is")
    after.add_argument("--as-drawn", action="store_true", help="take the potential's energy without a relaxation")
    after.add_argument("--keep-symmetry", action="store_true", help="keep the space group while relaxing")
    after.add_argument("--fmax", type=float, default=0.05, help="eV/Å")
    after.add_argument("--relax-steps", type=int, default=500)
    after.add_argument("--processes", type=int, default=1, help="cores to share the relaxations")
    after.add_argument("--draws", type=int, default=1, help="crystals drawn for each candidate; the best one is kept")
    after.add_argument("--rank-steps", type=int, default=0, help="of relaxation before that; 0: the volume")
    after.add_argument("--hull", default="", help="to place on: its chemical system, or its number; by that potential")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """What `generate` and `modify` share."""
    parser.add_argument("--count", type=int, default=8, help="candidates per combination of conditions")
    parser.add_argument("--steps", type=int, help="of the sampler; default: as many as are usual for the method")
    parser.add_argument("--sampler", default="", help="euler or heun, ddpm or ddim; default: the model's own")
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    parser.add_argument("--out", type=Path, help="a folder for candidates.csv, CIFs and manifest.json")


def _generate(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.generate import check_params

    params = check_params(_params(asked))
    title = "The paper's experiments" if params.experiment else f"Generate {' '.join(asked.formula)}"
    result = run_job("generate", title[:200], params, asked.device)
    if result["status"] == "done" and not is_json(asked):
        _report(result)
    result = take_home(asked, result)
    return _experiment(asked, params, result) if params.experiment else result


def _params(asked: argparse.Namespace) -> GenerateParams:
    """What the options ask for. Raises UserError."""
    from core.data.space_groups import SpaceGroupError, parse_groups
    from core.workflows.compositions import cells_of
    from core.workflows.experiments import FORMULAS, PAPER_GROUPS
    from core.workflows.generate import GenerateParams
    from core.workflows.methods import find_method

    if not asked.formula and not asked.experiment:
        raise UserError("Name a composition with --formula, such as Ta1W1B6, or an --experiment.")
    try:
        groups = parse_groups(" ".join(asked.space_group))
    except SpaceGroupError as error:
        raise UserError(str(error)) from error
    check_usable(asked.device)
    params = GenerateParams(
        asked.model,
        tuple(cell.formula for cell in cells_of(asked.formula, asked.units, asked.up_to)),
        groups,
        tuple(asked.energy),
        8 if asked.count is None else asked.count,
        asked.steps or find_method(asked.model).about.steps,
        asked.seed,
        asked.sampler,
        ladders=tuple(sorted(set(asked.ladder))),
        every=asked.every,
        ladder_hull=_ladder_hull(asked),
        hold_group=not asked.free_group,
        sites=asked.sites,
        **chain_of(asked),
    )
    if not asked.experiment:
        return params
    if asked.formula or asked.energy or asked.ladder:
        raise UserError("An experiment has its own compositions and energies: leave --formula, --energy, --ladder out.")
    return replace(
        params, formulas=FORMULAS, space_groups=groups or PAPER_GROUPS, ladders=(1, 2, 3),
        count=1 if asked.count is None else asked.count, experiment=asked.experiment,
    )  # fmt: skip


def _ladder_hull(asked: argparse.Namespace) -> int | None:
    from core.workflows.hulls import get_hull

    if not asked.hull_system:
        return None
    return get_hull(asked.hull_system, asked.hull_method).row.id


def chain_of(asked: argparse.Namespace) -> dict[str, Any]:
    """The fields of `core.workflows.chain.Chain`. Raises UserError."""
    from core.workflows.hulls import get_hull
    from core.workflows.relax import method_of

    potential = "" if asked.relax is None and (asked.as_drawn or asked.positions_only) else asked.relax
    found: dict[str, Any] = {
        "symmetrise": asked.symmetrise,
        "compare": tuple(asked.compare),
        "potential": potential,
        "relax": "none" if asked.as_drawn else "positions" if asked.positions_only else "cell",
        "fmax": asked.fmax,
        "relax_steps": asked.relax_steps,
        "keep_symmetry": asked.keep_symmetry,
        "processes": asked.processes,
        "draws": asked.draws,
        "rank_steps": asked.rank_steps,
    }
    if asked.hull:
        if potential is None:
            raise UserError("Without energies nothing is placed on a hull: add --relax or --as-drawn.")
        number = asked.hull.isdecimal() and len(asked.hull) < 10
        found["hull"] = int(asked.hull) if number else get_hull(asked.hull, method_of(potential)).row.id
    return found


def _report(result: dict[str, Any]) -> None:
    """What came of the chain, in lines."""
    from core.workflows.chain import new_of

    counted = f"{result['candidates']} candidates: {result['valid']} valid, {result['unique']} unique"
    print(f"{counted}, {new_of(result['novel'])}")
    print_missing(result)
    if "method" in result:
        words = [f"{result['relaxed']} relaxed" if result["relaxed"] else "", f"{result['failed']} failed"]
        words.insert(1, f"{result['as_drawn']} energies as drawn" if result["as_drawn"] else "")
        print(f"{result['method']}: {', '.join(w for w in words if w)}; {result['below_hull']} below the hull")
        if result["lowest"]:
            rows = [
                (r["formula"], r["series"] or "–", f"{1000 * r['above']:.1f}", r["name"]) for r in result["lowest"][:20]
            ]
            table(("composition", "energies", "meV/atom above the hull", "candidate"), rows)
        if result["unplaced"]:
            print(f"not placed, without a hull by {result['method']}: {', '.join(result['unplaced'])}")


def print_missing(result: dict[str, Any]) -> None:
    """Where the method had fewer crystals than were asked for."""
    if missing := result.get("missing"):
        print(f"{missing} more were asked for: there are no more templates for them")


def _experiment(asked: argparse.Namespace, params: GenerateParams, result: dict[str, Any]) -> dict[str, Any]:
    """The experiment's table over every run in the store, beside the candidates of this one."""
    from dataclasses import asdict

    from core.workflows.experiments import as_csv, table_of

    found = table_of(params.experiment)
    if not is_json(asked) and found:
        print("over all runs of this experiment:")
        rows = [
            (
                f.model,
                f.series,
                f.formula,
                f"{1000 * f.above:.1f}",
                f.name,
                "relaxed" if f.relaxed else "as drawn",
                f.hull,
            )
            for f in found
        ]
        table(("model", "ladder", "composition", "meV/atom above", "candidate", "state", "hull"), rows)
    if asked.out and result["status"] == "done":
        (asked.out / "experiments.csv").write_text(as_csv(found))
    return result | {"table": [asdict(f) for f in found]}


def take_home(asked: argparse.Namespace, result: dict[str, Any]) -> dict[str, Any]:
    """Write the candidates of a finished run where --out says."""
    from core.workflows.export import bundle_folder
    from core.workflows.generate import candidates_of

    if asked.out and result["status"] == "done":
        bundle_folder(candidates_of(result["job"]), new_folder(asked.out))
        if not is_json(asked):
            print(f"{result['candidates']} candidates in {asked.out}")
    return result
