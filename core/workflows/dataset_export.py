"""Datasets as files: JSON lines, Parquet, or the tensor file that training elsewhere reads."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.crystals import unpack_cells
from core.data.features import element_features, space_group_operations
from core.data.pairs import fits_ahead, lowest_energy_pairs, pair_groups
from core.data.readers.export import write_parquet
from core.data.rows import row_of
from core.data.tensors import VALIDATION, TensorData, write_tensors
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.store import folder, store
from db import structures as rows

_BATCH = 4_000
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")


def export_dataset(name: str, target: Path, tensors: bool = False, pairs: bool = False, processes: int = 1) -> int:
    """Write a dataset: Parquet where the name ends so, else JSON lines (packed for .gz). Returns structures.

    With `tensors`: one safetensors file of structures, energies, split, validation pairs, element features and the
    groups' operations; with `pairs` also how start and target of every pair to modify lie beside one another, so that
    no training has to find out. Raises UserError where the file cannot be written.
    """
    dataset = get_dataset(name)
    data = load_tensors(dataset)
    if not tensors and not target.name.endswith(ENDINGS):
        raise UserError(f"{target.name}: a dataset is written as {', '.join(ENDINGS)}; --tensors writes any name.")
    if not target.parent.is_dir():
        raise UserError(f"There is no folder {target.parent}.")
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        if tensors:
            write_tensors(partial, replace(data, fits=fits_ahead(data, processes)) if pairs else data, _extra(data))
        elif target.suffix == ".parquet":
            write_parquet(partial, dataset_rows(data, dataset.method))
        else:
            with gzip.open(partial, "wt") if target.suffix == ".gz" else partial.open("w") as file:
                for row in dataset_rows(data, dataset.method):
                    file.write(json.dumps(row, separators=(",", ":")) + "\n")
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # safetensors makes files that only their owner reads
        os.replace(partial, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return len(data)


def export_bytes(name: str, suffix: str) -> bytes:
    """The same as bytes: suffix "jsonl", "jsonl.gz" or "parquet"."""
    with tempfile.TemporaryDirectory(dir=folder("uploads")) as place:
        target = Path(place) / f"dataset.{suffix}"
        export_dataset(name, target)
        return target.read_bytes()


def dataset_rows(data: TensorData, method: str) -> Iterator[dict[str, Any]]:
    """Every structure as a row with AFLOW's keys and its part of the split, in the dataset's order."""
    ids, parts = data.ids.tolist(), data.split.tolist()
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
            yield row | {"split": "val" if parts[start + i] == VALIDATION else "train"}


def _extra(data: TensorData) -> dict[str, Any]:
    return {
        "validation_pairs": lowest_energy_pairs(pair_groups(data, data.part(VALIDATION))),
        "element_features": element_features(),
        "operations": space_group_operations(folder("cache")),
    }
