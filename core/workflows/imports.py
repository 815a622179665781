"""Imports: files of structures read into the store, once, for any number of datasets."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from core.crystals import unpack_cells
from core.data.arrays import ArrayWriter, StructureArrays, open_arrays, write_arrays
from core.data.readers.parsing import parse_rows
from core.data.readers.records import Problem, Record, closest_approach
from core.data.readers.sources import SourceError, raw_rows
from core.workflows import audit
from core.workflows.acting import EDITOR, acting, require
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.made import keep_made, made_before
from core.workflows.store import folder, store
from core.workflows.uploads import forget, forgotten_if_refused
from db import datasets as dataset_rows
from db import jobs as job_rows
from db import structures as rows

_BATCH = 20_000  # rows per transaction: about a second, so that other writers never wait long
_KEPT_PROBLEMS = 10_000  # of the rows not taken, so many are kept with their sentence; all are counted


@dataclass(frozen=True)
class ImportParams:
    """files: paths; name: of the import and of its dataset; method: the energy method where rows name none.

    source: what to call the files; uploads: their names where the paths are copies made for this job, then deleted
    notes: (key, text) pairs to keep with the import: licence, citation
    dft_types: AFLOW entries of other DFT types are not taken; () takes all, each as a method of its own
    """

    files: tuple[str, ...]
    name: str
    method: str = ""
    source: str = ""
    uploads: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    dft_types: tuple[str, ...] = ()


def import_files(params: ImportParams, context: Context) -> dict[str, Any]:
    """Read files into the store and make a dataset of all good rows.

    Rows that cannot be used are named with their line; good rows are kept. Nothing is shown before all of it is there.
    Returns structures, skipped, reasons, import_id, dataset, dataset_id. Raises UserError.
    """
    require(EDITOR)
    copies = params.files if params.uploads else ()
    if (made := made_before(context.job_id)) is None:
        with forgotten_if_refused(copies):
            made = _import(params, context)
    forget(copies)
    return made


def _import(params: ImportParams, context: Context) -> dict[str, Any]:
    from core.workflows.datasets import check_new_name, dataset_of_all

    check_new_name(params.name)
    paths = [Path(f) for f in params.files]
    missing = [p.name for p in paths if not p.is_file()]
    if missing or not paths:
        raise UserError(f"There is no file {missing[0]}." if missing else "No file was named.")
    names = params.uploads or tuple(p.name for p in paths)
    import_id = _begin(params, names, context)
    taken = _Taken(import_id)
    try:
        started = time.monotonic()
        for path, name in zip(paths, names, strict=True):
            _read(path, name, len(paths) > 1, params, taken, context, started)
        taken.finish()
        if not taken.total:
            raise UserError(_nothing_taken(names, taken))
        context.progress(None, f"Making the dataset of {taken.total:,} structures")
        dataset = dataset_of_all(params.name, import_id, taken.digest.hexdigest(), params.method, dict(taken.reasons))
        return _show(params, taken, dataset, context.job_id)
    except BaseException:
        taken.close()
        drop_import(import_id)
        raise


def open_import(import_id: int) -> StructureArrays:
    """The structures of an import, memory-mapped; written again from the store's rows where the files are gone."""
    path = arrays_folder(import_id)
    try:
        return _open(path, _stamp(path))
    except ValueError:
        with store().session() as session:
            known = rows.get_import(session, import_id)
        if known is None:
            raise UserError("The structures of this dataset are gone from the store.") from None
        write_arrays(path, _stored(import_id))
        return _open(path, _stamp(path))


def drop_import(import_id: int) -> None:
    """Remove an import with its rows and files."""
    with store().session() as session:
        rows.drop_import(session, import_id)
    shutil.rmtree(arrays_folder(import_id), ignore_errors=True)


def arrays_folder(import_id: int) -> Path:
    return folder("imports") / str(import_id)


