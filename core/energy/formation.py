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
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.crystals import Crystals, concatenate, from_structures
from core.energy.potential import Potential
from core.energy.relaxation import RelaxationConfig, relax, relax_volume
from core.settings import ASSETS

if TYPE_CHECKING:
    from pymatgen.core import Element

_FULLY_RELAXED = 4  # of an element's forms, the lowest so many after the volume alone
_METALLIC = frozenset({"A_cF4_225_a", "A_cI2_229_a", "A_hP2_194_c", "A_hP4_194_ac", "A_hR3_166_ac"})
_NOT_TRIED = frozenset({"Mn", "Hg"})


@dataclass(frozen=True)
class References:
    """energies: eV/atom of each element's lowest form; forms: which prototype that is; both by symbol."""

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
    """(eV/atom, prototype) of an element's lowest form among AFLOW's elemental prototypes of up to 20 atoms.

    All are brought to zero pressure, the four lowest are relaxed fully. Metals are tried in the forms that
    they are known to take: some potentials have holes elsewhere (M3GNet puts niobium with atoms 2.3 Å apart 2.9 eV
    below its bcc crystal). NaN where the potential fails on all of them.
    """
    from pymatgen.core import Element

    from core.data.prototypes import build, decorate

    forms = decorate([symbol], atoms=(1, 20), min_polymorphs=1).get(symbol, [])
    if _takes_metallic_forms(Element(symbol)):
        forms = [form for form in forms if form[0] in _METALLIC]
    crystals = concatenate([from_structures([build(label, names).structure]) for label, names in forms])
    crystals, found = relax_volume(crystals, potential)
    per_atom = (found.energy / crystals.natoms).nan_to_num(nan=math.inf)
    lowest = per_atom.argsort()[:_FULLY_RELAXED]
    relaxed = relax(crystals[lowest], potential, RelaxationConfig())
    energies = (relaxed.energy_after / relaxed.crystals.natoms).nan_to_num(nan=math.inf)
    best = int(energies.argmin())
    value = float(energies[best])
    return (value if math.isfinite(value) else math.nan), forms[int(lowest[best])][0]


def _takes_metallic_forms(element: Element) -> bool:
    """Closely packed or bcc at low temperature; not so manganese and mercury, which are left out."""
    kinds = (element.is_transition_metal, element.is_alkali, element.is_alkaline, element.is_lanthanoid)
    return any(kinds) or element.symbol in ("Al", "Tl", "Pb")


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

    Without symbols: the metals. B, C and Si were named.
    """
    import sys

    from pymatgen.core import Element

    from core.energy.load import load_potential
    from core.settings import settings

    torch.set_num_threads(1)
    potential = load_potential(sys.argv[1], settings().m3gnet)
    every = [Element.from_Z(z) for z in sorted(potential.elements)]
    symbols = sys.argv[2:] or [e.symbol for e in every if _takes_metallic_forms(e) and e.symbol not in _NOT_TRIED]
    compute_references(potential, symbols, ASSETS / "references" / f"{potential.name}.json")


if __name__ == "__main__":
    main()
