"""What ships, put into the store once: the starter dataset, its hulls, the trained models."""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path

from core.settings import ASSETS
from core.workflows.acting import THE_APP, acting_as
from core.workflows.context import UserError
from core.workflows.hulls import install_starter_hulls
from core.workflows.imports import ImportParams, import_files
from core.workflows.models import register
from core.workflows.store import folder, store
from db import datasets as rows

DATASET = "starter"
DEFAULTS = ("generator", "modifier")  # come last, since lists begin with the newest
METHOD = "M3GNet-MP-2021.2.8"

log = logging.getLogger(__name__)


def install() -> None:
    """Put what is missing into the store. Quick where all is there; servers that start together wait for each other.

    A starter dataset that was deleted stays away: a marker beside the database remembers that it was there.
    """
    store()
    with acting_as(THE_APP), (folder("jobs").parent / ".starter").open("a+") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        marker.seek(0)
        known = set(marker.read().split())
        if "dataset" not in known and _install_dataset():
            marker.write("dataset\n")
        if "hulls" not in known:
            install_starter_hulls()
            marker.write("hulls\n")
        found = sorted((ASSETS / "models").glob("*/model.safetensors"), key=lambda p: (p.parent.name in DEFAULTS, p))
        for path in found:
            if f"model:{path.parent.name}" not in known and _install_model(path.parent):
                marker.write(f"model:{path.parent.name}\n")


def _install_dataset() -> bool:
    path = ASSETS / "starter" / "structures.jsonl.gz"
    with store().session() as session:
        if rows.find_dataset(session, DATASET):
            return True
    source = "AFLOW prototypes with B C Si Ti V Mo Ta W, volumes relaxed by M3GNet; ships with the app"
    try:
        import_files(ImportParams((str(path),), DATASET, METHOD, source), _Quiet(path.parent))
    except UserError as error:
        log.warning("the starter dataset was not installed: %s", error)
        return False
    return True


def _install_model(path: Path) -> bool:
    with store().session() as session:
        if rows.find_model(session, path.name):
            return True
    try:
        register(path.name, path, keep=True)
    except UserError as error:
        log.warning("the model %s was not installed: %s", path.name, error)
        return False
    return True


class _Quiet:
    """A context for what is done at start, outside any job."""

    job_id = 0
    device = "cpu"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        log.debug("%s", message)

    def metrics(self, step: int, **values: float) -> None:
        log.debug("%s %s", step, values)

    def cancelled(self) -> bool:
        return False
