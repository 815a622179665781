"""Tables of structures, CSV and Parquet: a `cif` column (CDVAE, MP-20, MatterGen) or AFLOW's columns."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from core.data.readers.columns import as_list, row_values

_BATCH = 500  # rows of a Parquet file held at once
_GROUP_BYTES = 2_000_000_000  # of a column of one row group, unpacked
_GROUP_VALUES = 200_000_000
_LISTS = ("species", "composition", "geometry", "positions_fractional")
_KEPT = {  # columns that are read; others may be anything
    *_LISTS, "cif", "material_id", "auid", "aurl", "compound", "pretty_formula", "spacegroup_relax", "split",
    "enthalpy_formation_atom", "energy_atom", "energy_cell", "energy_source", "energies", "dft_type", "natoms",
    "formation_energy_per_atom", "heat_all", "e_form",
}  # fmt: skip


def csv_rows(path: Path, name: str, packed: bool, longest: int, most: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a CSV; a row that cannot be read has only a "problem". Raises ValueError for other columns.

    longest: bytes of a line, and of a value; most: bytes of the file, unpacked
    """
    csv.field_size_limit(longest)
    dropped: list[int] = []
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        reader = csv.reader(_lines(cast(IO[bytes], file), name, longest, most, dropped))
        try:
            columns = [c.strip() for c in next(reader, [])]
        except csv.Error as error:
            raise ValueError(f"{name}: its first line cannot be read as the columns of a CSV: {error}.") from error
        check_columns(columns, name, "CSV")
        while True:
            place, problem = f"line {reader.line_num + 1}", ""
            try:
                values = next(reader, None)
            except csv.Error as error:
                values, problem = [], str(error)
            while dropped:
                yield f"line {dropped.pop(0)}", {"problem": "the line is too long"}
            if values is None:
                return
            row = dict(zip(columns, values, strict=False))
            if problem:
                yield place, {"problem": problem}
            elif row:
                yield place, row if "cif" in columns else row_values(row)


def _lines(file: IO[bytes], name: str, longest: int, most: int, dropped: list[int]) -> Iterator[str]:
    """Lines as text. One that is too long comes as an empty line, and its number is in `dropped`."""
    number = total = 0
    while line := file.readline(longest + 1):
        number += 1
        total += len(line)
        if len(line) > longest:
            dropped.append(number)
            while line and not line.endswith(b"\n") and total <= most:
                line = file.readline(longest)
                total += len(line)
            line = b"\n"
        if total > most:
            raise ValueError(f"{name} holds more than {most // 10**9} GB: split it.")
        yield line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")


def parquet_rows(path: Path, name: str, longest: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a Parquet file, read piece by piece; a row that cannot be read has only a "problem".

    longest: bytes of a value. Raises ValueError where it is no such file, for other columns, and for one that unpacks
    to more than a computer holds.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    damaged = f"{name} is no Parquet file, or is cut off: copy it again."
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            check_columns(names, name, "Parquet file")
            _check_groups(file.metadata, name)
            texts = [f.name for f in file.schema_arrow if f.name in _KEPT and _is_text(f.type)]
    except (pa.ArrowException, OSError) as error:
        raise ValueError(damaged) from error
    # a text that stands in every row is held once, as the file holds it
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        number = 0
        try:
            for batch in file.iter_batches(_BATCH, columns=[n for n in names if n in _KEPT]):
                for row in _batch_rows(batch, longest):
                    number += 1
                    yield f"row {number}", row
        except (pa.ArrowException, OSError) as error:
            raise ValueError(damaged) from error


def _check_groups(metadata: Any, name: str) -> None:
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            if column.path_in_schema.split(".")[0] not in _KEPT:
                continue
            if column.total_uncompressed_size > _GROUP_BYTES or column.num_values > _GROUP_VALUES:
                raise ValueError(f"{name}: a row group unpacks to too much: write it with fewer rows per group.")


def _batch_rows(batch: Any, longest: int) -> Iterator[dict[str, Any]]:
    """Rows as JSON objects would be; those with a value longer than `longest` bytes have only a "problem"."""
    import pyarrow as pa
    import pyarrow.compute as pc

    over = np.zeros(len(batch), dtype=bool)
    for column in batch.columns:
        packed = pa.types.is_dictionary(column.type)
        texts = column.dictionary if packed else column
        if _is_text(texts.type):
            lengths = pc.binary_length(texts)
            lengths = lengths.take(column.indices) if packed else lengths
            over |= lengths.fill_null(0).to_numpy(zero_copy_only=False) > longest
    rows = iter(batch.filter(pa.array(~over)).to_pylist())
    for long in over:
        yield {"problem": "a value is too long"} if long else _plain(next(rows))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in row.items() if v is not None}
    for key in _LISTS:
        if isinstance(kept.get(key), str):
            kept[key] = as_list(kept[key])
    if isinstance(kept.get("energies"), str):
        try:
            kept["energies"] = json.loads(kept["energies"])
        except (ValueError, RecursionError):
            del kept["energies"]
    return kept


def check_columns(columns: Sequence[str], name: str, what: str) -> None:
    """Raises ValueError with a sentence where the columns are not those of structures."""
    have = set(columns)
    aflow = {"geometry", "positions_fractional"} <= have and have & {"species", "pretty_formula", "compound"}
    if "cif" not in have and not aflow:
        found = ", ".join(columns[:8]) or "none"
        raise ValueError(
            f"{name}: a {what} needs a column `cif`, or AFLOW's geometry and positions_fractional with species and "
            f"composition or pretty_formula; its columns are {found[:200]}."
        )
