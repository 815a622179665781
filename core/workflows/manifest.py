"""manifest.json of a bundle: everything that its candidates were made with, and how to make them again."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.energy.load import find_m3gnet
from core.evaluation import matching, validity
from core.settings import ASSETS, settings
from core.workflows.hulls import HullView
from core.workflows.recorded import recorded_method
from core.workflows.store import store
from db import datasets as dataset_rows
from db import jobs as job_rows
from db import structures as structure_rows
from db.tables import Candidate, Hull, Job, Relaxation

_PACKAGES = (
    "torch", "numpy", "pymatgen", "spglib", "ase", "matgl", "chgnet", "torch-sim-atomistic", "smact", "streamlit",
)  # fmt: skip
_JUDGING = ("MIN_DISTANCE", "MIN_VOLUME_PER_ATOM", "MAX_VOLUME_PER_ATOM", "SYMPREC")  # of core.evaluation.validity
_NOTES = ("terms", "citation", "licence", "license")


class Manifest:
    """What is gathered while candidates are written; `values` looks up the rest."""

    def __init__(self) -> None:
        self._runs: dict[int, int] = {}  # job -> candidates of it here
        self._relaxed: dict[int | None, set[str]] = {}  # job -> methods
        self._methods: set[str] = set()
        self._models: set[str] = set()
        self._compared: set[str] = set()
        self._hulls: dict[int, HullView] = {}

    def add(self, candidate: Candidate, relaxation: Relaxation | None, hull: HullView | None) -> None:
        """Count a candidate in."""
        self._runs[candidate.job_id] = self._runs.get(candidate.job_id, 0) + 1
        self._models.add(candidate.model)
        self._compared |= set(candidate.novelty or {})
        method = relaxation.method if relaxation else candidate.energy_method
        self._methods |= {method} - {""}
        if relaxation is not None:
            self._relaxed.setdefault(relaxation.job_id, set()).add(relaxation.method)
        if hull is not None:
            self._hulls[hull.row.id] = hull

    def values(self) -> dict[str, Any]:
        """The manifest as it is written."""
        with store().session() as session:
            jobs = {i: job for i in sorted(self._runs) if (job := job_rows.get_job(session, i))}
            models = {n: m for n in sorted(self._models) if (m := recorded_method(session, n))}
            learned = {str(m.get(k) or "") for m in models.values() for k in ("dataset_hash", "templates_hash")} - {""}
            return {
                "made_by": f"Subhull {_version('subhull') or '0.1.0'}",
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "candidates": sum(self._runs.values()),
                "runs": {str(i): _run(session, job, self._runs[i]) for i, job in jobs.items()},
                "models": models,
                "datasets": _datasets(session, sorted(learned | self._compared)),
                "seed": sorted({int(job.params["seed"]) for job in jobs.values() if "seed" in job.params}),
                "energy_method": sorted(self._methods),
                "potentials": {m: _potential(m) for m in sorted({m for s in self._relaxed.values() for m in s})},
                "relaxations": {str(i): _relaxation(session, i) for i in sorted(i for i in self._relaxed if i)},
                "hulls": [_hull(self._hulls[i]) for i in sorted(self._hulls)],
                "judging": _judging(),
                "versions": {p: _version(p) for p in _PACKAGES} | {"python": platform.python_version()},
                "machine": f"{platform.system()} {platform.machine()}",
            }


def hull_name(hull: HullView) -> str:
    """ "B-Ta-W CHGNet-0.3.0 (starter)"."""
    return f"{hull.row.chemical_system} {hull.row.method} ({hull.row.name})"


def _run(session: Session, job: Job, count: int) -> dict[str, Any]:
    """A run as it was asked for: `repeat` reads this. A hull is named, since its number is this store's alone."""
    hull = session.get(Hull, job.params["hull"]) if isinstance(job.params.get("hull"), int) else None
    named = {k: getattr(hull, k) for k in ("chemical_system", "method", "name")} if hull else None
    return {
        "kind": job.kind,
        "title": job.title,
        "params": dict(job.params),
        "hull": named,
        "device": job.device,
        "result": job.result,
        "candidates_here": count,
        "command": f"./run cli repeat manifest.json --run {job.id} --out run-{job.id}-again",
    }


def _datasets(session: Session, wanted: list[str]) -> dict[str, Any]:
    """Datasets that models learned from (by hash) or candidates were compared with (by name), and their sources."""
    found: dict[str, Any] = {}
    for name in wanted:
        dataset = dataset_rows.find_dataset(session, name)
        if dataset is None:
            found[name] = {"gone": True}
            continue
        imports = [structure_rows.get_import(session, i) for i in dataset_rows.imports_of(session, dataset.id)]
        sources = [i for i in imports if i is not None]
        found[dataset.name] = {
            "hash": dataset.hash,
            "structures": dataset.summary.get("structures"),
            "energy_method": dataset.method,
            "sources": [{"source": i.source, "sha256": i.sha256} for i in sources],
            "terms": [str(i.notes[k]) for i in sources for k in _NOTES if i.notes.get(k)],
        }
    return found


def _potential(method: str) -> dict[str, Any]:
    """Which weights and reference energies a method has here."""
    known: dict[str, Any] = {}
    folder = find_m3gnet(settings().m3gnet) if method.startswith("M3GNet") else None
    if folder:
        known["weights_sha256"] = _digest(tuple(sorted(p for p in folder.iterdir() if p.suffix in (".pt", ".json"))))
    if method.startswith("CHGNet"):
        known["weights"] = f"those of the package chgnet {_version('chgnet')}"
    references = ASSETS / "references" / f"{method}.json"
    if references.is_file() and references.parent == ASSETS / "references":
        known["references_sha256"] = _digest((references,))
    return known


def _relaxation(session: Session, job_id: int) -> dict[str, Any]:
    """How a job relaxed: its parameters without the list of its candidates."""
    job = job_rows.get_job(session, job_id)
    if job is None:
        return {"gone": True}
    params = {k: v for k, v in job.params.items() if k != "candidate_ids"} if job.kind != "vasp" else {}
    if job.kind in ("generate", "modify"):
        return {"kind": job.kind, "params": f"as in runs, {job_id}", "device": job.device}
    return {"kind": job.kind, "params": params, "device": job.device}


def _hull(hull: HullView) -> dict[str, Any]:
    row = hull.row
    content = [[e.label, sorted(e.composition.items()), e.formation, e.flag] for e in hull.entries]
    return {
        "chemical_system": row.chemical_system,
        "method": row.method,
        "name": row.name,
        "source": row.source,
        "entries": len(hull.entries),
        "entries_sha256": hashlib.sha256(json.dumps(sorted(content)).encode()).hexdigest(),
        **{k: row.notes[k] for k in ("date", "about", *_NOTES) if row.notes.get(k)},
    }


def _judging() -> dict[str, Any]:
    """The thresholds in force now; lengths in Å, volumes in Å³ per atom."""
    found = {name.lower(): getattr(validity, name) for name in _JUDGING if hasattr(validity, name)}
    tolerances: Mapping[str, Any] = matching.TOLERANCES["paper"]
    return found | {"matcher": {"name": "pymatgen StructureMatcher, the paper's tolerances", **tolerances}}


@cache
def _digest(paths: tuple[Path, ...]) -> str:
    """Of the files' bytes, one after the other in the order of their names."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
