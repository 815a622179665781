"""Import files of structures, make datasets of them, show, export and delete them."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.crystals import Crystals, concatenate, unpack_cells
from core.data.readers.parsing import parse_rows
from core.data.readers.records import Problem, Record
from core.data.readers.sources import SourceError, raw_rows
from core.data.rows import row_of, symbol
from core.data.tensors import TensorData, read_tensors, split_by_formula, write_tensors
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.store import folder, store
from db import datasets as dataset_rows
from db import jobs as job_rows
from db import structures as rows
from db.tables import Dataset

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,59}")
_BATCH = 4_000  # rows per transaction: short enough that other writers never wait long
_KEPT_PROBLEMS = 10_000  # of the rows not taken, so many are kept with their sentence; all are counted
VALIDATION_SHARE = 0.05


@dataclass(frozen=True)
class ImportParams:
    """files: paths; name: of the import and of its dataset; method: the energy method where rows name none.

    source: what to call the files; uploads: their names where the paths are copies made for this job, then deleted
    """

    files: tuple[str, ...]
    name: str
    method: str = ""
    source: str = ""
    uploads: tuple[str, ...] = ()


def import_files(params: ImportParams, context: Context) -> dict[str, Any]:
    """Read files into the store and make a dataset of all good rows.

    Rows that cannot be used are named with their line; good rows are kept. Nothing is shown before all of it is there.
    Returns structures, skipped, reasons, import_id, dataset, dataset_id. Raises UserError.
    """
    check_name(params.name)
    paths = [Path(f) for f in params.files]
    missing = [p.name for p in paths if not p.is_file()]
    if missing or not paths:
        raise UserError(f"There is no file {missing[0]}." if missing else "No file was named.")
    names = params.uploads or tuple(p.name for p in paths)
    import_id = _begin(params, names, context)
    try:
        taken = _Taken(import_id)
        started = time.monotonic()
        for path, name in zip(paths, names, strict=True):
            _read(path, name, len(paths) > 1, params.method, taken, context, started)
        taken.flush()
        if not taken.total:
            raise UserError(_nothing_taken(names, taken))
        result = _finish(params, taken, context)
    except BaseException:
        with store().session() as session:
            rows.drop_import(session, import_id)
        raise
    for path in paths if params.uploads else []:
        path.unlink(missing_ok=True)
    return result


class _Taken:
    """What an import has taken so far; writes in short transactions."""

    def __init__(self, import_id: int) -> None:
        self.import_id = import_id
        self.total = 0
        self.reasons: Counter[str] = Counter()
        self.first = ""
        self.digest = hashlib.sha256()
        self._places: dict[str, str] = {}
        self._records: list[Record] = []
        self._problems: list[tuple[str, str, str]] = []

    def add(self, records: Sequence[Record], problems: Sequence[Problem], prefix: str) -> None:
        for problem in problems:
            self._refuse(prefix + problem.place, problem.reason, problem.detail)
        for record in records:
            place = prefix + record.place
            if record.label in self._places:
                what = "structure" if record.label.startswith("sha1:") else "auid or name"
                self._refuse(place, "duplicate", f"the same {what} as {self._places[record.label]}")
                continue
            self._places[record.label] = place
            self._records.append(record)
            self.digest.update(record.label.encode() + record.cell + repr(record.energies).encode())
        if len(self._records) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting, in one transaction."""
        structures = [
            {
                "import_id": self.import_id,
                "label": r.label,
                "formula": r.formula,
                "chemical_system": r.chemical_system,
                "natoms": r.natoms,
                "space_group": r.space_group,
                "cell": r.cell,
            }
            for r in self._records
        ]
        energies = [
            {"row": i, "method": method, "total": total, "formation": formation, "reference": ""}
            for i, r in enumerate(self._records)
            for method, (total, formation) in r.energies.items()
        ]
        with store().session() as session:
            rows.add_structures(session, structures, energies)
            rows.add_skipped(session, self.import_id, self._problems)
        self.total += len(structures)
        self._records, self._problems = [], []

    def _refuse(self, place: str, reason: str, detail: str) -> None:
        self.reasons[reason] += 1
        self.first = self.first or f"{place}: {detail}"
        if self.reasons.total() <= _KEPT_PROBLEMS:
            self._problems.append((place, reason, detail))


