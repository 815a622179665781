"""The starter hull of B-Ta-W, once per potential: prototypes and published phases, relaxed as candidates are.

`python -m core.energy.starter_hull m3gnet|chgnet` writes assets/hulls/B-Ta-W.<method>.json.gz.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pymatgen.analysis.structure_matcher import StructureMatcher

from core.crystals import Crystals, concatenate, from_structures, to_structures
from core.data.prototypes import build, decorate
from core.data.rows import cell_content, row_of, symbol
from core.data.symmetry import detect_groups
from core.energy.formation import formation_energy, load_references
from core.energy.hull import ConvexHull, Phase
from core.energy.known_phases import KNOWN_PHASES, decorated_phases
from core.energy.load import load_potential
from core.energy.potential import Potential
from core.energy.relaxation import RelaxationConfig, relax, relax_volume
from core.settings import ASSETS, settings

SYSTEM = "B-Ta-W"
WINDOW = 0.25  # eV/atom above the hull of relaxed volumes: what lies higher is not relaxed further
KEPT = 0.3  # eV/atom above the final hull: what lies higher is not listed
RELAXATION = RelaxationConfig()

ABOUT = (
    "Prototypes of the AFLOW library decorated with B, Ta, W (1-20 atoms), the five published phases that they lack "
    "(Ta3B4, W2B5, WB2, WB3, WB4) with Ta and W on their metal sites in every ordered way, and the elements in their "
    "lowest form; cell and positions relaxed with {method} as candidates are. It holds no DFT energies and not every "
    "phase that may exist: a candidate below this hull is a reason to look closer, no discovery yet."
)
CAVEATS = {
    "M3GNet-MP-2021.2.8": " M3GNet errs for flat sheets of boron: stacked triangular ones come out 0.06 eV/atom below "
    "α-boron. Distrust candidates rich in boron that fall below the hull by more than a few 0.01 eV/atom.",
}
SAME_ENERGY = 0.002  # eV/atom: matching structures this close are one phase, reached from two starts


def make(potential: Potential) -> dict[str, Any]:
    """The hull as it ships: system, method, what it contains and its phases as rows with AFLOW's keys."""
    labels, sources, crystals = _phases()
    crystals, found = relax_volume(crystals, potential)
    references = load_references(potential.name)
    rough = formation_energy(found.energy, crystals, references)
    near = [i for i in _within(crystals, rough, WINDOW) if not found.problem[i]]
    published = {phase.name for phase in KNOWN_PHASES}
    chosen = sorted({*near, *(i for i, label in enumerate(labels) if label in published)})
    print(f"{potential.name}: {len(labels)} structures, {len(chosen)} to relax", flush=True)
    relaxed = relax(crystals[chosen], potential, RELAXATION, _report)
    formation = formation_energy(relaxed.energy_after, relaxed.crystals, references)
    final = replace(relaxed.crystals, group=detect_groups(relaxed.crystals, 0.1), energy=formation)
    keep = _distinct(final, formation, _within(final, formation, KEPT))
    entries = [row_of(final, i, labels[chosen[i]], method=potential.name) for i in keep]
    for entry, i in zip(entries, keep, strict=True):
        entry["source"] = sources[chosen[i]]
        entry["status"] = relaxed.status[i]
    return {
        "chemical_system": SYSTEM,
        "method": potential.name,
        "name": "starter",
        "source": "prototypes and published phases, relaxed by this project",
        "about": ABOUT.format(method=potential.name) + CAVEATS.get(potential.name, ""),
        "references": references.name,
        "entries": entries,
    }


def _phases() -> tuple[list[str], list[str], Crystals]:
    """Labels, where they come from, and the crystals before relaxation."""
    labels, sources, parts = [], [], []
    for decorations in decorate(SYSTEM.split("-"), atoms=(1, 20), min_polymorphs=1).values():
        for label, names in decorations:
            labels.append(f"{label}:{'-'.join(names)}")
            sources.append(f"AFLOW prototype {label}")
            parts.append(from_structures([build(label, names).structure]))
    for phase in decorated_phases():
        labels.append(phase.label)
        sources.append(phase.source)
        parts.append(from_structures([phase.structure]))
    return labels, sources, concatenate(parts)


def _within(crystals: Crystals, formation: torch.Tensor, window: float) -> list[int]:
    """Indices of the crystals at most `window` eV/atom above the hull that they span, lowest first."""
    phases, rows = [], []
    for i, value in enumerate(formation.tolist()):
        if math.isfinite(value):
            content = cell_content(crystals.numbers[i].numpy())
            phases.append(Phase(str(i), {symbol(z): float(n) for z, n in content}, value))
            rows.append(i)
    above = ConvexHull(SYSTEM, phases).above()
    return [rows[k] for k in sorted(range(len(rows)), key=lambda k: above[k]) if above[k] <= window]


def _distinct(crystals: Crystals, formation: torch.Tensor, rows: list[int]) -> list[int]:
    """Those of `rows` that are not the same relaxed crystal as one before them, in their order.

    A published phase is kept against a prototype that relaxed into it only if it comes first, that is, lies lower.
    """
    same = StructureMatcher()
    structures = dict(zip(rows, to_structures(crystals[rows]), strict=True))
    kept: dict[str, list[int]] = {}
    for row in rows:
        others = kept.setdefault(structures[row].composition.reduced_formula, [])
        close = [o for o in others if abs(float(formation[o] - formation[row])) < SAME_ENERGY]
        if not any(same.fit(structures[o], structures[row]) for o in close):
            others.append(row)
    return [row for row in rows if row in kept[structures[row].composition.reduced_formula]]


def _report(finished: int, step: int) -> None:
    if step % 50 == 0:
        print(f"  {finished} relaxed", flush=True)


def write(hull: dict[str, Any], path: Path) -> None:
    """Write the hull, the same bytes for the same hull."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(hull, separators=(",", ":")).encode(), 9, mtime=0))


def main() -> None:
    torch.set_num_threads(1)
    potential = load_potential(sys.argv[1], settings().m3gnet)
    hull = make(potential)
    write(hull, ASSETS / "hulls" / f"{SYSTEM}.{potential.name}.json.gz")
    print(f"{len(hull['entries'])} entries")


if __name__ == "__main__":
    main()
