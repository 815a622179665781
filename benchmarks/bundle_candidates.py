"""How long a bundle takes, and how much memory: `python -m benchmarks.bundle_candidates [10000]`.

Candidates of random cells with 12 atoms, all relaxed and on a hull; the store is a temporary SQLite.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as place:
        os.environ["SUBHULL_VAR"] = place
        ids = _fill(count)
        from core.workflows.export import bundle_file
        from core.workflows.hulls import get_hull

        hull = get_hull("B-Ta-W", "CHGNet-0.3.0")
        target = Path(place) / "candidates.zip"
        bundle_file(ids[:10], target, hull)  # what is loaded once
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        bundle_file(ids, target, hull)
        seconds = time.monotonic() - started
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        size = target.stat().st_size / 1e6
        print(f"{count:,} candidates: {seconds:.1f} s, {size:.1f} MB of zip, {more:.0f} MB more memory at most")


def _fill(count: int) -> list[int]:
    from core.crystals import Crystals, pack_cells
    from core.workflows.hulls import install_starter_hulls
    from core.workflows.store import store
    from db import candidates as rows
    from db import jobs

    install_starter_hulls()
    rng = np.random.default_rng(0)
    cells = pack_cells(
        Crystals(
            torch.from_numpy(rng.random((count, 12, 3))),
            torch.from_numpy(np.eye(3) * 5 + rng.normal(0, 0.3, (count, 3, 3))),
            torch.tensor([73, 74] + [5] * 10).repeat(count, 1),
            torch.zeros(count, dtype=torch.int64),
            torch.full((count,), torch.nan).double(),
        )
    )
    with store().session() as session:
        job = jobs.add_job(session, kind="generate", title="Generate", params={"seed": 0}, device="cpu")
        made = {"job_id": job, "model": "m", "formula": "Ta1W1B10", "reduced_formula": "TaWB10", "natoms": 12}
        made |= {"chemical_system": "B-Ta-W", "valid": True}
        rows.add_candidates(session, [{**made, "index": i, "cell": cell} for i, cell in enumerate(cells)])
        found = rows.page_candidates(session, rows.CandidateFilter(job_id=job), limit=count)
        for candidate in found:
            values = {"status": "converged", "formation_after": -0.3, "formation_before": 0.1, "cell": candidate.cell}
            rows.put_relaxation(session, candidate_id=candidate.id, method="CHGNet-0.3.0", **values)
        return [c.id for c in found]


if __name__ == "__main__":
    main()
