"""Trained models: list, show, add, load, delete. A model is a folder; the store names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from core.data.recipe import LONGEST_METHOD
from core.models.checkpoint import (
    CARD,
    CONFIG,
    WEIGHTS,
    CheckpointError,
    load_weights,
    read_config,
    weights_hash,
    write_values,
)
from core.models.registry import build_network, known_tables
from core.models.registry import read_config as network_config
from core.samplers.geometry import CELLS
from core.samplers.protocol import Sampler
from core.samplers.registry import STEPS, drawn_by, sampler_for
from core.settings import ASSETS
from core.workflows.acting import EDITOR, acting, require, require_owner
from core.workflows.audit import record
from core.workflows.context import UserError
from core.workflows.datasets import check_name
from core.workflows.seen import seen_in_dataset
from core.workflows.store import folder, store
from db import datasets as rows
from db import jobs as job_rows
from db.session import write_lock
from db.tables import Job, Model


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to sample; `seen` is what it learned from (elements, sizes, groups, patterns, energies).

    hold_group: crystals start on a space group that is asked for and keep it (`core.workflows.held`); sites: a dataset
    whose structures say on which sites they start, "" for any that fit
    """

    row: Model
    network: nn.Module
    sampler: Sampler
    seen: Mapping[str, Any]
    method: str
    hold_group: bool = False
    sites: str = ""

    def holding(self, group: bool, sites: str = "") -> LoadedModel:
        """The model holding space groups that are asked for, or drawing freely."""
        return replace(self, hold_group=group, sites=sites)

    def drawn_by(self, name: str) -> LoadedModel:
        """The model with another way of drawing, "" for its own. Raises UserError."""
        try:
            return replace(self, sampler=drawn_by(self.sampler, name)) if name else self
        except ValueError as error:
            raise UserError(str(error)) from error

    @property
    def steps(self) -> int:
        """How many steps are usual for its method."""
        return STEPS[self.method]

    @property
    def cell(self) -> str:
        """How its cells are encoded (`core.data.encoding`)."""
        return CELLS[self.sampler.geometry]


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
    return LoadedModel(row, network, sampler_of(config), config.get("seen", {}), config["method"])


def sampler_of(config: Mapping[str, Any]) -> Sampler:
    """The sampler that a model's configuration names, with the values it was trained with. Raises ValueError."""
    values = config.get("sampler") or {}
    if not isinstance(values, Mapping):
        raise ValueError("The sampler of this model's configuration cannot be read.")
    named = {k: v for k, v in values.items() if k not in ("task", "method")}
    return sampler_for(config["task"], config["method"], **named)


def register(name: str, source: Path, job_id: int | None = None, keep: bool = False) -> Model:
    """Put a model's folder into the store under `name`; the folder is copied unless `keep`. Raises UserError.

    What cannot be read, is too large for its weights or does not fit them is refused before anything is built.
    """
    require(EDITOR)
    check_name(name)
    with store().session() as session:
        if rows.find_model(session, name):
            raise UserError(f"There is a model {name!r} already: choose another name.")
    try:
        config = read_config(source)
        _check_config(config, source)
        load_weights(build_network(config["network"], config["network_config"]), source)
        card = json.loads((source / CARD).read_text()) if (source / CARD).is_file() else {}
    except (CheckpointError, ValueError) as error:
        raise UserError(f"This cannot be used as a model: {error}") from error
    card = card if isinstance(card, dict) else {}
    target = source if keep else _copied(name, source)
    try:
        if not keep and not config.get("seen"):
            _say_what_was_seen(target, config, card)
        with store().session() as session:
            rows.add_model(
                session,
                name=name,
                task=config["task"],
                hash=weights_hash(target),
                energy_method=str(config.get("energy_method", "")),
                folder=str(target),
                card=card,
                job_id=job_id,
                owner_id=acting().id,
            )
            record(session, "import" if job_id is None else "train", "model", name)
    except BaseException:
        if not keep:
            shutil.rmtree(target, ignore_errors=True)
        raise
    return get_model(name)


