"""Real structures for tests, spread over a file of them."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

from core.crystals import Crystals, unpack_cells
from core.data.readers.parsing import parse_chunk
from core.data.readers.sources import Raw


def some_structures(path: Path, every: int, lines: int | None = None) -> tuple[Crystals, list[str]]:
    """Every so-manieth structure of a file of JSON lines, or of its first lines, and their reduced formulas."""
    with gzip.open(path, "rt") as file:
        raws = [Raw("json", f"line {i}", line, "") for i, line in enumerate(islice(file, lines)) if i % every == 0]
    records, problems = parse_chunk((raws, "", ()))
    assert not problems
    return unpack_cells([r.cell for r in records]), [r.formula for r in records]
