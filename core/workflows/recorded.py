"""What a manifest says of a method, and the same method found again in another store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.workflows.context import UserError
from core.workflows.datasets import list_datasets
from core.workflows.methods import BEST, REFINE, SUBSTITUTION, parts_of
from core.workflows.models import list_models
from db import datasets as rows
from db.tables import Model

_CARD = ("parameters", "dataset", "steps", "training_minutes", "made", "torch", "licence", "command", "about")

_HOW = {
    SUBSTITUTION: "known structures of the templates' training part with their elements exchanged",
    REFINE: "the same, and moved by the network from there",
    BEST: "the same where they are likely, else the network's own draws",
}


def recorded_method(session: Session, name: str) -> dict[str, Any] | None:
    """The hashes of a method's parts, and what is known of them; None where it is gone."""
    kind, trained, templates = parts_of(name)
    model = rows.find_model(session, trained) if trained else None
    dataset = rows.find_dataset(session, templates) if templates else None
    if (trained and model is None) or (templates and dataset is None):
        return None
    known = {} if model is None else _recorded_model(model)
    if dataset is not None:
        known |= {"templates": dataset.name, "templates_hash": dataset.hash, "how": _HOW[kind]}
        known.setdefault("energy_method", dataset.method)
    return known


def _recorded_model(model: Model) -> dict[str, Any]:
    known = {"weights_sha256": model.hash, "dataset_hash": model.card.get("dataset_hash"), "task": model.task}
    return known | {"energy_method": model.energy_method} | {k: model.card[k] for k in _CARD if k in model.card}


def method_here(name: str, recorded: Mapping[str, Any]) -> str:
    """What the recorded method is called here. Raises UserError where a part of it is not."""
    kind, trained, templates = parts_of(name)
    model = _model_here(trained, str(recorded.get("weights_sha256") or "")) if trained else ""
    dataset = _dataset_here(templates, str(recorded.get("templates_hash") or "")) if templates else ""
    return kind + ":".join(part for part in (model, dataset) if part)


def _model_here(name: str, digest: str) -> str:
    """The name of the model with these weights."""
    known = {m.name: m.hash for m in list_models()}
    return _here(known, name, digest, "model", "has other weights", "add it with `./run cli models add`")


def _dataset_here(name: str, digest: str) -> str:
    """The name of the dataset of this content."""
    known = {d.name: d.hash for d in list_datasets()}
    return _here(known, name, digest, "dataset", "holds other structures", "import its files under that name")


def _here(known: Mapping[str, str], name: str, digest: str, kind: str, differs: str, remedy: str) -> str:
    """The name of what has the hash, the given one if that has it. Raises UserError where nothing has."""
    if name in known and digest in ("", known[name]):
        return name
    found = next((n for n, h in known.items() if digest and h == digest), None)
    if found is None:
        other = f" (the one of that name {differs})" if name in known else ""
        raise UserError(f"The {kind} {name} of this run is not here{other}: {remedy}.")
    return found
