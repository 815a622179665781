"""Rows with AFLOW's keys into a Parquet file; `core.data.readers.sources` reads it back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS = 10_000  # of a row group
SCHEMA = pa.schema(
    [
        ("auid", pa.string()),
        ("compound", pa.string()),
        ("pretty_formula", pa.string()),
        ("nspecies", pa.int16()),
        ("natoms", pa.int16()),
        ("species", pa.list_(pa.string())),
        ("composition", pa.list_(pa.int16())),
        ("geometry", pa.list_(pa.float64())),
        ("positions_fractional", pa.list_(pa.list_(pa.float64()))),
        ("spacegroup_relax", pa.int16()),
        ("enthalpy_formation_atom", pa.float64()),
        ("energy_source", pa.string()),
        ("energies", pa.string()),
        ("split", pa.string()),
    ]
)


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows piece by piece; keys that the schema does not have are left out. Returns how many.

    `energies` is JSON text in its column: methods differ from file to file.
    """
    rows = iter(rows)
    count = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while some := list(islice(rows, _ROWS)):
            flat = [{**r, "energies": json.dumps(r["energies"]) if "energies" in r else None} for r in some]
            writer.write_table(pa.Table.from_pylist(flat, schema=SCHEMA))
            count += len(some)
    return count
