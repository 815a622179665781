"""How fast structures become what networks see: `python -m benchmarks.encode_structures`.

Takes 56,000 structures of at most 60 atoms: those of mp_polymorphs under `SUBHULL_SHARED` where it is set, repeated up
to that number, else random ones. Prints seconds and structures/s of the paper's matrices with their elements, of the
states, and of the way back, in batches of 1,000 (all element matrices at once would be 1.8 GB), and the largest error.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from core.crystals import Crystals, lattice_from_parameters, lattice_parameters, unpack_cells, wrap
from core.data.encoding import decode, encode
from core.data.features import element_features
from core.data.matrix import SITES, element_matrix, from_matrix, to_matrix
from core.models.state import Conditions

COUNT = 56_000
BATCH = 1000


def real_batches(path: Path) -> list[Crystals]:
    """Every structure of a file of at most 60 atoms."""
    from core.data.readers.parsing import parse_rows
    from core.data.readers.sources import raw_rows

    records = (record for taken, _ in parse_rows(raw_rows(path), "unknown") for record in taken)
    cells = [record.cell for record in records if record.natoms <= SITES]
    cells = [cells[i % len(cells)] for i in range(COUNT)]
    return [unpack_cells(cells[i : i + BATCH]) for i in range(0, COUNT, BATCH)]


def random_batches() -> list[Crystals]:
    """Random cells of 4 to 60 atoms."""
    rng, batches = np.random.default_rng(0), []
    for _ in range(0, COUNT, BATCH):
        sites = torch.from_numpy(np.arange(SITES) < rng.integers(4, SITES + 1, BATCH)[:, None])
        parameters = torch.from_numpy(np.hstack([rng.uniform(2, 15, (BATCH, 3)), rng.uniform(70, 110, (BATCH, 3))]))
        batches.append(
            Crystals(
                torch.from_numpy(rng.random((BATCH, SITES, 3))) * sites[:, :, None],
                lattice_from_parameters(parameters),
                torch.from_numpy(rng.integers(1, 104, (BATCH, SITES))) * sites,
                torch.zeros(BATCH, dtype=torch.int64),
                torch.full((BATCH,), torch.nan, dtype=torch.float64),
            )
        )
    return batches


def by_matrix(crystals: Crystals) -> Crystals:
    return from_matrix(to_matrix(crystals), crystals.numbers)


def by_state(crystals: Crystals) -> Crystals:
    nothing = torch.zeros(len(crystals), 2, dtype=torch.bool)
    return decode(encode(crystals), Conditions(crystals.numbers, crystals.group, crystals.energy, nothing))


def seconds(batches: list[Crystals], work: Callable[[Crystals], object]) -> float:
    started = time.perf_counter()
    for batch in batches:
        work(batch)
    return time.perf_counter() - started


def largest_errors(batches: list[Crystals], way: Callable[[Crystals], Crystals]) -> tuple[float, float, float]:
    """Å of the lengths, degrees of the angles, and of an edge of the cell, over all structures."""
    worst = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        found = way(batch)
        cell = (lattice_parameters(found.lattice.double()) - lattice_parameters(batch.lattice)).abs()
        shift = found.frac.double() - wrap(batch.frac)
        parts = [cell[:, :3].max(), cell[:, 3:].max(), (shift - shift.round()).abs().max()]
        worst = torch.maximum(worst, torch.stack(parts))
    length, angle, place = worst.tolist()
    return length, angle, place


def report(batches: list[Crystals], threads: int) -> None:
    torch.set_num_threads(threads)
    works: dict[str, Callable[[Crystals], object]] = {
        "64 × 3 matrices": to_matrix,
        "64 × 125 element matrices": lambda c: element_matrix(c.numbers),
        "states": encode,
        "matrices and back": by_matrix,
        "states and back": by_state,
    }
    took = {name: seconds(batches, work) for name, work in works.items()}
    for name, value in took.items():
        print(f"  {name}: {value:.2f} s, {COUNT / value:,.0f} structures/s")
    total = sum(list(took.values())[:3])
    print(f"  encoded all three ways in {total:.1f} s with torch threads: {threads} (aim: < 30 s)")


def main() -> None:
    shared = os.environ.get("SUBHULL_SHARED")
    path = Path(shared) / "data" / "mp_polymorphs.jsonl.gz" if shared else None
    started = time.perf_counter()
    real = path is not None and path.is_file()
    batches = real_batches(path) if path and real else random_batches()
    cores = len(os.sched_getaffinity(0))
    print(f"{COUNT:,} {'real' if real else 'random'} structures, read in {time.perf_counter() - started:.1f} s")
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f}")
    element_features()  # read once, not with the first batch
    for threads in sorted({1, cores}):  # two threads on a busy machine wait for each other
        report(batches, threads)
    for name, way in (("matrices", by_matrix), ("states", by_state)):
        length, angle, place = largest_errors(batches, way)
        print(f"largest error by {name}: {length:.1e} Å, {angle:.1e}°, {place:.1e} of an edge")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
