"""How far formation energies by a potential lie from DFT's: `python -m benchmarks.formation_energies [STRUCTURES]`.

Takes structures of mp_polymorphs under `SUBHULL_SHARED`, drawn by a fixed seed from its largest energy source, and
compares the formation energies of each potential, at the given structure and against its own elemental references,
with the published ones. With `--relaxed N` also N of them after a relaxation of cell and positions.

With `--write` the numbers go to assets/references/errors.json, which pages draw as a margin:
{method: {"mae": eV/atom, "median": of the absolute errors, "p95": their 95th percentile, "mean": of the signed errors,
"structures": how many, "unknown": how many could not be evaluated, "against": what the published energies are,
"kinds": {"uncorrected": the same numbers of the structures that the Materials Project's corrections leave alone,
"corrected": of the others}}}. Published energies carry empirical corrections for anions and for DFT+U (Wang et al.,
Sci. Rep. 11, 15496, 2021). CHGNet was trained on corrected energies, M3GNet on bare ones: its errors for oxides and
the like are these corrections first of all.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymatgen.core import Element
from torch import Tensor

from core.crystals import Crystals, unpack_cells
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import raw_rows
from core.energy.errors import CORRECTED
from core.energy.formation import formation_energy, load_references
from core.energy.load import load_potential
from core.energy.potential import Potential
from core.energy.relaxation import relax
from core.settings import ASSETS, settings

AGAINST = "Materials Project, formation energies as published"


def sample(path: Path, count: int, seed: int = 0) -> tuple[Crystals, Tensor]:
    """`count` structures of two elements or more, of the file's largest energy source, with its energies (eV/atom)."""
    records = [r for taken, _ in parse_rows(raw_rows(path), "", processes=1) for r in taken]
    sources = Counter(m for r in records for m, (_, formation) in r.energies.items() if formation is not None)
    source = sources.most_common(1)[0][0]
    usable = [r for r in records if source in r.energies and "-" in r.chemical_system]
    chosen = np.random.default_rng(seed).choice(len(usable), min(count, len(usable)), replace=False)
    rows = [usable[i] for i in chosen]
    return unpack_cells([r.cell for r in rows]), torch.tensor([float(r.energies[source][1] or 0.0) for r in rows])


def errors(crystals: Crystals, published: Tensor, energy: Tensor, potential: Potential) -> dict[str, Any]:
    """What `--write` writes of one method; energy: (B,) eV per crystal."""
    difference = formation_energy(energy, crystals, load_references(potential.name)) - published
    anions = torch.tensor([Element(symbol).Z for symbol in CORRECTED])
    corrected = torch.isin(crystals.numbers, anions).any(1)
    kinds = {"uncorrected": statistics(difference[~corrected]), "corrected": statistics(difference[corrected])}
    return {**statistics(difference), "against": AGAINST, "kinds": kinds}


def statistics(difference: Tensor) -> dict[str, float]:
    """Of signed errors in eV/atom, NaN where unknown."""
    known = difference[~difference.isnan()]
    size = known.abs()
    return {
        "mae": round(float(size.mean()), 4),
        "median": round(float(size.median()), 4),
        "p95": round(float(size.quantile(0.95)), 4),
        "mean": round(float(known.mean()), 4),
        "structures": len(known),
        "unknown": len(difference) - len(known),
    }


def report(what: str, found: dict[str, Any], took: float) -> None:
    print(f"  {what}, {took:.0f} s")
    for kind, values in {"all": found, **found["kinds"]}.items():
        print(
            f"    {kind}: error {1000 * values['mae']:.0f} meV/atom on average, median {1000 * values['median']:.0f}, "
            f"95 % within {1000 * values['p95']:.0f}, mean {1000 * values['mean']:+.0f}; "
            f"{values['structures']:,} structures, {values['unknown']} not evaluated",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", nargs="?", type=int, default=1000)
    parser.add_argument("--potential", nargs="+", default=["m3gnet", "chgnet"])
    parser.add_argument("--relaxed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    path = Path(os.environ.get("SUBHULL_SHARED", "../shared")) / "data" / "mp_polymorphs.jsonl.gz"
    crystals, published = sample(path, asked.structures)
    print(f"{len(crystals):,} structures against {AGAINST}, load {os.getloadavg()[0]:.1f}")
    target = ASSETS / "references" / "errors.json"
    table = json.loads(target.read_text()) if target.is_file() else {}
    for key in asked.potential:
        potential = load_potential(key, settings().m3gnet)
        started = time.perf_counter()
        table[potential.name] = errors(crystals, published, potential.evaluate(crystals).energy, potential)
        report(f"{potential.name}, as they are", table[potential.name], time.perf_counter() - started)
        if asked.relaxed:
            some, started = slice(0, asked.relaxed), time.perf_counter()
            energy = relax(crystals[some], potential).energy_after
            found = errors(crystals[some], published[some], energy, potential)
            report(f"{potential.name}, relaxed", found, time.perf_counter() - started)
    if asked.write:
        target.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
