"""Two million synthetic structures through the store: `python -m benchmarks.two_million [--rows N] [--postgres URL]`.

Writes a JSON-lines file of random crystals (85,000 formulas, 4 to 20 atoms), imports it, filters it, opens the page
Datasets on it and starts a training; prints rates, sizes, times and memory. Everything lies in a temporary folder.
Without `--postgres` the store is SQLite.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ELEMENTS = [
    "Li",
    "B",
    "C",
    "N",
    "O",
    "F",
    "Na",
    "Mg",
    "Al",
    "Si",
    "P",
    "S",
    "Cl",
    "K",
    "Ca",
    "Ti",
    "V",
    "Cr",
    "Mn",
    "Fe",
    "Co",
    "Ni",
    "Cu",
    "Zn",
    "Ga",
    "Ge",
    "As",
    "Se",
    "Br",
    "Sr",
    "Y",
    "Zr",
    "Nb",
    "Mo",
    "Ta",
    "W",
]


def write_rows(path: Path, rows: int, seed: int = 0) -> None:
    """Random crystals with AFLOW's keys, as polymorphs of 85,000 formulas at most."""
    import orjson

    rng = np.random.default_rng(seed)
    contents = []
    for _ in range(min(85_000, max(10, rows // 24))):
        chosen = sorted(rng.choice(len(ELEMENTS), 3, replace=False))
        contents.append(([ELEMENTS[i] for i in chosen], rng.integers(1, 5, 3).tolist()))
    with path.open("wb") as file:
        for start in range(0, rows, 1000):
            which = rng.integers(len(contents), size=1000)
            units = rng.integers(1, 3, size=1000)
            cells = np.round(rng.uniform(4, 8, (1000, 3)), 5)
            energies, groups = np.round(rng.normal(-0.5, 0.4, 1000), 5), rng.choice([1, 12, 62, 139, 194, 225], 1000)
            lines = []
            for i in range(min(1000, rows - start)):
                species, counts = contents[which[i]]
                counts = [int(n * units[i]) if sum(counts) * units[i] <= 20 else int(n) for n in counts]
                row = {
                    "auid": f"synthetic:{start + i:010d}",
                    "species": species,
                    "composition": counts,
                    "geometry": [*cells[i].tolist(), 90, 90, 90],
                    "positions_fractional": np.round(rng.random((sum(counts), 3)), 6).tolist(),
                    "spacegroup_relax": int(groups[i]),
                    "enthalpy_formation_atom": float(energies[i]),
                    "energy_source": "synthetic",
                }
                lines.append(orjson.dumps(row))
            file.write(b"\n".join(lines) + b"\n")


class Memory:
    """The most memory that this process and its children held together while the block ran, MB as `used` counts."""

    def __init__(self, process: psutil.Process) -> None:
        self.process, self.peak = process, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.peak = max(self.peak, used(self.process))


def used(process: psutil.Process) -> float:
    """MB of a process and its children without the pages of mapped files, which the system shares and can drop."""
    total = 0.0
    with suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with suppress(OSError, psutil.Error):
                rollup = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
                total += int(rollup.split("Anonymous:")[1].split()[0]) / 1e3
    return total


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = what()
    return time.perf_counter() - started, result


def size_of(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def run_import(path: Path, var: Path) -> None:
    from core.workflows.imports import ImportParams, import_files
    from core.workflows.prototypes import PrintedProgress

    context = PrintedProgress(var / "job", lambda _: None)
    with Memory(psutil.Process()) as memory:
        seconds, result = timed(lambda: import_files(ImportParams((str(path),), "large", ""), context))
    count = result["structures"]
    print(f"import: {count:,} structures in {seconds:.0f} s, {count / seconds:,.0f}/s, {memory.peak:,.0f} MB at most")
    sizes = {part: size_of(var / part) for part in ("imports", "datasets")}
    database = sum(p.stat().st_size for p in var.glob("subhull.db*")) / 1e6
    print(f"files: rows {path.stat().st_size / 1e6:,.0f} MB, arrays {sizes['imports']:,.0f} MB, "
          f"membership {sizes['datasets']:,.0f} MB, SQLite {database:,.0f} MB")  # fmt: skip


def run_build(var: Path) -> None:
    from core.data.encoding import encode
    from core.data.matrix import to_matrix
    from core.data.recipe import PAPER
    from core.workflows.datasets import columns_of, filtered, find_imports, get_dataset, load_tensors, with_method

    (known,) = find_imports(["large"])
    opening, columns = timed(lambda: columns_of([known.id]))
    recipe = with_method(PAPER, columns)
    first, _ = timed(lambda: filtered(columns, recipe))
    again, (keep, _) = timed(lambda: filtered(columns, recipe))
    print(f"filters: opened in {opening:.2f} s, first {first:.2f} s, each further change {again:.2f} s, "
          f"{int(keep.sum()):,} of {len(columns):,} stay")  # fmt: skip
    data = load_tensors(get_dataset("large"))
    rows = np.random.default_rng(0).permutation(len(data))[:56_000].reshape(-1, 500)
    state, _ = timed(lambda: [encode(data.crystals[part]) for part in rows])
    matrix, _ = timed(lambda: [to_matrix(data.crystals[part]) for part in rows])
    print(f"encoding {rows.size:,} of them in any order: states {state:.1f} s, 64 × 3 matrices {matrix:.1f} s")


def run_page() -> None:
    from streamlit.testing.v1 import AppTest

    from core.settings import ROOT

    def open_page(**query: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "core" / "ui" / "router.py"), default_timeout=300)
        for key, value in query.items():
            app.query_params[key] = value
        app.switch_page("../../pages/datasets.py")
        app.run()
        if app.exception:
            raise RuntimeError(app.exception[0].value)
        return app

    empty, _ = timed(lambda: open_page(dataset="none"))
    asked = {"dataset": "large"}
    first, _ = timed(lambda: open_page(**asked))
    again, _ = timed(lambda: open_page(**asked))
    tables, _ = timed(lambda: open_page(**asked, show="structures"))
    chosen, _ = timed(lambda: open_page(**asked, show="structures", element="Ta", group="225"))
    last, _ = timed(lambda: open_page(**asked, show="structures", page="99999999"))
    print(f"page: first time in a process {first:.2f} s, again {again:.2f} s, its table {tables:.2f} s, "
          f"filtered by element and space group {chosen:.2f} s, its last page {last:.2f} s; "
          f"{used(psutil.Process()):,.0f} MB (opening any page first: {empty:.1f} s)")  # fmt: skip


def run_training(var: Path) -> None:
    command = [sys.executable, "-m", "core", "train", "--dataset", "large", "--name", "t", "--steps", "60"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--detach"], stdout=subprocess.DEVNULL)
    process.wait()
    from core.workflows.store import store
    from db import jobs

    first, most = None, 0.0
    while time.perf_counter() - started < 300:
        with store().session() as session:
            (job, *_) = jobs.list_jobs(session, kinds=["train"])
            metrics = jobs.read_metrics(session, job.id, ["loss"])
        if metrics and first is None:
            first = time.perf_counter() - started
        if job.pid and psutil.pid_exists(job.pid):
            most = max(most, used(psutil.Process(job.pid)))
        if job.status not in ("queued", "running"):
            break
        time.sleep(0.2)
    begun = f"{first:.1f} s" if first else "never"
    print(f"training: first loss {begun} after the command ({job.status}), {most:,.0f} MB of its own")


STEPS: dict[str, Callable[..., None]] = {
    "import": run_import,
    "build": run_build,
    "page": run_page,
    "training": run_training,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--postgres", default="", help="URL of an empty database")
    parser.add_argument("--step", choices=STEPS, help="one part, in a folder made before (SUBHULL_VAR)")
    parser.add_argument("--file", type=Path)
    asked = parser.parse_args()
    if asked.step:
        arguments = {"import": (asked.file, Path(os.environ["SUBHULL_VAR"])), "page": ()}
        STEPS[asked.step](*arguments.get(asked.step, (Path(os.environ["SUBHULL_VAR"]),)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "SUBHULL_VAR": str(folder / "var"), "OMP_NUM_THREADS": "1"}
        if asked.postgres:
            environment["SUBHULL_DATABASE_URL"] = asked.postgres
        path = asked.file or folder / "rows.jsonl"
        if not path.is_file():
            seconds, _ = timed(lambda: write_rows(path, asked.rows))
            print(f"written {asked.rows:,} rows in {seconds:.0f} s", flush=True)
        print(f"{os.cpu_count()} cores, {'Postgres' if asked.postgres else 'SQLite'}", flush=True)
        for step in STEPS:  # each in a process of its own, so that its memory is its own
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.two_million", "--step", step]
            subprocess.run([*command, "--file", str(path)], env=environment, check=True)


if __name__ == "__main__":
    main()
