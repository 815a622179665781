"""How fast a file of structures becomes a dataset: `python -m benchmarks.import_structures FILE.jsonl.gz`.

Prints seconds, structures/s and peak memory of the import (children apart), beside the plain loop of json.loads and
pymatgen's Structure over the first 2,000 rows of the same file, as a ratio in one run.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path


def plain_rate(path: Path, rows: int = 2000) -> float:
    """Rows per second of the obvious way: json.loads, pymatgen's Structure, its reduced formula."""
    from pymatgen.core import Lattice, Structure

    started, count = time.perf_counter(), 0
    with gzip.open(path, "rt") as file:
        for line in islice(file, rows):
            row = json.loads(line)
            species = [s for s, n in zip(row["species"], row["composition"], strict=True) for _ in range(n)]
            structure = Structure(Lattice.from_parameters(*row["geometry"]), species, row["positions_fractional"])
            assert structure.composition.reduced_formula
            count += 1
    return count / (time.perf_counter() - started)


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SUBHULL_VAR"] = folder
        from core.workflows.imports import ImportParams, import_files
        from core.workflows.prototypes import PrintedProgress

        baseline = plain_rate(path)
        started = time.perf_counter()
        context = PrintedProgress(Path(folder), lambda _: None)
        result = import_files(ImportParams((str(path),), "benchmark", "unknown"), context)
        seconds = time.perf_counter() - started
        size = sum(p.stat().st_size for p in Path(folder).glob("subhull.db*")) / 1e6
    rate = result["structures"] / seconds
    own, children = (
        resource.getrusage(who).ru_maxrss / 1e3 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"structures {result['structures']:,}, skipped {result['skipped']:,}")
    print(f"seconds {seconds:.1f}, {rate:,.0f} structures/s, {os.cpu_count()} cores, database {size:.0f} MB")
    print(f"peak memory {own:.0f} MB, largest child {children:.0f} MB")
    print(f"plain loop {baseline:,.0f} rows/s without a store or checks: ratio {rate / baseline:.2f}")


if __name__ == "__main__":
    main()
