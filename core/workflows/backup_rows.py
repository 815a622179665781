"""Rows of a back-up as Parquet, whatever database they came from: one column type for each of SQLAlchemy's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import JSON, Boolean, DateTime, Float, Integer, LargeBinary, String

from db.dump import Rows
from db.tables import Base

_TYPES: list[tuple[type, pa.DataType]] = [
    (Boolean, pa.bool_()),
    (Integer, pa.int64()),
    (Float, pa.float64()),
    (DateTime, pa.timestamp("us", tz="UTC")),
    (JSON, pa.string()),
    (LargeBinary, pa.binary()),
    (String, pa.string()),
]
_JSON = b"json"  # in a field's metadata: its text is JSON


def write_parquet(path: Path, name: str, parts: Iterable[Rows]) -> int:
    """A table's rows into a file; returns how many."""
    schema = _schema(name)
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in parts:
            for field in schema:
                if _is_json(field):
                    for row in rows:
                        row[field.name] = None if row[field.name] is None else json.dumps(row[field.name])
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema))
            count += len(rows)
    return count


def arrow_rows(path: Path) -> Iterator[Rows]:
    """What `write_parquet` wrote, some thousand rows at a time."""
    with pq.ParquetFile(path) as file:
        fields = [field.name for field in file.schema_arrow if _is_json(field)]
        for batch in file.iter_batches(5_000):
            rows: Rows = batch.to_pylist()
            for row in rows:
                for name in fields:
                    row[name] = None if row[name] is None else json.loads(row[name])
            yield rows


def moved_rows(rows: Rows, old: str, new: str) -> Rows:
    """The same rows with every path below the folder `old` below `new`."""
    return rows if old == new else [{k: _moved(v, old, new) for k, v in row.items()} for row in rows]


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str) and (value == old or value.startswith(old + "/")):
        return new + value[len(old) :]
    if isinstance(value, dict):
        return {k: _moved(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_moved(v, old, new) for v in value]
    return value


def _schema(name: str) -> pa.Schema:
    def field(column: Any) -> pa.Field:
        kind = next(arrow for sql, arrow in _TYPES if isinstance(column.type, sql))
        return pa.field(column.name, kind, metadata={"is": _JSON} if isinstance(column.type, JSON) else None)

    return pa.schema([field(column) for column in Base.metadata.tables[name].columns])


def _is_json(field: pa.Field) -> bool:
    return bool((field.metadata or {}).get(b"is") == _JSON)
