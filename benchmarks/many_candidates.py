"""A store of many candidates, and how long its pages take: `python -m benchmarks.many_candidates [--candidates N]`.

Fills the store that SUBHULL_VAR names (or a temporary one): N candidates of 40 runs, 12 chemical systems and 600
formulas, half of them relaxed, a hull for each system; `--structures M` imports so many random structures beside them.
Prints how long every page takes to answer, and Candidates by every filter, order and panel, without a browser.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

METHOD = "CHGNet-0.3.0"
SYSTEMS = [
    "B-Ta-W", "B-Ti-W", "C-Ti-W", "Al-N-Ti", "Mg-O-Si", "Li-O-Ti", "Fe-O-Zn", "B-Hf-Ta", "Mo-N-Nb", "Ga-In-N",
    "Ca-O-Ti", "Cu-O-S",
]  # fmt: skip
GROUPS = [1, 2, 12, 14, 62, 63, 139, 166, 191, 194, 221, 225]


def fill(count: int, seed: int = 0) -> None:
    """Runs, candidates, relaxations and hulls; the crystals are random."""
    from core.workflows.store import store
    from db import candidates as rows
    from db import jobs

    rng = np.random.default_rng(seed)
    add_hulls(rng)
    made = contents(rng)
    runs = 40
    for run in range(runs):
        with store().session() as session:
            job = jobs.add_job(session, kind="generate", title=f"Synthetic {run}", params={"seed": run}, device="cpu")
            jobs.update_job(session, job, status="done")
            part = range(run * count // runs, (run + 1) * count // runs)
            rows.add_candidates(session, [candidate(job, i - part.start, made, rng) for i in part])
            found = rows.ordered_ids(session, rows.CandidateFilter(job_id=job), limit=count)
            relax_half(session, found, rng)


def add_hulls(rng: np.random.Generator) -> None:
    """A hull of 200 random phases for each system."""
    from core.energy.hull_source import HullSource, SourcePhase
    from core.workflows.hulls_store import put_hull

    for system in SYSTEMS:
        elements = system.split("-")
        phases = []
        for i in range(200):
            amounts = dict(zip(elements, rng.integers(0, 7, 3).tolist(), strict=True))
            amounts = {e: float(n) for e, n in amounts.items() if n}
            if len(amounts) > 1:
                phases.append(SourcePhase(f"p{i}", amounts, float(rng.normal(-0.4, 0.2))))
        put_hull(HullSource(system, METHOD, "synthetic", "random", phases, len(phases)))


def contents(rng: np.random.Generator) -> list[tuple[str, str, str, list[bytes]]]:
    """(formula, reduced formula, system, packed cells) of 600 compositions, with eight crystals of each."""
    from pymatgen.core import Lattice, Structure

    from core.crystals import from_structures, pack_cells
    from core.data.formulas import reduced_formula

    found = []
    for number in range(600):
        system = SYSTEMS[number % len(SYSTEMS)]
        counts = dict(zip(system.split("-"), rng.integers(1, 8, 3).tolist(), strict=True))
        species = [e for e, n in counts.items() for _ in range(n)]
        crystals = [
            Structure(Lattice.orthorhombic(*rng.uniform(4, 8, 3)), species, rng.random((len(species), 3)))
            for _ in range(8)
        ]
        formula = "".join(f"{e}{n}" for e, n in counts.items())
        found.append((formula, reduced_formula(counts), system, pack_cells(from_structures(crystals))))
    return found


def candidate(job: int, index: int, made: list[tuple[str, str, str, list[bytes]]], rng: Any) -> dict[str, Any]:
    formula, reduced, system, cells = made[int(rng.integers(len(made)))]
    draws = rng.random(8)
    return {
        "job_id": job,
        "index": index,
        "model": f"model {job % 5}",
        "formula": formula,
        "reduced_formula": reduced,
        "chemical_system": system,
        "natoms": sum(int(c) for c in formula if c.isdigit()),
        "group_asked": int(rng.choice(GROUPS)) if draws[0] < 0.7 else None,
        "group_found": int(rng.choice(GROUPS)),
        "symprec": 0.1,
        "energy_asked": round(-draws[1], 2),
        "energy_method": METHOD,
        "min_distance": 2 * float(draws[2]),
        "volume": 8 + 20 * float(draws[3]),
        "valid": bool(draws[4] < 0.8),
        "problem": "" if draws[4] < 0.8 else "two atoms are 0.31 Å apart",
        "novel": bool(draws[5] < 0.9),
        "unique": bool(draws[6] < 0.95),
        "groups": {"0.01": 1, "0.1": 12},
        "charge_balanced": bool(draws[7] < 0.5),
        "starred": bool(draws[7] < 0.01),
        "series": ["", "0.01", "0.1"][job % 3],
        "cell": cells[int(rng.integers(len(cells)))],
    }


def relax_half(session: Any, ids: list[int], rng: np.random.Generator) -> None:
    from sqlalchemy import insert, select

    from db.tables import Candidate, Relaxation

    chosen = ids[::2]
    cells = dict(session.execute(select(Candidate.id, Candidate.cell).where(Candidate.id.in_(chosen))).all())
    values = []
    for i in chosen:
        energy = float(rng.normal(-0.3, 0.25))
        values.append(
            {
                "candidate_id": i, "method": METHOD, "status": "converged", "steps": 40, "total_before": energy - 6.0,
                "total_after": energy - 6.2, "formation_before": energy + 0.2, "formation_after": energy,
                "max_force": 0.04, "group_found": int(rng.choice(GROUPS)), "cell": cells[i],
            }
        )  # fmt: skip
    session.execute(insert(Relaxation), values)


def open_page(name: str, **query: str) -> Any:
    from streamlit.testing.v1 import AppTest

    from core.settings import ROOT

    app = AppTest.from_file(str(ROOT / "core" / "ui" / "router.py"), default_timeout=300)
    for key, value in query.items():
        app.query_params[key] = value
    app.switch_page(f"../../pages/{name}.py")
    app.run()
    if app.exception:
        raise RuntimeError(app.exception[0].value)
    return app


def timed(what: Callable[[], Any], times: int = 3) -> float:
    """The median of a few, in seconds of processor time: what other programs take meanwhile does not count."""
    taken = []
    for _ in range(times):
        started = time.process_time()
        what()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def print_pages() -> None:
    """Every page, then Candidates by each of its choices."""
    from core.ui.candidate_filter import EXAMPLES
    from db.candidate_lists import ORDERS

    started = time.perf_counter()
    open_page("candidates")
    print(f"the first page of the process, packages included: {time.perf_counter() - started:.2f} s", flush=True)
    pages = ["home", "datasets", "train", "models", "generate", "modify", "candidates", "hulls", "jobs"]
    show("page", {p: (lambda p=p: open_page(p)) for p in pages})  # type: ignore[misc]
    show("order", {o: (lambda o=o: open_page("candidates", sort=o)) for o in ORDERS})  # type: ignore[misc]
    show("order, descending", {o: (lambda o=o: open_page("candidates", sort=f"-{o}")) for o in ORDERS})  # type: ignore[misc]
    examples = {**EXAMPLES, "show": "plots", "rows": "99999", "size": "100", "hull": "1"}
    panels = ["view", "grid", "compare", "relax", "hull", "take", "vasp"]
    show("panel", {p: (lambda p=p: open_page("candidates", do=p, pick="5,7")) for p in panels})  # type: ignore[misc]
    show("panel for all", {p: (lambda p=p: open_page("candidates", do=p)) for p in panels})  # type: ignore[misc]
    show("choice", {f"{k}={v}": (lambda k=k, v=v: open_page("candidates", **{k: v})) for k, v in examples.items()})  # type: ignore[misc]


def show(title: str, questions: dict[str, Callable[[], Any]]) -> None:
    print(f"{title}: ", end="")
    found = {name: timed(question) for name, question in questions.items()}
    print(
        ", ".join(f"{name} {s:.2f}" for name, s in found.items()), f"(s; slowest {max(found.values()):.2f})", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--structures", type=int, default=0)
    parser.add_argument("--fill-only", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ.setdefault("SUBHULL_VAR", str(Path(name) / "var"))
        from core.workflows.store import store
        from db import candidates as rows

        with store().session() as session:
            there = rows.count_candidates(session, rows.CandidateFilter())
        if asked.structures:
            import_structures(asked.structures, Path(name))
        if not there:
            started = time.perf_counter()
            fill(asked.candidates)
            print(f"filled in {time.perf_counter() - started:.0f} s", flush=True)
        if not asked.fill_only:
            print_pages()


def import_structures(count: int, folder: Path) -> None:
    from benchmarks.two_million import write_rows
    from core.workflows.imports import ImportParams, import_files
    from core.workflows.prototypes import PrintedProgress

    path = folder / "rows.jsonl"
    write_rows(path, count)
    import_files(ImportParams((str(path),), "large", ""), PrintedProgress(folder / "job", lambda _: None))


if __name__ == "__main__":
    main()