def _begin(params: ImportParams, names: Sequence[str], context: Context) -> int:
    """A hidden import, after removing what killed imports left behind."""
    with store().session() as session:
        if dataset_rows.find_dataset(session, params.name):
            raise UserError(f"There is a dataset {params.name!r} already: choose another name.")
        active = {job.id for job in job_rows.list_jobs(session, job_rows.ACTIVE, limit=10_000)} - {context.job_id}
        for left in rows.unfinished_imports(session):
            if left.notes.get("job") not in active:
                rows.drop_import(session, left.id)
        import_id = rows.add_import(session, params.name, params.source or ", ".join(names)[:500])
        rows.note_import(session, import_id, {"job": context.job_id})
    return import_id


def _read(path: Path, name: str, several: bool, method: str, taken: _Taken, context: Context, started: float) -> None:
    """One file into the store. Its name stands before its places where there are several files."""
    prefix = f"{name}, " if several else ""
    try:
        for records, problems in parse_rows(raw_rows(path, name), method):
            taken.add(records, problems, prefix)
            if context.cancelled():
                raise Cancelled
            rate = taken.total / max(time.monotonic() - started, 1e-9)
            context.progress(None, f"{taken.total:,} structures read ({rate:,.0f}/s)")
    except SourceError as error:
        raise UserError(str(error)) from error


def _nothing_taken(names: Sequence[str], taken: _Taken) -> str:
    if not taken.reasons:
        return f"{', '.join(names)} holds no structures."
    count = taken.reasons.total()
    return f"None of the {count:,} row{'s' * (count > 1)} could be used. The first: {taken.first}."


def _finish(params: ImportParams, taken: _Taken, context: Context) -> dict[str, Any]:
    """Show the import and make its dataset, in one transaction after the tensor file is written."""
    context.progress(None, f"Encoding {taken.total:,} structures")
    with store().session() as session:
        methods = rows.methods_of_import(session, taken.import_id)
    method = params.method if params.method in methods else max(methods, key=methods.__getitem__, default="")
    recipe = {
        "imports": [taken.digest.hexdigest()],
        "method": method,
        "split": VALIDATION_SHARE,
        "seed": 0,
    }
    content = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    data = build_tensors([taken.import_id], params.name, method, content, VALIDATION_SHARE, 0)
    write_tensors(tensor_path(content), data)
    summary = summarise(data) | {"methods": methods, "skipped": dict(taken.reasons)}
    with store().session() as session:
        rows.finish_import(
            session,
            taken.import_id,
            sha256=taken.digest.hexdigest(),
            structures=taken.total,
            skipped=taken.reasons.total(),
            notes={"methods": methods, "skipped": dict(taken.reasons)},
        )
        dataset_id = dataset_rows.add_dataset(
            session,
            [taken.import_id],
            name=params.name,
            hash=content,
            method=method,
            recipe=recipe,
            summary=summary,
        )
    return {
        "structures": taken.total,
        "skipped": taken.reasons.total(),
        "reasons": dict(taken.reasons),
        "import_id": taken.import_id,
        "dataset": params.name,
        "dataset_id": dataset_id,
    }


def build_tensors(
    import_ids: Sequence[int], name: str, method: str, content: str, share: float, seed: int
) -> TensorData:
    """The structures of imports as tensors, with the energies of one method."""
    with store().session() as session:
        ids = [i for import_id in import_ids for i in rows.structures_of_import(session, import_id)]
        parts: list[Crystals] = []
        formulas: dict[str, int] = {}
        formula: list[int] = []
        for start in range(0, len(ids), _BATCH):
            part = ids[start : start + _BATCH]
            found = rows.get_structures(session, part)
            energies = {e.structure_id: e.formation for e in rows.get_energies(session, part, method)}
            known = [energies.get(s.id) for s in found]
            crystals = unpack_cells(
                [s.cell for s in found],
                [s.space_group for s in found],
                [math.nan if e is None else e for e in known],
            )
            parts.append(crystals.to(dtype=torch.float32))
            formula += [formulas.setdefault(s.formula, len(formulas)) for s in found]
            session.expunge_all()
    index = torch.tensor(formula)
    split = split_by_formula(index, share, seed)
    return TensorData(concatenate(parts), torch.tensor(ids), index, split, list(formulas), name, method, content)


