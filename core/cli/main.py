"""Read the command line and run one command. Errors are one sentence; `--json` prints one JSON object last."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import DBAPIError

from core.settings import SettingsError, unknown_settings
from core.workflows.context import UserError
from db.session import in_words


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 where the work failed, 2 where the command cannot be done as asked."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("core.jobs.tick").setLevel(logging.CRITICAL)  # what became of a job stands in its row
    parser = build_parser()
    asked = parser.parse_args(arguments)
    if not hasattr(asked, "run"):
        parser.print_help()
        return 2
    for warning in unknown_settings(os.environ):
        print(warning, file=sys.stderr)
    try:
        result = _run(asked)
    except (UserError, SettingsError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except DBAPIError as error:
        print(in_words(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1
    if asked.json:
        print(json.dumps(result, default=str))
    return 1 if result.get("status") in ("failed", "lost", "cancelled") else 0


def _run(asked: argparse.Namespace) -> dict[str, Any]:
    if asked.needs_store or getattr(asked, "candidates", None):
        from core.jobs.tick import tick
        from core.workflows import starter

        starter.install()
        tick()
    result: dict[str, Any] = asked.run(asked)
    return result


def build_parser() -> argparse.ArgumentParser:
    """All commands, as DESIGN lists them."""
    from core.cli import backup, datasets, design, evaluation, hulls, others, people, repeat, vasp

    parser = argparse.ArgumentParser("./run cli", description="Subhull without a browser.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object last")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (datasets, design, evaluation, hulls, others, people, repeat, vasp, backup):
        module.add_commands(commands, shared)
    return parser
