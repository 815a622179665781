"""How fast pairs of crystals are matched: `python -m benchmarks.match_pairs [PAIRS] [--matcher paper|field]`.

Takes real pairs of mp_polymorphs under `SUBHULL_SHARED`: polymorphs of one formula, and structures with their own
copies, strained, turned, shifted, with other atom order and atoms moved by up to 0.8 Å. Prints the seconds of the plain
loop over pymatgen's StructureMatcher and of `match_pairs`, from a cold start, and where their verdicts differ.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
from pymatgen.core import Lattice, Structure

from core.crystals import from_structures, to_structures, unpack_cells
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import raw_rows
from core.evaluation.matching import matcher
from core.evaluation.pool import MatchPool, match_pairs
from core.evaluation.reduction import _reduce

POLYMORPHS = 0.35  # share of pairs that are two structures of a formula
NOISE = (0.0, 0.02, 0.1, 0.2, 0.4, 0.8)  # Å
STRAIN = (0.0, 0.01, 0.03, 0.06)


def real_pairs(path: Path, count: int, seed: int = 0) -> tuple[list[Structure], list[Structure]]:
    """`count` pairs of a file of structures; about half of them match by the paper's tolerances."""
    rng = np.random.default_rng(seed)
    records = [r for taken, _ in parse_rows(raw_rows(path), "", processes=1) for r in taken]
    formulas: dict[str, list[bytes]] = {}
    for record in records:
        formulas.setdefault(record.formula, []).append(record.cell)
    several = [cells for cells in formulas.values() if len(cells) > 1]
    some = rng.choice(len(several), min(len(several), round(count * POLYMORPHS)), replace=False)
    both = [rng.choice(len(several[k]), 2, replace=False) for k in some]
    first = [several[k][i] for k, (i, _) in zip(some, both, strict=True)]
    second = [several[k][j] for k, (_, j) in zip(some, both, strict=True)]
    rest = [records[i].cell for i in rng.choice(len(records), count - len(some), replace=False)]
    originals = to_structures(unpack_cells(rest))
    copies = [disturbed(s, NOISE[i % 6], STRAIN[i % 4], rng) for i, s in enumerate(originals)]
    return to_structures(unpack_cells(first)) + copies, to_structures(unpack_cells(second)) + originals


def disturbed(structure: Structure, noise: float, strain: float, rng: np.random.Generator) -> Structure:
    """A copy with atoms moved by `noise` Å (RMS), the cell strained and turned, the origin and the order changed."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    lattice = Lattice(structure.lattice.matrix @ (np.eye(3) + rng.normal(0, strain, (3, 3))) @ turn)
    order = rng.permutation(len(structure))
    moved = lattice.get_cartesian_coords(structure.frac_coords[order] + rng.random(3))
    moved += rng.normal(0, noise / np.sqrt(3), moved.shape)
    species = [structure[int(i)].specie for i in order]
    return Structure(lattice, species, moved, coords_are_cartesian=True, to_unit_cell=True)


def plain_distance(a: Structure, b: Structure, name: str) -> float | None:
    """What StructureMatcher says."""
    try:
        found = matcher(name).get_rms_dist(a, b)
    except Exception:
        return None
    return None if found is None else float(found[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="?", type=int, default=2000)
    parser.add_argument("--matcher", choices=["paper", "field"], default="paper")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    shared = os.environ.get("SUBHULL_SHARED", "../shared")
    first, second = real_pairs(Path(shared) / "data" / "mp_polymorphs.jsonl.gz", asked.pairs)
    cores = len(os.sched_getaffinity(0))
    print(f"{asked.pairs:,} pairs, matcher {asked.matcher}, {cores} cores, load {os.getloadavg()[0]:.1f}")
    started, cpu = time.perf_counter(), time.process_time()
    expected = [plain_distance(a, b, asked.matcher) for a, b in zip(first, second, strict=True)]
    plain, plain_cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"  StructureMatcher, one pair after the other: {plain:.1f} s, {asked.pairs / plain:,.0f} pairs/s")
    started, cpu = time.perf_counter(), time.process_time()
    match_pairs(first, second, asked.matcher, processes=1)
    report("match_pairs in one process", time.perf_counter() - started, plain, asked.pairs)
    print(f"    by processor time: {plain_cpu / (time.process_time() - cpu):.1f} times")
    _reduce.cache_clear()
    started = time.perf_counter()
    found = match_pairs(first, second, asked.matcher)
    report("match_pairs on every core, processes started", time.perf_counter() - started, plain, asked.pairs)
    left, right = from_structures(first), from_structures(second)
    with MatchPool() as pool:
        pool.submit(left[:50], right[:50], (asked.matcher,)).result()
        for name in ("MatchPool that is running", "the same again, cells reduced before"):
            started = time.perf_counter()
            pool.submit(left, right, (asked.matcher,)).result()
            report(name, time.perf_counter() - started, plain, asked.pairs)
    differ = sum((a is None) != (b is None) for a, b in zip(expected, found, strict=True))
    print(f"  {sum(d is not None for d in found):,} match; {differ} verdicts differ from the plain loop's")


def report(name: str, took: float, plain: float, pairs: int) -> None:
    print(f"  {name}: {took:.1f} s, {pairs / took:,.0f} pairs/s, {plain / took:.1f} times as fast as the plain loop")


if __name__ == "__main__":
    main()
