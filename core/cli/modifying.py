"""`modify`: a structure of a file towards a more stable polymorph."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import add, is_json, run_job, table
from core.cli.generating import METHODS, add_after, add_sampling, chain_of, print_missing, take_home

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from core.crystals import Crystals


def add_command(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = add(commands, shared, "modify", "a given structure towards a more stable polymorph", _modify)
    parser.add_argument("--model", required=True, help=METHODS)
    parser.add_argument("file", type=Path, help="a CIF, POSCAR (CONTCAR) or extended XYZ, told apart by what is in it")
    parser.add_argument("--structure", type=int, default=1, metavar="N", help="of a file with several; default: 1")
    parser.add_argument("--ordering", type=int, metavar="N", help="of a disordered structure, 1 is the lowest")
    parser.add_argument(
        "--mend", nargs="+", choices=["p1", "hydrogen", "merge"], default=[],
        help="p1: the listed atoms are all of them; hydrogen: deuterium is H; merge: atoms of one element under 0.5 Å",
    )  # fmt: skip
    cell = parser.add_mutually_exclusive_group()
    cell.add_argument("--primitive", action="store_true", help="reduce it to its primitive cell first")
    cell.add_argument("--conventional", action="store_true", help="take its conventional cell")
    parser.add_argument(
        "--space-group", nargs="*", default=[], help="numbers, ranges, symbols, crystal systems: 12 6-10 Fm-3m cubic"
    )
    parser.add_argument("--energy-change", nargs="*", type=float, default=[], help="eV/atom, negative is more stable")
    parser.add_argument(
        "--cells", nargs="+", type=int, default=[1], metavar="N",
        help="cell size of the result, in starts: 1 2 asks for as many atoms as the start has, and for twice as many",
    )  # fmt: skip
    add_sampling(parser)
    add_after(parser)


def _modify(asked: argparse.Namespace) -> dict[str, Any]:
    from core.data.starts import group_of
    from core.export.bundle import cif_text
    from core.workflows.modify import ModifyParams, check_cells, check_size, modifier, parse_start, plan, sites_of
    from core.workflows.starts import read_file

    text, name = read_file(asked.file)
    model = modifier(asked.model, asked.sampler)
    most = sites_of(model)
    structure = _start(asked, text, name, most)
    check_size(len(structure), asked.file.name, most)
    check_cells(asked.cells, len(structure), asked.file.name, most)
    params = ModifyParams(
        asked.model,
        cif_text(structure, {}),
        asked.file.name,
        _groups(asked.space_group),
        tuple(asked.energy_change),
        asked.count,
        asked.steps or model.about.steps,
        asked.seed,
        asked.sampler,
        tuple(asked.cells),
        **chain_of(asked),
    )
    start = parse_start(params.cif, params.name)
    crystal = _check_plan(plan, params, start)
    model.check([crystal.formula(0)], params.space_groups, [crystal])
    if not is_json(asked):
        print(f"{start.formula}: {start.natoms} atoms, space group {group_of(structure)}", file=sys.stderr)
    result = run_job("modify", f"Modify {asked.file.name}", params, asked.device)
    if not is_json(asked) and result.get("start"):
        _print_start(result["start"])
    if not is_json(asked):
        print_missing(result)
    return take_home(asked, result)


def _groups(words: list[str]) -> tuple[int, ...]:
    from core.data.space_groups import SpaceGroupError, parse_groups
    from core.workflows.context import UserError

    try:
        return parse_groups(" ".join(words))
    except SpaceGroupError as error:
        raise UserError(str(error)) from error


def _check_plan(plan: Callable[..., Any], params: Any, start: Any) -> Crystals:
    """The start. Raises UserError for wishes that cannot be."""
    from core.crystals import unpack_cells

    crystal = unpack_cells([start.cell])
    plan(params, start, crystal)
    return crystal


def _start(asked: argparse.Namespace, text: str, name: str, most: int) -> Structure:
    """The structure that the file and the options name. Raises UserError."""
    from core.data.starts import in_cell
    from core.workflows.context import UserError
    from core.workflows.starts import order, read_text

    found = read_text(text, name, tuple(asked.mend))
    if not 1 <= asked.structure <= len(found):
        raise UserError(f"{name} holds {len(found)} structures; --structure {asked.structure} is none of them.")
    chosen = found[asked.structure - 1]
    structure = chosen.structure
    if structure is not None and "order" in chosen.remedies:
        ways = order(structure, most)
        if asked.ordering is None:
            _print_orderings(asked, ways.found)
            raise UserError(f"{name}: {chosen.problem} Choose one of its {len(ways.found)} orderings by --ordering N.")
        if not 1 <= asked.ordering <= len(ways.found):
            raise UserError(f"{name} has the orderings 1 to {len(ways.found)}.")
        structure = ways.found[asked.ordering - 1].structure
    elif structure is None or chosen.problem:
        remedies = [r for r in chosen.remedies if r in ("p1", "hydrogen", "merge")]
        more = f" With --mend {' '.join(remedies)} it can be read." if remedies else ""
        raise UserError(f"{name}: {chosen.problem}{more}")
    for note in () if is_json(asked) else chosen.notes:
        print(note, file=sys.stderr)
    kind = "primitive" if asked.primitive else "conventional" if asked.conventional else "given"
    smaller = len(in_cell(structure, "primitive")) if len(structure) > most else 0
    if kind == "given" and smaller and smaller <= most:
        raise UserError(
            f"{name} has {len(structure)} atoms in its cell; {most} can be modified. Its primitive cell has {smaller}: "
            "take it by --primitive."
        )
    return in_cell(structure, kind)


def _print_orderings(asked: argparse.Namespace, found: Any) -> None:
    if is_json(asked):
        return
    rows = [
        [i, o.structure.formula, len(o.structure), "" if o.electrostatic is None else f"{o.electrostatic:.3f}"]
        for i, o in enumerate(found, 1)
    ]
    table(["ordering", "formula", "atoms", "electrostatics (eV/atom above the lowest)"], rows)


def _print_start(start: dict[str, Any]) -> None:
    numbers = {"as given": start.get("drawn"), "relaxed": start.get("relaxed")}
    known = ", ".join(f"{k} {v:.4f} eV/atom" for k, v in numbers.items() if v is not None)
    print(f"The start by {start['method']}: {known or start['status']}")
