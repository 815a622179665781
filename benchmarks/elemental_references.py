"""How low the elemental references lie: `python -m benchmarks.elemental_references m3gnet|chgnet [--atoms 40]`.

Relaxes every elemental structure of mp_polymorphs under `SUBHULL_SHARED` with the potential and compares the lowest
plausible one, and the one that DFT puts lowest, with the shipped reference. Prints each element where they differ by
more than 30 meV/atom.
"""

from __future__ import annotations

import argparse
import math
import os
import warnings
from pathlib import Path

import torch

from core.crystals import Crystals, unpack_cells
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import raw_rows
from core.energy.elemental_forms import implausible
from core.energy.formation import load_references
from core.energy.load import load_potential
from core.energy.potential import Potential
from core.energy.relaxation import relax
from core.settings import settings

TOLERANCE = 0.030  # eV/atom


def elemental_structures(path: Path, atoms: int) -> dict[str, tuple[Crystals, list[float]]]:
    """By element: its structures of up to so many atoms, and their formation energies by DFT (eV/atom)."""
    cells: dict[str, list[bytes]] = {}
    energies: dict[str, list[float]] = {}
    for taken, _ in parse_rows(raw_rows(path), "", processes=1):
        for record in taken:
            if "-" not in record.chemical_system and record.natoms <= atoms:
                cells.setdefault(record.chemical_system, []).append(record.cell)
                formation = [f for _, f in record.energies.values() if f is not None]
                energies.setdefault(record.chemical_system, []).append(min(formation, default=math.inf))
    return {symbol: (unpack_cells(cells[symbol]), energies[symbol]) for symbol in sorted(cells)}


def compare(symbol: str, crystals: Crystals, dft: list[float], potential: Potential) -> tuple[float, float]:
    """(lowest, the one DFT puts lowest) of an element's structures relaxed, eV/atom; NaN where none is a crystal."""
    relaxed = relax(crystals, potential)
    energies = relaxed.energy_after / relaxed.crystals.natoms
    bad = torch.tensor([bool(p) for p in implausible(symbol, relaxed.crystals)]) | energies.isnan()
    energies = torch.where(bad, math.inf, energies)
    lowest, ground = float(energies.min()), float(energies[dft.index(min(dft))])
    return tuple(e if math.isfinite(e) else math.nan for e in (lowest, ground))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("potential", choices=["m3gnet", "chgnet"])
    parser.add_argument("--atoms", type=int, default=40)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    potential = load_potential(asked.potential, settings().m3gnet)
    references = load_references(potential.name)
    path = Path(os.environ.get("SUBHULL_SHARED", "../shared")) / "data" / "mp_polymorphs.jsonl.gz"
    found = elemental_structures(path, asked.atoms)
    print(f"{potential.name}: references of {len(references.energies)} elements; structures of {len(found)}")
    differ = 0
    for symbol, (crystals, dft) in found.items():
        reference = references.energies.get(symbol, math.nan)
        lowest, ground = compare(symbol, crystals, dft, potential)
        off = [1000 * (reference - e) for e in (lowest, ground)]
        if not all(abs(x) <= 1000 * TOLERANCE for x in off if not math.isnan(x)) or math.isnan(reference):
            differ += 1
            form = references.forms.get(symbol, "none")
            print(f"  {symbol}: {form} at {reference:.3f}; {off[0]:+.0f} meV/atom to the lowest of {len(crystals)}, "
                  f"{off[1]:+.0f} to the one DFT puts lowest", flush=True)  # fmt: skip
    print(f"  the other {len(found) - differ} agree within {1000 * TOLERANCE:.0f} meV/atom")


if __name__ == "__main__":
    main()
