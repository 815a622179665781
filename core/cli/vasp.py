"""`vasp write`, `vasp read`: candidates to VASP and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli.common import Console, add, is_json, table


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    vasp = commands.add_parser("vasp", help="candidates to VASP and back").add_subparsers(required=True)
    parser = add(vasp, shared, "write", "one folder of VASP input per candidate", _write)
    parser.add_argument(
        "--candidates",
        nargs="+",
        required=True,
        metavar="ID",
        help="12-3; 12 is all of run 12 that are valid or relaxed",
    )
    parser.add_argument("--set", choices=["paper", "mp"], default="paper", help="settings (default: paper)")
    parser.add_argument("--as-generated", action="store_true", help="cells as generated, not as relaxed")
    parser.add_argument("--method", default="", help="cells as relaxed with this method; default: the latest")
    parser.add_argument("--no-potcar", action="store_true", help="names of pseudopotentials only")
    parser.add_argument("--elements", action="store_true", help="a folder for each element too, as reference")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR|ZIP")
    parser = add(vasp, shared, "read", "results: vasprun.xml, OUTCAR (.gz), zips of folders", _read)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--references", type=Path, help="eV/atom of the elements: JSON or CSV")


def _write(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.vasp import WriteParams, candidate_ids, write_vasp_to

    params = WriteParams(asked.set, not asked.as_generated, asked.method, not asked.no_potcar, asked.elements)
    count = write_vasp_to(candidate_ids(asked.candidates), params, asked.out)
    if not is_json(asked):
        print(f"{count} candidates for VASP in {asked.out}")
    return {"candidates": count, "out": str(asked.out), "set": asked.set}


def _read(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.vasp_results import ReadParams, read_vasp

    files = [*asked.files, *([asked.references] if asked.references else [])]
    result = read_vasp(ReadParams(tuple(str(f) for f in files)), Console())
    if not is_json(asked):
        headings = ["candidate", "formula", "method", "status", "eV/atom", "formation", "note", "file"]
        table(headings, [[*_row(r), r["note"], r["file"]] for r in result["results"]])
        for name, sentence in result["problems"]:
            print(f"{name}: {sentence}")
        print("\n".join(result["notes"]))
        print(f"{result['stored']} results kept, {result['recounted']} counted again from new references")
    return result


def _row(result: dict[str, Any]) -> list[Any]:
    numbers = ["" if result[k] is None else f"{result[k]:.4f}" for k in ("energy", "formation")]
    return [result["candidate"], result["formula"], result["method"], result["status"], *numbers]
