"""The paper's experiments: three compositions of Ta-W-B, three ladders of energies, 19 groups; and their table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.workflows.chain import place_run
from core.workflows.store import store
from db import chains
from db.tables import Job

TA_W_B = "ta-w-b"
FORMULAS = ("Ta1W1B6", "Ta1W2B5", "Ta2W1B5")
UNITS = ("TaWB6", "TaW2B5", "Ta2WB5")
PAPER_GROUPS = (6, 8, 10, 12, 25, 35, 44, 47, 65, 71, 99, 119, 123, 129, 139, 160, 166, 216, 225)
PAPER_FOUND = (  # meV/atom above AFLOW's hull by VASP, the paper's table 3: (method, ladder, unit, value)
    ("diffusion", 3, "TaW2B5", -1.409),
    ("flow matching", 3, "TaW2B5", -4.852),
    ("flow matching", 1, "Ta2WB5", -5.426),
    ("flow matching", 2, "Ta2WB5", -5.497),
)


@dataclass(frozen=True)
class Lowest:
    """The lowest candidate of a model, ladder and composition over all runs of the experiment.

    above: eV/atom above the hull, by `method`; placed: how many candidates were; name: "12-345"
    """

    model: str
    series: str
    formula: str
    above: float
    formation: float
    candidate: int
    name: str
    run: int
    relaxed: bool
    placed: int
    method: str
    hull: str


def groups_for(seen: Sequence[int]) -> tuple[int, ...]:
    """The paper's space groups that a model saw too."""
    return tuple(g for g in PAPER_GROUPS if g in set(seen))


def runs_of(experiment: str = TA_W_B) -> list[Job]:
    """Runs of an experiment, newest first."""
    with store().session() as session:
        return [j for j in chains.jobs_of_experiments(session) if j.params.get("experiment") == experiment]


def table_of(experiment: str = TA_W_B, hulls: dict[str, int] | None = None) -> list[Lowest]:
    """Model × ladder × composition, each with its lowest candidate; lowest first.

    hulls: method -> the hull to place on, else the newest of each method. Energies of two methods are two rows.
    """
    runs = runs_of(experiment)
    with store().session() as session:
        methods = chains.methods_of_runs(session, [job.id for job in runs])
    best: dict[tuple[str, str, str, str, bool], Lowest] = {}
    for job in runs:
        model, sampler = str(job.params.get("model")), str(job.params.get("sampler") or "")
        label = f"{model} ({sampler})" if sampler else model
        for method in methods.get(job.id, []):
            with store().session() as session:
                energies = chains.run_energies(session, job.id, method)
            placed = place_run(energies, method, (hulls or {}).get(method))
            for row in placed["lowest"]:
                found = _lowest(label, row, job.id, method, placed["hulls"][str(row["hull"])])
                key = (label, found.series, found.formula, method, found.relaxed)
                if key in best:
                    found = _both(best[key], found)
                best[key] = found
    return sorted(best.values(), key=lambda f: (not f.relaxed, f.above))


def _lowest(model: str, row: dict[str, Any], run: int, method: str, hull: str) -> Lowest:
    return Lowest(
        model, row["series"], row["formula"], row["above"], row["formation"], row["candidate"], row["name"], run,
        row["relaxed"], row["placed"], method, hull,
    )  # fmt: skip


def _both(a: Lowest, b: Lowest) -> Lowest:
    return replace(min(a, b, key=lambda f: f.above), placed=a.placed + b.placed)


def as_csv(table: Sequence[Lowest]) -> str:
    """The table as a file; energies in eV/atom and meV/atom, as the headings say."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headings = (
        "model", "ladder", "composition", "above_hull_meV_per_atom", "formation_energy_eV_per_atom", "candidate",
        "relaxed", "candidates_placed", "energy_method", "hull",
    )  # fmt: skip
    writer.writerow(headings)
    for f in table:
        values = [f.model, f.series, f.formula, f"{1000 * f.above:.3f}", f"{f.formation:.6f}", f.name]
        writer.writerow([*map(_plain_cell, values), f.relaxed, f.placed, f.method, _plain_cell(f.hull)])
    return out.getvalue()


def _plain_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
    return text
