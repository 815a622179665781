"""Trained models: list, show, add, load, delete. A model is a folder; the store names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from core.data.formulas import formula_unit, parse_formula, pattern
from core.models.checkpoint import CARD, CONFIG, WEIGHTS, CheckpointError, load_weights, read_config, weights_hash
from core.models.registry import build_network
from core.samplers.flow import FlowMatching
from core.samplers.registry import sampler_for
from core.workflows.context import UserError
from core.workflows.datasets import check_name
from core.workflows.store import folder, store
from db import datasets as rows
from db.tables import Model


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to sample; `seen` is what it learned from (elements, sizes, groups, patterns, energies)."""

    row: Model
    network: nn.Module
    sampler: FlowMatching
    seen: Mapping[str, Any]


def list_models(task: str | None = None) -> list[Model]:
    """Newest first."""
    with store().session() as session:
        return rows.list_models(session, task)


def get_model(name: str) -> Model:
    """By name. Raises UserError."""
    with store().session() as session:
        found = rows.find_model(session, name)
    if found is None:
        raise UserError(f"There is no model {name!r}.")
    return found


def load_model(name: str) -> LoadedModel:
    """The network with its weights, checked. Raises UserError."""
    row = get_model(name)
    try:
        return _load(row, row.hash)
    except CheckpointError as error:
        raise UserError(f"The model {name} cannot be used: {error}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


@lru_cache(maxsize=2)
def _cached(path: str, digest: str) -> tuple[nn.Module, dict[str, Any]]:
    config = read_config(Path(path))
    network = build_network(config["network"], config["network_config"])
    return load_weights(network, Path(path)), config


def _load(row: Model, digest: str) -> LoadedModel:
    network, config = _cached(row.folder, digest)
    return LoadedModel(row, network, sampler_for(config["task"], config["method"]), config.get("seen", {}))


def register(name: str, source: Path, job_id: int | None = None, keep: bool = False) -> Model:
    """Put a model's folder into the store under `name`; the folder is copied unless `keep`. Raises UserError."""
    check_name(name)
    with store().session() as session:
        if rows.find_model(session, name):
            raise UserError(f"There is a model {name!r} already: choose another name.")
    try:
        config = read_config(source)
        load_weights(build_network(config["network"], config["network_config"]), source)
        sampler_for(config["task"], config["method"])
        card = json.loads((source / CARD).read_text()) if (source / CARD).is_file() else {}
    except (CheckpointError, ValueError) as error:
        raise UserError(f"{source.name} cannot be used as a model: {error}") from error
    target = source if keep else folder("models") / name
    if not keep:
        target.mkdir(parents=True, exist_ok=True)
        for file in (WEIGHTS, CONFIG, CARD):
            if (source / file).is_file():
                shutil.copyfile(source / file, target / file)
    with store().session() as session:
        rows.add_model(
            session,
            name=name,
            task=config["task"],
            hash=weights_hash(target),
            energy_method=str(config.get("energy_method", "")),
            folder=str(target),
            card=card if isinstance(card, dict) else {},
            job_id=job_id,
        )
    return get_model(name)


def delete_model(name: str) -> None:
    """Remove a model; what it made stays. Shipped models stay on disk and come back with the next start."""
    row = get_model(name)
    with store().session() as session:
        rows.drop_model(session, row.id)
    path = Path(row.folder)
    if path.parent == folder("models"):
        shutil.rmtree(path, ignore_errors=True)


def unfamiliar(model: LoadedModel, formula: str, natoms: int, groups: list[int], energies: list[float]) -> list[str]:
    """Sentences on what lies outside what the model saw; empty where nothing does."""
    from pymatgen.core import Composition

    seen = model.seen
    if not seen:
        return ["This model does not say what it learned from."]
    sentences = []
    elements = {e.symbol for e in Composition(formula).elements}
    strange = sorted(elements - set(seen["elements"]))
    if strange:
        sentences.append(f"{', '.join(strange)}: no structure with it was in the training data.")
    elif pattern(formula) not in seen["patterns"]:
        unit = formula_unit(parse_formula(formula))
        sentences.append(
            f"{unit} has no relative in the training data: no formula of the pattern {pattern(formula)} was there. "
            "Expect rougher candidates."
        )
    low, high = seen["natoms"]
    if not low <= natoms <= high:
        sentences.append(f"A cell of {natoms} atoms: the training data has {low} to {high}.")
    new = sorted(set(groups) - set(seen["space_groups"]))
    if new:
        sentences.append(f"Space group {', '.join(map(str, new))}: not in the training data.")
    if energies and seen.get("energies"):
        lowest, highest = seen["energies"]
        outside = [e for e in energies if not lowest <= e <= highest]
        if outside:
            off = max(max(lowest - e, e - highest) for e in outside)
            sentences.append(
                f"Energies down to {min(outside):.3f} eV/atom: the training data has {lowest:.3f} to {highest:.3f} "
                f"({off:.3f} beyond it)."
            )
    return sentences