def _say_what_was_seen(target: Path, config: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Training outside the app cannot tell: its dataset can, where it is in the store."""
    seen = seen_in_dataset(str(card.get("dataset_hash", "")))
    if seen:
        write_values(target / CONFIG, {**config, "seen": seen})


def _check_config(config: Mapping[str, Any], source: Path) -> None:
    """Does the network have just the weights that are there? Built without memory. Raises ValueError."""
    sampler_of(config)
    seen = config.get("seen") or {}
    lists = ("elements", "natoms", "space_groups", "patterns")
    if not isinstance(seen, dict) or (seen and not all(isinstance(seen.get(key), list) for key in lists)):
        raise ValueError("config.json does not say in a readable way what the model learned from.")
    named = config.get("energy_method", "")
    if not isinstance(named, str) or len(named) > LONGEST_METHOD or not isinstance(config["network_config"], dict):
        raise ValueError("config.json names an energy method or a network that cannot be read.")
    network_config(config["network"], config["network_config"])
    tables = known_tables() if config["network"] == "unet" else None
    with torch.device("meta"):
        network = build_network(config["network"], config["network_config"], (lambda: tables) if tables else None)
    expected = {key: tuple(t.shape) for key, t in network.state_dict().items()}
    try:
        with safe_open(str(source / WEIGHTS), "pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{WEIGHTS} is no safetensors file, or it is damaged.") from error
    if found != expected:
        raise CheckpointError("The weights of this model do not fit its configuration.")


def _copied(name: str, source: Path) -> Path:
    """The source's files in a new folder of the store, all of them or none. Raises UserError."""
    models = folder("models")
    taken = {path.name for path in models.iterdir()}
    target = models / next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in taken)
    partial = models / f".partial-{uuid4().hex}"
    try:
        partial.mkdir()
        for file in (WEIGHTS, CONFIG, CARD):
            if (source / file).is_file():
                shutil.copyfile(source / file, partial / file)
        partial.replace(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"The model cannot be written: {error.strerror or error}.") from error
    return target


def config_of(model: Model) -> dict[str, Any]:
    """What config.json says: method, network, what it learned from; {} where it cannot be read."""
    try:
        return read_config(Path(model.folder))
    except CheckpointError:
        return {}


def is_shipped(model: Model) -> bool:
    """Did it come with the app? Then its files are not the store's."""
    return Path(model.folder).is_relative_to(ASSETS)


def rename_model(name: str, new: str) -> Model:
    """Give a model another name; candidates that it made follow. Raises UserError."""
    row, new = get_model(name), new.strip()
    require_owner(f"The model {name}", row.owner_id)
    check_name(new)
    _check_idle(name)
    with store().session() as session:
        write_lock(session)
        if rows.find_model(session, new):
            raise UserError(f"There is a model {new!r} already: choose another name.")
        rows.rename_model(session, row.id, name, new)
        record(session, "rename", "model", name, f"to {new}")
    return get_model(new)


def delete_model(name: str) -> None:
    """Remove a model; what it made stays. The files of one that came with the app stay too. Raises UserError."""
    row = get_model(name)
    require_owner(f"The model {name}", row.owner_id)
    _check_idle(name)
    with store().session() as session:
        rows.drop_model(session, row.id)
        record(session, "delete", "model", name)
    path = Path(row.folder)
    if path.parent == folder("models"):
        shutil.rmtree(path, ignore_errors=True)


def _check_idle(name: str) -> None:
    with store().session() as session:
        active = job_rows.list_jobs(session, job_rows.ACTIVE, limit=1000)
    using = next((job for job in active if name in str(job.params.get("model")).split(":")), None)
    if using is not None:
        raise UserError(f"Job {using.id} ({using.title}) needs {name}: wait for it or cancel it first.")


def evaluations_of(name: str, digest: str) -> list[Job]:
    """Jobs that evaluated the model or method of this name and hash, newest first."""
    with store().session() as session:
        found = job_rows.list_jobs(session, kinds=["evaluate"], limit=1000)
    return [job for job in found if _is_of(job, name, digest)]


def _is_of(job: Job, name: str, digest: str) -> bool:
    """By the hash of the weights where the result has it: names change, and come back with other weights."""
    known = (job.result or {}).get("hash") or (job.result or {}).get("model_hash")
    return known == digest if known else job.params.get("model") == name
