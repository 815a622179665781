"""What the table of quality measures: its rows, their aims, and the datasets that they need.

A held-out formula is for choosing where its number in the dataset is even, and for the last score where it is odd.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.workflows.context import Context, UserError

EVERYTHING = ("composition", "space-group", "energy")
# Releases of the Materials Project in the file, in its order; an energy belongs to one of them.
MP_METHODS = ("megnet2018", "mp20bt_val", "mp20bt_test", "mpts_val", "mpts_test", "cgcnn2017")


@dataclass(frozen=True)
class Measured:
    """One run of `evaluate` for each method; several lines of the table may come of it.

    dataset: a name in the store; network, paper: names of the models that answer it, "" where there is none
    ranked: of so many samples a potential may choose one, since it knows the energy that is given; 0 for none;
    rank_steps: of relaxation before
    """

    dataset: str
    network: str
    paper: str = ""
    conditions: tuple[str, ...] = EVERYTHING
    matcher: str = "paper"
    samples: int = 1
    atoms: tuple[int, ...] = ()
    task: str = "generation"
    ranked: int = 0
    rank_steps: int = 0

    @property
    def also(self) -> tuple[str, ...]:
        return ("field",) if self.matcher == "paper" else ("paper",)


MEASURED: dict[str, Measured] = {
    "perov-5": Measured("perov_5", "perov_5", "paper-perov_5", ("composition",), "field"),
    "carbon-24": Measured("carbon_24", "carbon_24", "paper-carbon_24", ("composition",), "field"),
    "mp-composition": Measured("mp", "generator", "paper-generator", ("composition",), "field", atoms=(4, 20)),
    "mp": Measured("mp", "generator", "paper-generator", samples=5, atoms=(4, 20)),
    "mp-large": Measured("mp", "generator", "paper-generator", atoms=(21, 60)),
    "modification": Measured(
        "mp", "modifier", "paper-modifier", atoms=(4, 60), task="modification", ranked=10, rank_steps=20
    ),
    "decorated": Measured("decorated", "generator", "paper-generator", ranked=10),
    "decorated-families": Measured("decorated_families", "generator", "paper-generator", ranked=10),
    "starter": Measured("starter", "starter-generator", samples=5),
    "starter-modification": Measured("starter", "starter-modifier", task="modification"),
}
SMOKE = ("starter", "starter-modification")  # what ships already: not in the table unless asked for


@dataclass(frozen=True)
class Line:
    """metric: a name in `METRICS`; aim: the share or RMS to beat, None for none."""

    of: str
    title: str
    given: str
    metric: str
    aim: float | None


METRICS: dict[str, Callable[[dict[str, Any]], Any]] = {  # -> an object with a share and its interval, or None
    "match": lambda r: (r["match_rate"], r["ci95"]) if r.get("ranked") is None else _ranked(r["ranked"]),
    "match at k": lambda r: (r["match_rate_at_k"], r["ci95_at_k"]),
    "field": lambda r: _other(r, "field"),
    "group": lambda r: _reached(r["in_group"]),
    "group P1": lambda r: _reached(r["in_group_p1"]),
    "RMS": lambda r: None if r["rms"] is None else (r["rms"], None),
}

LINES = (
    Line("perov-5", "perov-5, field matcher", "composition", "match", 0.54),
    Line("perov-5", "perov-5, RMS of the matched", "composition", "RMS", 0.076),
    Line("carbon-24", "carbon-24, field matcher", "composition", "match", 0.18),
    Line("mp-composition", "MP, 4–20 atoms, field matcher", "composition", "match", 0.66),
    Line("mp", "MP, 4–20 atoms, paper matcher", "all", "match", 0.80),
    Line("mp", "the same, any of 5", "all", "match at k", 0.85),
    Line("mp-large", "MP, 21–60 atoms, paper matcher", "all", "match", 0.60),
    Line("modification", "MP, modification, 4–60 atoms, paper matcher", "group, energy change", "match", 0.75),
    Line("decorated", "decorated prototypes, formulas held out, paper matcher", "all", "match", 0.90),
    Line("decorated-families", "the same, families of prototypes held out", "all", "match", 0.90),
    Line("mp", "space group reached, MP, 4–20 atoms", "all", "group", 0.95),
    Line("mp", "the same, P1 asked for", "all", "group P1", None),
    Line("mp-large", "space group reached, MP, 21–60 atoms", "all", "group", 0.95),
    Line("modification", "space group reached, modification", "group, energy change", "group", 0.95),
    Line("decorated", "space group reached, decorated prototypes", "all", "group", 0.95),
    Line("starter", "starter set, paper matcher", "all", "match", None),
    Line("starter", "the same, any of 5", "all", "match at k", None),
    Line("starter", "space group reached, starter set", "all", "group", None),
    Line("starter-modification", "starter set, modification, paper matcher", "group, energy change", "match", None),
)


def _other(report: dict[str, Any], matcher: str) -> Any:
    rates = report["also"].get(matcher)
    return rates and (rates["match_rate"], rates["ci95"])


def _ranked(found: dict[str, Any]) -> Any:
    return found["match_rate"], found["ci95"]


def _reached(found: dict[str, Any] | None) -> Any:
    return found and (found["share"], found["ci95"])


def prepare(dataset: str, decorated: Path | None, context: Context) -> None:
    """Import what a row needs into the store, where it is not there yet. Raises UserError where its file is missing."""
    from core.workflows.datasets import BuildParams, build_dataset, list_datasets
    from core.workflows.imports import ImportParams, import_files

    known = {row.name for row in list_datasets()}
    if dataset in known:
        return
    name = "mp_polymorphs" if dataset == "mp" else dataset
    if name not in known:
        path = _file_of(name, decorated)
        import_files(ImportParams((str(path),), name), context)
    if dataset == "mp":
        params = BuildParams(
            imports=(name,), name="mp", methods=MP_METHODS, atoms=(1, 64), split=0.05, seed=0, own_split=False
        )
        build_dataset(params, context)


def _file_of(name: str, decorated: Path | None) -> Path:
    shared = Path(os.environ.get("SUBHULL_SHARED", "../shared")) / "data"
    files = {
        "mp_polymorphs": shared / "mp_polymorphs.jsonl.gz",
        "perov_5": shared / "perov_5_train_val.jsonl.gz",
        "carbon_24": shared / "carbon_24_train_val.jsonl.gz",
    }
    if name.startswith("decorated") and decorated is not None:
        files[name] = decorated / f"{name}.jsonl.gz"
    path = files.get(name)
    if path is None:
        raise UserError(f"There is no dataset {name}; benchmarks/decorated_set.py makes one: name its folder.")
    if not path.is_file():
        raise UserError(f"There is no file {path}, which the dataset {name} is made of: set SUBHULL_SHARED.")
    return path.resolve()
