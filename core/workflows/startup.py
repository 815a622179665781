"""What is checked before the app serves its first page; every fault in one sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches

from core.settings import VARIABLES, settings
from core.workflows.context import UserError
from core.workflows.store import made_var, store


def check_start() -> list[str]:
    """Open the store; returns warnings. Raises SettingsError or UserError where the app cannot run."""
    found = settings()
    try:
        probe = made_var() / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"SUBHULL_VAR is {found.var}, which cannot be written: {error.strerror or error}.") from error
    store()
    return unknown_settings(os.environ)


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    said = []
    for name in sorted(n for n in environment if n.startswith("SUBHULL_") and n not in VARIABLES):
        near = get_close_matches(name.removeprefix("SUBHULL_"), [v.removeprefix("SUBHULL_") for v in VARIABLES], 1, 0.7)
        said.append(f"{name} is no setting of this app" + (f": is SUBHULL_{near[0]} meant?" if near else "."))
    return said