def _stamp(path: Path) -> int:
    """When the arrays were written: a database may give a dropped import's number to a new one."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=16)
def _open(path: Path, _: int) -> StructureArrays:
    return open_arrays(path)


@dataclass(frozen=True)
class _StoredRow:
    """A structure read back from the store, as the arrays want it."""

    formula: str
    natoms: int
    space_group: int
    cell: bytes
    energies: dict[str, tuple[float | None, float | None]]
    volume: float
    closest: float
    split: str = ""  # the store does not keep it; a dataset's own split is in its file


def _stored(import_id: int) -> Iterator[tuple[list[_StoredRow], list[int]]]:
    with store().session() as session:
        ids = rows.structures_of_import(session, import_id)
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        with store().session() as session:
            found = rows.get_structures(session, part)
            energies: dict[int, dict[str, tuple[float | None, float | None]]] = {i: {} for i in part}
            for e in rows.get_energies(session, part):
                energies[e.structure_id][e.method] = (e.total, e.formation)
        crystals = unpack_cells([s.cell for s in found])
        lattice = crystals.lattice.numpy()
        closest = np.concatenate(
            [
                closest_approach(crystals.frac[k].numpy(), lattice[k], crystals.mask[k].numpy())
                for k in np.array_split(np.arange(len(found)), -(-len(found) // 200))
            ]
        )
        volume = (crystals.volume / crystals.natoms).numpy()
        yield (
            [
                _StoredRow(s.formula, s.natoms, s.space_group, s.cell, energies[s.id], float(v), float(c))
                for s, v, c in zip(found, volume, closest, strict=True)
            ],
            part,
        )


class _Taken:
    """What an import has taken so far; writes in short transactions."""

    def __init__(self, import_id: int) -> None:
        self.import_id = import_id
        self.total = 0
        self.reasons: Counter[str] = Counter()
        self.first = ""
        self.digest = hashlib.sha256()
        self._arrays = ArrayWriter(arrays_folder(import_id))
        self._labels: set[int] = set()  # hashes: two million names would fill the memory
        self._records: list[Record] = []
        self._problems: list[tuple[str, str, str]] = []

    def add(self, records: Sequence[Record], problems: Sequence[Problem], prefix: str) -> None:
        for problem in problems:
            self.refuse(_place(prefix, problem.place), problem.reason, problem.detail)
        for record in records:
            label = hash(record.label)
            if label in self._labels:
                what = "structure is" if record.label.startswith("sha1:") else f"name {record.label!r} is"
                self.refuse(_place(prefix, record.place), "duplicate", f"the {what} here already, from a row before it")
                continue
            self._labels.add(label)
            self._records.append(record)
            self.digest.update(f"{record.label} {record.energies} {record.split}".encode() + record.cell)
        if len(self._records) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting, in one transaction."""
        structures = [(r.label, r.formula, r.chemical_system, r.natoms, r.space_group, r.cell) for r in self._records]
        energies = [(i, m, total, form) for i, r in enumerate(self._records) for m, (total, form) in r.energies.items()]
        with store().session() as session:
            ids = rows.add_structures(session, self.import_id, structures, energies)
            rows.add_skipped(session, self.import_id, self._problems)
        self._arrays.append(self._records, ids)
        self.total += len(structures)
        self._records, self._problems = [], []

    def finish(self) -> None:
        self.flush()
        self._arrays.finish()

    def close(self) -> None:
        self._arrays.close()

    def refuse(self, place: str, reason: str, detail: str) -> None:
        self.reasons[reason] += 1
        self.first = self.first or f"{place}: {detail}"
        if self.reasons.total() <= _KEPT_PROBLEMS:
            self._problems.append((place, reason, detail))


def _begin(params: ImportParams, names: Sequence[str], context: Context) -> int:
    """A hidden import, after removing what killed imports left behind."""
    with store().session() as session:
        active = {job.id for job in job_rows.list_jobs(session, job_rows.ACTIVE, limit=10_000)} - {context.job_id}
        left = [i.id for i in rows.unfinished_imports(session) if i.notes.get("job") not in active]
    for import_id in left:
        drop_import(import_id)
    with store().session() as session:
        import_id = rows.add_import(session, params.name, params.source or ", ".join(names)[:500], acting().id)
        rows.note_import(session, import_id, {"job": context.job_id})
    return import_id


def _read(
    path: Path, name: str, several: bool, params: ImportParams, taken: _Taken, context: Context, started: float
) -> None:
    """One file into the store. Its name stands before its places where there are several files."""
    prefix = f"{name}, " if several else ""
    try:
        for records, problems in parse_rows(raw_rows(path, name), params.method, dft_types=params.dft_types):
            taken.add(records, problems, prefix)
            if context.cancelled():
                raise Cancelled
            rate = taken.total / max(time.monotonic() - started, 1e-9)
            context.progress(None, f"{taken.total:,} structures read ({rate:,.0f}/s)")
    except SourceError as error:
        if not several:
            raise UserError(str(error)) from error
        taken.refuse(name, "unreadable file", str(error))


def _place(prefix: str, place: str) -> str:
    """Where a row stood; a file that is one row stands for itself."""
    return place if prefix.removesuffix(", ") == place else prefix + place


def _nothing_taken(names: Sequence[str], taken: _Taken) -> str:
    if not taken.reasons:
        return f"{', '.join(names)} holds no structures."
    count = taken.reasons.total()
    which = "The only row" if count == 1 else f"None of the {count:,} rows"
    return f"{which} could {'not ' * (count == 1)}be used. The first: {taken.first}."


def _show(params: ImportParams, taken: _Taken, made: dict[str, Any], job_id: int) -> dict[str, Any]:
    """Show the import and its dataset, in one transaction."""
    methods = made["summary"]["methods"]
    with store().session() as session:
        rows.finish_import(
            session,
            taken.import_id,
            sha256=taken.digest.hexdigest(),
            structures=taken.total,
            skipped=taken.reasons.total(),
            notes={"methods": methods, "skipped": dict(taken.reasons), **dict(params.notes)},
        )
        dataset_id = dataset_rows.add_dataset(session, [taken.import_id], **made, owner_id=acting().id)
        audit.record(session, "import", "dataset", params.name, f"{taken.total:,} structures")
        result = {
            "structures": taken.total,
            "skipped": taken.reasons.total(),
            "reasons": dict(taken.reasons),
            "import_id": taken.import_id,
            "dataset": params.name,
            "dataset_id": dataset_id,
        }
        keep_made(session, job_id, result)
    return result
