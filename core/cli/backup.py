"""`backup FILE` and `restore FILE`: the whole store in one archive."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from core.cli.common import add, is_json


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = add(commands, shared, "backup", "the whole store, rows and files, into one archive", _backup, store=False)
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--replace", action="store_true", help="give up the file that is there, once the new one is whole"
    )
    parser = add(commands, shared, "restore", "make the store what an archive holds", _restore, store=False)
    parser.add_argument("file", type=Path)
    parser.add_argument("--replace", action="store_true", help="give up what the store holds now")


def _backup(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.backup import back_up

    manifest = back_up(asked.file, asked.replace, _teller(asked))
    return _report(asked, "Backed up", manifest.rows, len(manifest.files))


def _restore(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.backup import restore

    manifest = restore(asked.file, asked.replace, _teller(asked))
    return _report(asked, "Restored", manifest.rows, len(manifest.files))


def _report(asked: argparse.Namespace, verb: str, rows: dict[str, int], files: int) -> dict[str, Any]:
    if not is_json(asked):
        counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in rows.items() if n)
        print(f"{verb}: {counts or 'an empty store'}; {files:,} files. {asked.file}")
    return {"rows": rows, "files": files, "file": str(asked.file)}


def _teller(asked: argparse.Namespace) -> Any:
    last = [time.monotonic()]

    def tell(what: str) -> None:
        if time.monotonic() - last[0] > 2:
            last[0] = time.monotonic()
            print(what, file=sys.stderr)

    return tell
