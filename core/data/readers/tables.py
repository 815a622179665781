"""Tables of structures, CSV and Parquet: a `cif` column (CDVAE, MP-20, MatterGen) or AFLOW's columns."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.data.readers.columns import row_values

_BATCH = 500  # rows of a Parquet file held at once


def csv_rows(path: Path, name: str, packed: bool, longest: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a CSV; a row that cannot be read has only a "problem". Raises ValueError for other columns."""
    csv.field_size_limit(longest)
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        text = io.TextIOWrapper(file, "utf-8-sig", "replace", newline="")
        reader = csv.DictReader(text)
        columns = [c.strip() for c in reader.fieldnames or []]
        reader.fieldnames = columns
        check_columns(columns, name, "CSV")
        while True:
            place = f"line {reader.line_num + 1}"
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield place, {"problem": str(error)}
                continue
            yield place, dict(row) if "cif" in columns else row_values(row)


def parquet_rows(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a Parquet file, read piece by piece. Raises ValueError where it is none, or for other columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} is no Parquet file, or is cut off: copy it again.") from error
    with file:
        columns = list(file.schema_arrow.names)
        check_columns(columns, name, "Parquet file")
        number = 0
        for batch in file.iter_batches(_BATCH):
            for row in batch.to_pylist():
                number += 1
                kept = {k: v for k, v in row.items() if v is not None}
                if isinstance(kept.get("energies"), str):
                    try:
                        kept["energies"] = json.loads(kept["energies"])
                    except ValueError:
                        del kept["energies"]
                yield f"row {number}", kept


def check_columns(columns: Sequence[str], name: str, what: str) -> None:
    """Raises ValueError with a sentence where the columns are not those of structures."""
    have = set(columns)
    aflow = {"geometry", "positions_fractional"} <= have and have & {"species", "pretty_formula", "compound"}
    if "cif" not in have and not aflow:
        found = ", ".join(columns[:8]) or "none"
        raise ValueError(
            f"{name}: a {what} needs a column `cif`, or AFLOW's geometry and positions_fractional with species and "
            f"composition or pretty_formula; its columns are {found}."
        )