def summarise(data: TensorData) -> dict[str, Any]:
    """What a dataset holds, counted once: structures, formulas, elements, space groups, cell sizes, energies."""
    numbers = data.crystals.numbers.numpy()
    elements: Counter[str] = Counter()
    for z in range(1, 119):
        count = int((numbers == z).any(1).sum())
        if count:
            elements[symbol(z)] = count
    groups, group_counts = np.unique(data.crystals.group.numpy(), return_counts=True)
    sizes = torch.bincount(data.formula)
    energy = data.crystals.energy[torch.isfinite(data.crystals.energy)]
    return {
        "structures": len(data),
        "formulas": len(data.formulas),
        "groups_of_7": int((sizes >= 7).sum()),
        "elements": dict(elements),
        "space_groups": {str(int(g)): int(n) for g, n in zip(groups, group_counts, strict=True)},
        "natoms": [int(data.crystals.natoms.min()), int(data.crystals.natoms.max())],
        "energies": len(energy),
        "energy_range": [float(energy.min()), float(energy.max())] if len(energy) else None,
        "validation": int(data.split.sum()),
    }


def check_name(name: str) -> str:
    """The name, if it can be one. Raises UserError."""
    if not _NAME.fullmatch(name):
        raise UserError("A name has 1 to 60 letters, digits, spaces or . _ + -, and begins with a letter or digit.")
    return name


def tensor_path(content: str) -> Path:
    return folder("datasets") / f"{content}.safetensors"


def get_dataset(name: str) -> Dataset:
    """By name or hash. Raises UserError."""
    with store().session() as session:
        found = dataset_rows.find_dataset(session, name)
    if found is None:
        raise UserError(f"There is no dataset {name!r}.")
    return found


def load_tensors(dataset: Dataset) -> TensorData:
    """Its tensor file, memory-mapped. Raises UserError where that is gone."""
    try:
        return read_tensors(tensor_path(dataset.hash))
    except ValueError as error:
        raise UserError(str(error)) from error


def list_datasets() -> list[Dataset]:
    """Newest first."""
    with store().session() as session:
        return dataset_rows.list_datasets(session)


def export_dataset(name: str, target: Path, tensors: bool = False) -> int:
    """Write a dataset as JSON lines (packed where the name ends in .gz), or its tensor file. Returns structures."""
    dataset = get_dataset(name)
    data = load_tensors(dataset)
    partial = target.with_name(target.name + ".partial")
    try:
        if tensors:
            partial.write_bytes(tensor_path(dataset.hash).read_bytes())
        else:
            with gzip.open(partial, "wt") if target.suffix == ".gz" else partial.open("w") as file:
                _write_rows(data, dataset.method, file)
        os.replace(partial, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return len(data)


def _write_rows(data: TensorData, method: str, file: Any) -> None:
    ids = data.ids.tolist()
    for start in range(0, len(ids), _BATCH):
        with store().session() as session:
            part = ids[start : start + _BATCH]
            found = rows.get_structures(session, part)
            energies: dict[int, dict[str, dict[str, float | None]]] = {}
            for e in rows.get_energies(session, part):
                energies.setdefault(e.structure_id, {})[e.method] = {"total": e.total, "formation": e.formation}
        crystals = unpack_cells([s.cell for s in found], [s.space_group for s in found])
        for i, structure in enumerate(found):
            row = row_of(crystals, i, structure.label, energies.get(structure.id), method)
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def delete_dataset(name: str) -> None:
    """Remove a dataset, and imports that no other dataset shares. Refused while models were trained on it."""
    dataset = get_dataset(name)
    with store().session() as session:
        users = [m.name for m in dataset_rows.list_models(session) if m.card.get("dataset_hash") == dataset.hash]
        if users:
            raise UserError(f"{name} is what {', '.join(users)} learned from: delete the model first.")
        import_ids = dataset_rows.imports_of(session, dataset.id)
        dataset_rows.drop_dataset(session, dataset.id)
        for import_id in import_ids:
            if not dataset_rows.datasets_of_import(session, import_id):
                rows.drop_import(session, import_id)
    tensor_path(dataset.hash).unlink(missing_ok=True)
