"""How fast a dense hull is read and opened: `python -m benchmarks.dense_hull nhull_MnPdPt.json.gz`.

Prints the seconds of the import, of opening it in a process that never saw it and in one that did, and of its
distances, beside asking pymatgen entry by entry (on a sample).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = 200


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SUBHULL_VAR"] = folder
        from pymatgen.core import Composition

        from core.workflows import hulls
        from core.workflows.store import store

        store()
        times = {}
        started = time.perf_counter()
        view = hulls.import_hull(path)
        times["import"] = time.perf_counter() - started
        for name in ("open, first time", "open again"):
            if "first" in name:
                hulls._convex.cache_clear()
            started = time.perf_counter()
            view = hulls.get_hull_by_id(view.row.id)
            view.hull.above()
            view.hull.stable()
            view.hull.facets()
            times[f"{name} (entries, distances, stable phases, facets)"] = time.perf_counter() - started
        contents = [e.composition for e in view.entries]
        started = time.perf_counter()
        ours = view.hull.heights(view.hull.fractions(contents))
        times["energy of the hull below every entry"] = time.perf_counter() - started
        started = time.perf_counter()
        step = max(1, len(contents) // SAMPLE)
        theirs = [view.hull._diagram.get_hull_energy_per_atom(Composition(c)) for c in contents[::step]]
        seconds = (time.perf_counter() - started) * len(contents) / len(theirs)
        times[f"the same one by one by pymatgen (from {len(theirs)})"] = seconds
        largest = max(abs(a - b) for a, b in zip(ours[::step], theirs, strict=True))
    print(f"{len(view.entries):,} entries, {len(view.hull.stable())} on the hull")
    for name, seconds in times.items():
        print(f"| {name} | {seconds:.3f} |")
    print(f"largest difference {1000 * largest:.1e} meV/atom")


if __name__ == "__main__":
    main()
