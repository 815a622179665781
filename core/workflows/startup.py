"""What is checked before the app serves its first page; every fault in one sentence."""

from __future__ import annotations

import os

import requests

from core.settings import accounts, settings, unknown_settings
from core.workflows import artefacts
from core.workflows.context import UserError
from core.workflows.store import made_var, store

ANSWER_S = 3.0


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
    return [*unknown_settings(os.environ), *_not_answering()]


def _not_answering() -> list[str]:
    """A sentence for each thing elsewhere that is configured and cannot be used now: it may be back in a minute."""
    said = []
    here = accounts()
    if here is not None:
        try:
            requests.get(here.metadata_url, timeout=ANSWER_S).raise_for_status()
        except requests.RequestException as error:
            why = f"{here.metadata_url} does not answer ({type(error).__name__})"
            said.append(f"SUBHULL_OIDC_ISSUER: {why}. Nobody can sign in until it does.")
    try:
        artefacts.check()
    except (OSError, UserError) as error:
        said.append(f"SUBHULL_ARTEFACTS: {str(error).rstrip('.')}. Jobs on clusters fail until they can.")
    return said
