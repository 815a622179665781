"""A small store with data, the jobs that are disturbed on it, and what it holds in the end, to be compared."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from core.jobs import queue
from core.settings import ASSETS
from core.workflows import datasets, hulls, models
from core.workflows.hulls_build import BuildHullParams
from core.workflows.imports import ImportParams, import_files, open_import
from core.workflows.relax import RelaxParams
from core.workflows.store import store
from core.workflows.train import TrainParams
from db import candidates as candidate_rows
from db import jobs as job_rows
from db import structures as structure_rows
from db.session import Database
from db.tables import Candidate, Dataset, Energy, Hull, HullEntry, Import, Metric, Model, Relaxation, Structure
from tests.postgres_server import PostgresServer

STRUCTURES, CANDIDATES, STEPS = 300, 6, 4


class Scene:
    """A store that is put back to its beginning before every round.

    place: an empty folder; server: of Postgres, None for SQLite. The settings name the store while this is used.
    """

    def __init__(self, place: Path, server: PostgresServer | None = None) -> None:
        self.var, self.kept, self.server = place / "var", place / "kept", server
        self.rows = place / "rows.jsonl"
        place.mkdir(parents=True, exist_ok=True)
        os.environ["SUBHULL_VAR"] = str(self.var)
        os.environ.pop("SUBHULL_DATABASE_URL", None)
        if server is not None:
            os.environ["SUBHULL_DATABASE_URL"] = server.create("round")
        self._write_rows()
        self.candidates = self._fill()
        store().dispose()
        shutil.copytree(self.var, self.kept)
        if server is not None:
            server.create("kept", "round")

    def _write_rows(self) -> None:
        """300 structures, those of B, Ta and W first."""
        with gzip.open(ASSETS / "starter" / "structures.jsonl.gz", "rt") as file:
            lines = file.readlines()
        known = sorted(lines, key=lambda line: not set(json.loads(line)["species"]) <= {"B", "Ta", "W"})
        self.rows.write_text("".join(known[:STRUCTURES]))

    def _fill(self) -> list[int]:
        from tests.conftest import TestContext

        import_files(ImportParams((str(self.rows),), "base", "M"), TestContext(self.var / "first"))
        view = datasets.load_tensors(datasets.get_dataset("base"))
        with store().session() as session:
            structures = structure_rows.get_structures(session, [int(i) for i in view.ids[:CANDIDATES]])
            job_id = job_rows.add_job(session, kind="generate", title="g", params={"model": "x"}, device="cpu")
            job_rows.update_job(session, job_id, status="done")
            candidate_rows.add_candidates(
                session,
                [
                    {
                        "index": n, "job_id": job_id, "model": "x", "formula": s.formula, "reduced_formula": s.formula,
                        "chemical_system": s.chemical_system, "natoms": s.natoms, "cell": s.cell, "valid": True,
                        "energy_method": "M", "novelty": {}, "unique": True, "novel": True,
                    }
                    for n, s in enumerate(structures)
                ],
            )  # fmt: skip
        with store().session() as session:
            return list(session.scalars(select(Candidate.id).order_by(Candidate.id)))

    def restore(self) -> None:
        """The store as it was before the first round."""
        store().dispose()
        shutil.rmtree(self.var, ignore_errors=True)
        shutil.copytree(self.kept, self.var)
        if self.server is not None:
            self.server.create("round", "kept")

    def submit(self, kind: str) -> int:
        """Queue the job of a kind of `KINDS`; returns its id."""
        make: dict[str, Callable[[], tuple[Any, str]]] = {
            "import": lambda: (ImportParams((str(self.rows),), "new", "M"), "io"),
            "train": lambda: (TrainParams("base", "new", preset="quick", steps=STEPS, batch=8), "cpu"),
            "relax": lambda: (RelaxParams(tuple(self.candidates), "chgnet", steps=3), "cpu"),
            "hull-build": lambda: (BuildHullParams("base", "B-Ta-W", "", "new"), "io"),
        }
        params, device = make[kind]()
        return queue.submit(kind, kind, params, device)

    def import_hull(self) -> None:
        """Outside any job, as the page Hulls and the command line do it."""
        path = ASSETS / "hulls" / "B-Ta-W.CHGNet-0.3.0.json.gz"
        hulls.import_hull(path, "new")


KINDS = ("import", "hull-build", "hull import", "relax", "train")


def whole(scene: Scene) -> list[str]:
    """What of the store is shown and not whole, in sentences; [] is as it should be. Opens it anew."""
    wrong = []
    database = Database(store().url)
    try:
        with database.session() as session:
            if database.is_sqlite:
                found = session.execute(text("PRAGMA integrity_check")).scalar()
                strays = session.execute(text("PRAGMA foreign_key_check")).all()
                wrong += [f"SQLite says {found}"] if found != "ok" else []
                wrong += [f"{len(strays)} rows without their parent"] if strays else []
            wrong += _half_imports(session)
            for key in (Dataset.name, Model.name):
                names = Counter(session.scalars(select(key)))
                wrong += [f"{n} is there {c} times" for n, c in names.items() if c > 1]
    finally:
        database.dispose()
    for dataset in datasets.list_datasets():
        try:
            count = len(datasets.load_tensors(dataset).ids)
            if count != dataset.summary["structures"]:
                said = dataset.summary["structures"]
                wrong.append(f"the dataset {dataset.name} holds {count} structures, not {said}")
        except Exception as error:
            wrong.append(f"the dataset {dataset.name} cannot be opened: {error!r}")
    for model in models.list_models():
        try:
            models.load_model(model.name)
        except Exception as error:
            wrong.append(f"the model {model.name} cannot be opened: {error!r}")
    for hull in hulls.list_hulls():
        if not hulls.get_hull_by_id(hull.id).hull.phases:
            wrong.append(f"the hull {hull.name} is empty")
    return wrong


def _half_imports(session: Any) -> list[str]:
    wrong = []
    for found in structure_rows.list_imports(session):
        count = session.scalar(select(func.count()).where(Structure.import_id == found.id))
        if not found.ready or count != found.structures or len(open_import(found.id)) != count:
            wrong.append(f"the import {found.name} is listed with {count} of {found.structures} structures")
    return wrong


def content(scene: Scene) -> dict[str, Any]:
    """What the store holds, without numbers and times that may differ from run to run."""
    with store().session() as session:
        imports = session.execute(select(Import.name, Import.ready, Import.structures, Import.sha256)).all()
        digest = hashlib.sha256()
        listed = select(Structure.label, Structure.cell).order_by(Structure.label, Structure.id)
        for label, cell in session.execute(listed):
            digest.update(label.encode() + cell)
        relaxed = [
            (r.candidate_id, r.method, r.status, r.steps, r.total_after) for r in session.scalars(select(Relaxation))
        ]
        tables = (Structure, Energy, HullEntry)
        counted = {t.__name__: session.scalar(select(func.count()).select_from(t)) for t in tables}
        return {
            "imports": sorted(map(tuple, imports)),
            "structures": digest.hexdigest(),
            "rows": counted,
            "datasets": sorted(map(tuple, session.execute(select(Dataset.name, Dataset.hash)).all())),
            "models": sorted((m.name, m.card.get("steps")) for m in session.scalars(select(Model))),
            "hulls": sorted(map(tuple, session.execute(select(Hull.chemical_system, Hull.method, Hull.name)).all())),
            "relaxed": sorted((c, m, s, n, round(e, 4) if e is not None else None) for c, m, s, n, e in relaxed),
            "last step": session.scalar(select(func.max(Metric.step))),
        }
