"""`hull …`: import, build, fetch, evaluate again, show; place candidates."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import add, add_detach, add_device, is_json, run_job, table
from core.workflows.context import UserError

if TYPE_CHECKING:
    from core.workflows.hulls import HullView


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    hull = commands.add_parser("hull", help="make and show hulls, place candidates").add_subparsers(required=True)
    parser = add(hull, shared, "import", "a hull from a file: AFLOW's formats, JSON or CSV", _import)
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", default="", help="of the hull; default: what the file says")
    parser.add_argument("--method", default="", help="whose energies, where the file does not say")
    parser = add(hull, shared, "build", "a hull from a dataset, of a system and its sub-systems", _build)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--system", required=True)
    parser.add_argument("--method", default="", help="whose energies; default: the dataset's")
    parser.add_argument("--name", default="", help="of the hull; default: the dataset's")
    add_detach(parser)
    parser = add(hull, shared, "aflow", "a hull of everything AFLOW has of a system", _aflow)
    parser.add_argument("system")
    parser.add_argument("--name", default="", help="of the hull; default: AFLOW")
    add_detach(parser)
    _add_evaluate(hull, shared)
    add(hull, shared, "list", "every hull that is here", _list)
    parser = add(hull, shared, "show", "the phases of a hull", _show)
    parser.add_argument("system")
    _add_choice(parser)
    parser = add(hull, shared, "export", "a hull as JSON, which `hull import` takes, or as CSV", _export)
    parser.add_argument("system")
    parser.add_argument("file", type=Path, help="its name ends in .json, .json.gz or .csv")
    _add_choice(parser)
    parser = add(hull, shared, "place", "the candidates of a folder (candidates.csv) on a hull", _place)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--system", required=True)
    _add_choice(parser)


def _add_evaluate(hull: Any, shared: argparse.ArgumentParser) -> None:
    help_ = "a hull's phases again with a potential, so that its candidates can be compared"
    parser = add(hull, shared, "evaluate", help_, _evaluate)
    parser.add_argument("system")
    _add_choice(parser)
    parser.add_argument("--potential", choices=["m3gnet", "chgnet"], default="", help="default: the best one here")
    parser.add_argument("--as-they-are", action="store_true", help="do not relax the phases first")
    parser.add_argument("--near", type=float, default=0.05, help="phases so far above the hull too, eV/atom")
    parser.add_argument("--aflow", action="store_true", help="fetch structures that are not here from AFLOW")
    parser.add_argument("--new-name", default="", help="of the new hull")
    add_device(parser)
    add_detach(parser)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", default="", help="whose energies, where there are several hulls")
    parser.add_argument("--name", default="", help="of the hull, where a method has several")


def _import(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.hulls import import_hull

    view = import_hull(asked.file, asked.name, asked.method)
    if not is_json(asked):
        _print_head(view)
    return _result(view)


def _build(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.hulls import as_system
    from core.workflows.hulls_build import BuildHullParams, check_build

    system = as_system(asked.system)
    params = BuildHullParams(asked.dataset, system, asked.method, asked.name)
    check_build(params)
    return _tell(asked, run_job("hull-build", f"Hull of {system} from {asked.dataset}", params, "io", asked.detach))


def _aflow(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.hulls import as_system
    from core.workflows.hulls_aflow import AflowHullParams

    system = as_system(asked.system)
    params = AflowHullParams(system, asked.name)
    return _tell(asked, run_job("hull-aflow", f"Hull of {system} from AFLOW", params, "io", asked.detach))


def _evaluate(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.hulls_evaluate import EvaluateHullParams, check_evaluation

    view = _chosen(asked)
    params = EvaluateHullParams(
        view.row.id, asked.potential, not asked.as_they_are, asked.near, aflow=asked.aflow, name=asked.new_name
    )
    check_evaluation(params)
    title = f"Hull of {view.row.chemical_system} again"
    result = _tell(asked, run_job("hull-evaluate", title, params, asked.device, asked.detach))
    if result["status"] == "done" and not is_json(asked):
        columns = ["formula", "by " + view.row.method, "above", "by " + result["method"], "above", "phase"]
        keys = ("formation_old", "above_old", "formation_new", "above_new")
        table(columns, [[r["formula"], *(f"{r[k]:.4f}" for k in keys), r["label"]] for r in result["compared"][:40]])
    return result


def _tell(asked: argparse.Namespace, result: dict[str, Any]) -> dict[str, Any]:
    """What a job made, in words; nothing where it is only queued."""
    if result.get("status") == "done" and not is_json(asked):
        from core.workflows.hulls import get_hull_by_id

        _print_head(get_hull_by_id(result["hull_id"]))
    return result


def _list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.hulls import list_hulls

    hulls = list_hulls()
    if not is_json(asked):
        table(
            ["system", "energies", "name", "source"], [[h.chemical_system, h.method, h.name, h.source] for h in hulls]
        )
    return {"hulls": [{"system": h.chemical_system, "method": h.method, "name": h.name} for h in hulls]}


def _show(asked: argparse.Namespace) -> dict[str, Any]:
    view = _chosen(asked)
    if not is_json(asked):
        _print_head(view)
        stable = view.hull.stable()
        table(["formula", "eV/atom", "phase"], [[p.formula, f"{p.formation:.4f}", p.label] for p in stable])
    return _result(view)


def _export(asked: argparse.Namespace) -> dict[str, Any]:
    import gzip

    from core.workflows.hulls_export import hull_csv, hull_json

    view, name = _chosen(asked), asked.file.name.lower()
    if not name.endswith((".json", ".json.gz", ".csv")):
        raise UserError(f"{asked.file.name}: name a file that ends in .json, .json.gz or .csv.")
    text = (hull_csv if name.endswith(".csv") else hull_json)(view).encode()
    try:
        asked.file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    except OSError as error:
        raise UserError(f"{asked.file} cannot be written: {error.strerror}.") from error
    return {"file": str(asked.file), "entries": len(view.entries)}


def _chosen(asked: argparse.Namespace) -> HullView:
    from core.workflows.hulls import get_hull

    return get_hull(asked.system, asked.method, asked.name)


def _print_head(view: HullView) -> None:
    row = view.row
    count = len(view.hull.stable())
    print(f"{row.chemical_system} by {row.method} ({row.name}): {len(view.entries):,} phases, {count} on the hull")
    print(f"From {row.source}, {view.date}." + (f" {view.about}" if view.about else ""))
    for warning in view.warnings:
        print(f"! {warning}")
    if view.error:
        print(view.error.sentence)


def _result(view: HullView) -> dict[str, Any]:
    from core.workflows.hulls_build import hull_result

    result = hull_result(view.row.id)
    return result | {"source": view.row.source, "date": view.date, "mean_absolute_error": _mae(view)}


def _mae(view: HullView) -> float | None:
    return view.error.mae if view.error else None


def _place(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.hulls import get_hull

    path = asked.folder / "candidates.csv"
    if not path.is_file():
        raise UserError(f"{asked.folder} holds no candidates.csv.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    methods = {row["energy_method"] for row in rows if row.get("energy") and row.get("energy_method")}
    view = get_hull(asked.system, asked.method or (methods.pop() if len(methods) == 1 else ""), asked.name)
    placed, refused = [], []
    for row in rows:
        try:
            placed.append(_place_row(view, row))
        except ValueError as error:
            refused.append(f"{row.get('id', '?')}: {error}")
    placed.sort(key=lambda p: p["e_above_hull"])
    if not is_json(asked):
        lines = [
            [p["id"], p["formula"], f"{p['e_above_hull']:.4f}", p["reaction"] or f"against {p['against'][0][0]} itself"]
            for p in placed
        ]
        table(["id", "formula", "eV/atom above hull", "reaction"], lines)
        print("\n".join([view.error.sentence, *refused] if view.error else refused))
    name = f"{view.row.chemical_system} {view.row.method}"
    return {"placed": placed, "refused": refused, "hull": name, "mean_absolute_error": _mae(view)}


def _place_row(view: HullView, row: dict[str, Any]) -> dict[str, Any]:
    """Where one line of candidates.csv stands. Raises ValueError with a sentence where it cannot."""
    from core.data.formulas import parse_formula

    if row.get("energy_method") != view.row.method or not row.get("energy"):
        raise ValueError(f"no energy by {view.row.method}; relax it with that potential first")
    counts = {s: float(n) for s, n in parse_formula(row["formula"]).items()}
    place = view.hull.place(counts, float(row["energy"]))
    return {
        "id": row.get("id", "?"),
        "formula": row["formula"],
        "e_above_hull": place.above,
        "against": place.against,
        "reaction": place.reaction,
        "reaction_energy": place.reaction_energy,
    }
