"""Which share of real structures is valid: `python -m benchmarks.validity_thresholds [--write]`.

Looks at every structure of mp_polymorphs, perov_5 and carbon_24 under `SUBHULL_SHARED` and prints the quantiles of what
`core.evaluation.validity.judge` looks at, the shares that pass and why others do not.

With `--write` the volume that an atom of each element usually takes goes to assets/references/atomic_volumes.json
first: least squares over mp_polymorphs' cells (structures with an empty layer of 6 Å and more left out, then those more
than 1.6 times off), for elements that are not there a line through the others by covalent radius.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from core.crystals import Crystals, unpack_cells
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import raw_rows
from core.evaluation.contacts import covalent_radii, find_contacts, largest_gap
from core.evaluation.pool import cells_of
from core.evaluation.reduction import Cell, volume_of
from core.evaluation.validity import LAYERED, VOLUMES, Verdict, judge, published_verdicts, usual_volumes
from core.templates.library import count_elements, fit_volumes

FILES = ("mp_polymorphs", "perov_5_train_val", "carbon_24_train_val")
QUANTILES = (0, 0.0005, 0.001, 0.002, 0.01, 0.5, 0.99, 0.998, 0.999, 0.9995, 1)
SOURCE = "fitted to 55,993 structures of the Materials Project (CC BY 4.0) by benchmarks/validity_thresholds.py"
_PART = 500


def read_batches(path: Path) -> tuple[list[Crystals], list[str]]:
    """Every structure of a file in batches, and its formulas."""
    records = [r for taken, _ in parse_rows(raw_rows(path), "", processes=1) for r in taken]
    cells = [r.cell for r in records]
    return [unpack_cells(cells[i : i + _PART]) for i in range(0, len(cells), _PART)], [r.formula for r in records]


def fitted_volumes(cells: list[Cell]) -> np.ndarray:
    """(118,) Å³ per atom of hydrogen, helium, …"""
    counts = np.concatenate([count_elements(c.numbers[None]) for c in cells])
    volumes = np.array([volume_of(c.matrix) for c in cells])
    solid = np.array([largest_gap(c) for c in cells]) < LAYERED
    keep, fitted = solid, np.zeros(0)
    for _ in range(4):
        fitted = fit_volumes(counts[keep], volumes[keep])
        share = volumes / (counts @ fitted)
        keep = solid & (share > 1 / 1.6) & (share < 1.6)
    radii, seen = covalent_radii(), counts.sum(0) > 0
    line = np.polyfit(radii[seen], fitted[seen], 1)
    usual: np.ndarray = np.where(seen, fitted, np.polyval(line, radii))[1:]
    return usual


def report(name: str, cells: list[Cell], formulas: list[str], verdicts: list[Verdict], published: int) -> None:
    contacts = [find_contacts(c) for c in cells]
    usual = usual_volumes()
    values: dict[str, list[Any]] = {
        "shortest distance over radii": [c.tight[3] for c in contacts],
        "volume over usual volumes": [volume_of(c.matrix) / usual[c.numbers].sum() for c in cells],
        "thickest empty layer (Å)": [c.gap for c in contacts],
        "loneliest atom over radii": [c.lonely[3] for c in contacts],
    }
    print(f"\n{name}: {len(cells):,} structures\n{'quantile':32s}", *(f"{q:8g}" for q in QUANTILES))
    for what, value in values.items():
        print(f"{what:32s}", *(f"{v:8.3f}" for v in np.quantile(value, QUANTILES)))
    good = sum(v.valid for v in verdicts)
    clean = sum(v.valid and not v.warning for v in verdicts)
    print(f"valid {good / len(cells):.3%}, without a warning {clean / len(cells):.2%}; ", end="")
    print(f"by the published criterion {published / len(cells):.3%}")
    for attribute in ("problem", "warning"):
        reasons = Counter(_kind(getattr(v, attribute)) for v in verdicts if getattr(v, attribute))
        print(f"  {attribute}s:", dict(reasons.most_common()))
    failed = [f"    {f}: {v.problem}" for f, v in zip(formulas, verdicts, strict=True) if not v.valid]
    print(*failed[:20], sep="\n")


def _kind(sentence: str) -> str:
    kinds = {"an atom": "lonely atom", "volume": "volume", "layer": "empty layer", "apart": "distance"}
    return next(kind for word, kind in kinds.items() if word in sentence)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    folder = Path(os.environ.get("SUBHULL_SHARED", "../shared")) / "data"
    for name in FILES:
        batches, formulas = read_batches(folder / f"{name}.jsonl.gz")
        cells = [cell for batch in batches for cell in cells_of(batch)]
        if asked.write and name == FILES[0]:
            volumes = [round(v, 2) for v in fitted_volumes(cells).tolist()]
            text = {"source": SOURCE, "unit": "Å³ per atom, by atomic number", "volumes": volumes}
            VOLUMES.write_text(json.dumps(text, ensure_ascii=False) + "\n")
        verdicts = [v for batch in batches for v in judge(batch, tolerances=())]
        published = sum(v.valid for batch in batches for v in published_verdicts(batch))
        report(name, cells, formulas, verdicts, published)


if __name__ == "__main__":
    main()
