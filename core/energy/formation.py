"""Formation energies against elemental references computed with the same potential.

The references ship in assets/references, one file per potential; `python -m core.energy.formation` makes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from core.crystals import Crystals, concatenate, from_structures
from core.energy.elemental_forms import implausible, other_forms, published_forms
from core.energy.potential import Potential
from core.energy.relaxation import RelaxationConfig, relax, relax_volume
from core.settings import ASSETS

_FULLY_RELAXED = 4  # of an element's forms, the lowest so many after the volume alone
_HOLE = 0.05  # eV/atom: a form that lies deeper than this below all known ones is a hole of the potential


@dataclass(frozen=True)
class References:
    """energies: eV/atom of each element's lowest form; forms: the name of that form; both by symbol."""

    method: str
    weights_hash: str
    energies: dict[str, float]
    forms: dict[str, str]

    @property
    def name(self) -> str:
        """How the store names this set: the method and the first of its hash."""
        return f"{self.method}/{self.weights_hash[:8]}"


def formation_energy(energy: Tensor, crystals: Crystals, references: References) -> Tensor:
    """(B,) formation energy in eV/atom from total energies (B,) in eV per crystal.

    NaN where the energy is NaN or an element has no reference.
    """
    from pymatgen.core import Element

    table = torch.full((119,), math.nan, dtype=torch.float64)
    table[0] = 0.0
    for symbol, value in references.energies.items():
        table[Element(symbol).Z] = value
    return (energy.double() - table[crystals.numbers].sum(1)) / crystals.natoms


@cache
def load_references(method: str, folder: Path = ASSETS / "references") -> References:
    """The shipped references of an energy method. Raises ValueError where there are none."""
    path = folder / f"{method}.json"
    if not path.is_file():
        raise ValueError(f"There are no elemental references for {method}: its formation energies are unknown.")
    return References(**json.loads(path.read_text()))


def compute_reference(symbol: str, potential: Potential) -> tuple[float, str]:
    """(eV/atom, name of the form) of an element's lowest plausible crystal.

    Tried are its published forms from their published cells, and AFLOW's elemental prototypes: all brought to zero
    pressure, the four lowest relaxed fully with the published ones. What a potential makes of them counts only
    while `implausible` has nothing against it, and no prototype counts that lies more than 50 meV/atom below every
    published form (CHGNet puts neon as diamond 0.14 eV below its crystal). NaN and why where nothing is left.
    """
    published, others = published_forms(symbol), other_forms(symbol)
    names = [name for name, _ in published]
    parts = [from_structures([s for _, s in published])] if published else []
    if others:
        crystals, found = relax_volume(from_structures([s for _, s in others]), potential)
        bad = torch.tensor([bool(p) for p in implausible(symbol, crystals)]) | ~found.ok
        per_atom = torch.where(bad, math.inf, found.energy / crystals.natoms)
        lowest = [i for i in per_atom.argsort()[:_FULLY_RELAXED].tolist() if math.isfinite(per_atom[i])]
        names += [others[i][0] for i in lowest]
        parts += [crystals[lowest]] if lowest else []
    if not parts:
        return math.nan, "no form of it is a crystal with this potential"
    relaxed = relax(concatenate(parts), potential, RelaxationConfig())
    energies = relaxed.energy_after / relaxed.crystals.natoms
    against = implausible(symbol, relaxed.crystals)
    for i, reason in enumerate(against):
        against[i] = relaxed.status[i] if not bool(torch.isfinite(energies[i])) else reason
    good = [i for i, reason in enumerate(against) if not reason]
    if not good:
        return math.nan, "; ".join(f"{n}: {reason}" for n, reason in zip(names, against, strict=True))
    best = min(good, key=lambda i: float(energies[i]))
    known = [i for i in good if i < len(published)]
    if known and float(energies[best]) < min(float(energies[i]) for i in known) - _HOLE:
        best = min(known, key=lambda i: float(energies[i]))
    return float(energies[best]), names[best]


def compute_references(potential: Potential, symbols: Sequence[str], path: Path) -> References:
    """References of these elements, added to those that `path` already holds for the same weights."""
    energies: dict[str, float] = {}
    forms: dict[str, str] = {}
    if path.is_file():
        known = References(**json.loads(path.read_text()))
        if known.weights_hash == potential.weights_hash:
            energies, forms = dict(known.energies), dict(known.forms)
    for symbol in symbols:
        if symbol in energies:
            continue
        energy, form = compute_reference(symbol, potential)
        print(f"{potential.name} {symbol} {energy:.4f} eV/atom {form}", flush=True)
        if math.isfinite(energy):
            energies[symbol], forms[symbol] = round(energy, 6), form
        references = References(
            potential.name,
            potential.weights_hash,
            dict(sorted(energies.items())),
            dict(sorted(forms.items())),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(references), indent=1) + "\n")
    return References(**json.loads(path.read_text()))


def main() -> None:
    """`python -m core.energy.formation m3gnet|chgnet [SYMBOL …]`: add to assets/references/<method>.json.

    Without symbols: every element the potential knows. What the file holds already is left as it is.
    """
    import sys

    from pymatgen.core import Element

    from core.energy.load import load_potential
    from core.settings import settings

    torch.set_num_threads(1)
    potential = load_potential(sys.argv[1], settings().m3gnet)
    symbols = sys.argv[2:] or [Element.from_Z(z).symbol for z in sorted(potential.elements)]
    compute_references(potential, symbols, ASSETS / "references" / f"{potential.name}.json")


if __name__ == "__main__":
    main()
