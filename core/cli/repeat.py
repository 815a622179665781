"""`repeat`: a run again, as the manifest of its bundle records it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from core.cli.common import add, is_json, new_folder, run_job


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = add(commands, shared, "repeat", "a run again, as manifest.json (or its zip) records it", _repeat)
    parser.add_argument("file", type=Path, metavar="MANIFEST", help="manifest.json of a bundle, or candidates.zip")
    parser.add_argument("--run", default="", dest="number", help="which run, where it records several")
    parser.add_argument("--device", default="", help="default: the one it ran on")
    parser.add_argument("--out", type=Path, help="a folder for candidates.csv, CIFs and manifest.json")


def _repeat(asked: argparse.Namespace) -> dict[str, Any]:
    from core.jobs.kinds import KINDS
    from core.workflows.context import UserError
    from core.workflows.export import bundle_folder
    from core.workflows.generate import candidates_of
    from core.workflows.repeat import recorded_run

    recorded = recorded_run(asked.file, asked.number)
    for note in recorded.notes:
        print(note, file=sys.stderr)
    try:
        params = KINDS[recorded.kind].parse(recorded.params)
    except TypeError as error:
        raise UserError(f"Run {recorded.run} of {asked.file.name} lacks a part of what it was asked.") from error
    result = run_job(recorded.kind, recorded.title, params, asked.device or recorded.device)
    if asked.out and result["status"] == "done":
        bundle_folder(candidates_of(result["job"]), new_folder(asked.out))
        if not is_json(asked):
            print(f"{result['candidates']} candidates in {asked.out}")
    return result
