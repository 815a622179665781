"""What a manifest says of a method, and the same method found again in another store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.workflows.context import UserError
from core.workflows.datasets import list_datasets
from core.workflows.methods import SUBSTITUTION
from core.workflows.models import list_models
from db import datasets as rows
from db.tables import Model

_CARD = ("parameters", "dataset", "steps", "training_minutes", "made", "torch", "licence", "command", "about")


def recorded_method(session: Session, name: str) -> dict[str, Any] | None:
    """The hashes of a method's parts, and what is known of them; None where it is gone."""
    if not name.startswith(SUBSTITUTION):
        model = rows.find_model(session, name)
        return None if model is None else _recorded_model(model)
    dataset = rows.find_dataset(session, name.removeprefix(SUBSTITUTION))
    if dataset is None:
        return None
    about = "known structures of the dataset's training part with their elements exchanged"
    return {"dataset_hash": dataset.hash, "energy_method": dataset.method, "dataset": dataset.name, "about": about}


def _recorded_model(model: Model) -> dict[str, Any]:
    known = {"weights_sha256": model.hash, "dataset_hash": model.card.get("dataset_hash"), "task": model.task}
    return known | {"energy_method": model.energy_method} | {k: model.card[k] for k in _CARD if k in model.card}


def method_here(name: str, recorded: Mapping[str, Any]) -> str:
    """What the recorded method is called here. Raises UserError where a part of it is not."""
    if name.startswith(SUBSTITUTION):
        return SUBSTITUTION + _dataset_here(name.removeprefix(SUBSTITUTION), str(recorded.get("dataset_hash") or ""))
    return _model_here(name, str(recorded.get("weights_sha256") or ""))


def _model_here(name: str, digest: str) -> str:
    """The name of the model with these weights."""
    found = _same({m.name: m.hash for m in list_models()}, name, digest)
    if isinstance(found, str):
        return found
    other = " (the one of that name has other weights)" if found else ""
    raise UserError(f"The model {name} of this run is not here{other}: add it with `./run cli models add`.")


def _dataset_here(name: str, digest: str) -> str:
    """The name of the dataset of this content."""
    found = _same({d.name: d.hash for d in list_datasets()}, name, digest)
    if isinstance(found, str):
        return found
    other = " (the one of that name holds other structures)" if found else ""
    raise UserError(f"The dataset {name} of this run is not here{other}: import its files under that name.")


def _same(known: Mapping[str, str], name: str, digest: str) -> str | bool:
    """The name of what has the hash, the given one if that has it; else whether the name is taken by something else."""
    if name in known and digest in ("", known[name]):
        return name
    return next((n for n, h in known.items() if digest and h == digest), name in known)
