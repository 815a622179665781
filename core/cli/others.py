"""`models …`, `jobs …`, `potentials …`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from core.cli.common import add, duration, is_json, table
from core.workflows.context import UserError


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    models = commands.add_parser("models", help="list, add, pack, rename, delete models").add_subparsers(required=True)
    add(models, shared, "list", "all models, and the datasets to substitute elements in", _models_list)
    parser = add(models, shared, "add", "a model: its folder, its .zip, or its safetensors by config.json", _models_add)
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", default="")
    parser = add(models, shared, "pack", "a model as one .zip, which `models add` takes", _models_pack)
    parser.add_argument("name")
    parser.add_argument("file", type=Path)
    parser = add(models, shared, "rename", "a model", _models_rename)
    parser.add_argument("name")
    parser.add_argument("new")
    add(models, shared, "delete", "a model", _models_delete).add_argument("name")
    jobs = commands.add_parser("jobs", help="list, cancel, resume jobs").add_subparsers(required=True)
    add(jobs, shared, "list", "the latest jobs", _jobs_list)
    for name, help_, run in (
        ("cancel", "stop a job; what it has is kept", _jobs_cancel),
        ("resume", "go on with a job that failed, was cancelled or lost", _jobs_resume),
        ("log", "the end of a job's log", _jobs_log),
    ):
        add(jobs, shared, name, help_, run).add_argument("id", type=int)
    potentials = commands.add_parser("potentials", help="list, fetch potentials").add_subparsers(required=True)
    add(potentials, shared, "list", "which potentials can be used here", _potentials_list, store=False)
    parser = add(potentials, shared, "fetch", "M3GNet's weights, once", _potentials_fetch, store=False)
    parser.add_argument("name", choices=["m3gnet"])


def _models_list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.methods import list_templates
    from core.workflows.models import list_models

    found, templates = list_models(), list_templates()
    if not is_json(asked):
        headings = ["name", "task", "parameters", "dataset", "energies"]
        rows = [[m.name, m.task, m.card.get("parameters"), m.card.get("dataset"), m.energy_method] for m in found]
        table(headings, rows + [[t.name, t.task or "both", None, t.dataset, t.energy_method] for t in templates])
    return {"models": [m.name for m in found], "templates": [t.name for t in templates]}


def _models_add(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.model_files import add_path

    model = add_path(asked.file, asked.name)
    if not is_json(asked):
        print(f"{model.name} is added: {model.task}")
    return {"model": model.name, "hash": model.hash}


def _models_pack(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.model_files import pack_model

    try:
        asked.file.write_bytes(pack_model(asked.name))
    except OSError as error:
        raise UserError(f"{asked.file} cannot be written: {error.strerror}.") from error
    return {"model": asked.name, "file": str(asked.file)}


def _models_rename(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.models import rename_model

    return {"model": rename_model(asked.name, asked.new).name}


def _models_delete(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.models import delete_model

    delete_model(asked.name)
    return {"deleted": asked.name}


def _jobs_list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.store import store
    from db.jobs import list_jobs

    with store().session() as session:
        found = list_jobs(session, limit=50)
    if not is_json(asked):
        rows = [
            [
                j.id,
                j.kind,
                j.title,
                j.status,
                "" if j.progress is None else f"{100 * j.progress:.0f} %",
                j.device,
                j.owner,
                duration(j.eta_s) if j.eta_s else "",
                j.error or j.message,
            ]
            for j in found
        ]
        table(["id", "kind", "title", "status", "done", "device", "of", "to go", "message"], rows)
    return {"jobs": [{"id": j.id, "kind": j.kind, "status": j.status, "progress": j.progress} for j in found]}


def _jobs_cancel(asked: argparse.Namespace) -> dict[str, Any]:
    from core.jobs import queue

    queue.cancel(asked.id)
    job = queue.follow(asked.id)
    return {"job": job.id, "job_status": job.status}


def _jobs_resume(asked: argparse.Namespace) -> dict[str, Any]:
    from core.jobs import queue

    queue.resume(asked.id)
    job = queue.get(asked.id)
    if job.status == "failed":
        print(job.error, file=sys.stderr)
        return {"job": asked.id, "job_status": job.status, "status": "failed"}
    return {"job": asked.id, "job_status": job.status}


def _jobs_log(asked: argparse.Namespace) -> dict[str, Any]:
    from core.jobs import queue

    text, error = queue.logs(asked.id), queue.get(asked.id).error
    if not is_json(asked):
        print(*filter(None, (text, error)), sep="\n")
    return {"job": asked.id, "log": text, "error": error}


def _potentials_list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.relax import potential_choices

    found = potential_choices()
    if not is_json(asked):
        for choice in found:
            print(f"{choice.key:8} {choice.about}{': ' + choice.problem if choice.problem else ''}")
    return {"potentials": {c.key: c.problem or "ready" for c in found}}


def _potentials_fetch(asked: argparse.Namespace) -> dict[str, Any]:
    from core.energy.load import fetch_m3gnet
    from core.energy.potential import PotentialError

    try:
        folder = fetch_m3gnet()
    except PotentialError as error:
        raise UserError(str(error)) from error
    print(f"M3GNet's weights are in {folder}")
    return {"folder": str(folder)}
