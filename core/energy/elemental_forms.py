"""The forms an element's reference is looked for in, and what tells a real crystal from a hole of a potential."""

from __future__ import annotations

import math
from functools import cache

from pymatgen.core import Element, Structure

from core.crystals import Crystals, from_structures
from core.data.prototypes import build, decorate, elemental_prototypes
from core.energy.known_phases import KnownPhase
from core.energy.potential import shortest_distances

SHORTEST_BOND = 0.7  # of the sum of the covalent radii; nitrogen's triple bond has 0.77
SHORTEST_KNOWN = 0.9  # of the shortest distance in a published form: plutonium's is 0.69 of its radii
VOLUME_FACTOR = 2.0  # a volume per atom may be so many times larger or smaller than the known one
_MAX_PROTOTYPE, _MAX_OWN = 20, 40  # atoms of a cell
_LIGHT = 0.5  # g/cm³: below it the element's density is that of a gas
_CLOSE_PACKED = frozenset({"A_cF4_225_a", "A_cI2_229_a", "A_hP2_194_c", "A_hP4_194_ac", "A_hR3_166_ac"})
_NOT_CLOSE_PACKED = frozenset({"Mn", "Hg"})


def published_forms(symbol: str) -> list[tuple[str, Structure]]:
    """(name, cell as published) of an element's known forms of up to 40 atoms."""
    own = elemental_prototypes(symbol, _MAX_OWN) if not is_close_packed(symbol) else []
    return own + [(f.name, f.build()) for f in PUBLISHED if f.sites[0][0] == symbol]


def other_forms(symbol: str) -> list[tuple[str, Structure]]:
    """(AFLOW's label, cell at the element's volume) of every elemental prototype of up to 20 atoms.

    Metals that are closely packed or bcc are tried in such forms alone: some potentials have holes elsewhere (M3GNet
    puts niobium with atoms 2.3 Å apart 2.9 eV below its bcc crystal).
    """
    labels = decorate([symbol], atoms=(1, _MAX_PROTOTYPE), min_polymorphs=1).get(symbol, [])
    if is_close_packed(symbol):
        labels = [pair for pair in labels if pair[0] in _CLOSE_PACKED]
    return [(label, build(label, names).structure) for label, names in labels]


def form_of(symbol: str, name: str) -> Structure:
    """The cell of an element's form by the name that `core.energy.formation.References.forms` has for it."""
    published = {f.name: f for f in PUBLISHED if f.sites[0][0] == symbol}
    return published[name].build() if name in published else build(name, [symbol]).structure


def is_close_packed(symbol: str) -> bool:
    """A metal that is closely packed or bcc at low temperature."""
    element = Element(symbol)
    kinds = (element.is_transition_metal, element.is_alkali, element.is_alkaline, element.is_lanthanoid)
    return (any(kinds) or symbol in ("Al", "Tl", "Pb")) and symbol not in _NOT_CLOSE_PACKED


def known_volume(symbol: str) -> float:
    """Å³ per atom of the element's crystal: of its published form, else from its density; NaN where unknown."""
    published = [f for f in PUBLISHED if f.sites[0][0] == symbol]
    if published:
        structure = published[0].build()
        return float(structure.volume / len(structure))
    density, weight, _ = _table()[symbol]
    return weight / density * 1.66053907 if density > _LIGHT else math.nan


def implausible(symbol: str, crystals: Crystals) -> list[str]:
    """Per crystal of this element: "" or why it is no crystal of it."""
    bond = _shortest_bond(symbol)
    known = known_volume(symbol)
    found = []
    per_atom = (crystals.volume / crystals.natoms).tolist()
    for distance, volume in zip(shortest_distances(crystals).tolist(), per_atom, strict=True):
        if not distance >= bond:
            found.append(f"its atoms are {distance:.2f} Å apart, less than {bond:.2f}")
        elif known > 0 and not known / VOLUME_FACTOR <= volume <= known * VOLUME_FACTOR:
            found.append(f"it takes {volume:.1f} Å³ per atom, where {known:.1f} is known")
        else:
            found.append("")
    return found


@cache
def _shortest_bond(symbol: str) -> float:
    """Å: nearer than this no two atoms of the element's crystal are."""
    published = [structure for _, structure in published_forms(symbol)]
    known = shortest_distances(from_structures(published)).tolist() if published else []
    return min([2 * _table()[symbol][2] * SHORTEST_BOND, *(SHORTEST_KNOWN * distance for distance in known)])


@cache
def _table() -> dict[str, tuple[float, float, float]]:
    """Per element: density in g/cm³ (NaN where unknown), atomic weight, covalent radius in Å (Cordero 2008)."""
    from mendeleev.fetch import fetch_table

    table = fetch_table("elements")
    columns = zip(
        table["symbol"], table["density"], table["atomic_weight"], table["covalent_radius_cordero"], strict=True
    )
    return {symbol: (float(density), float(weight), float(radius) / 100) for symbol, density, weight, radius in columns}


_DONOHUE = "J. Donohue, The Structures of the Elements (Wiley, 1974)"
_CMCE_MOLECULES = {  # a, b, c in Å; y, z: molecules in the bc plane
    "Cl": ((6.24, 4.48, 8.26), (0.130, 0.100), "R. L. Collin, Acta Cryst. 5, 431 (1952)"),
    "Br": ((6.67, 4.48, 8.72), (0.135, 0.110), "B. Vonnegut and B. E. Warren, J. Am. Chem. Soc. 58, 2459 (1936)"),
    "I": ((7.136, 4.686, 9.784), (0.154, 0.117), "F. van Bolhuis et al., Acta Cryst. 23, 90 (1967)"),
    "P": ((3.314, 10.478, 4.376), (0.1017, 0.0806), "A. Brown and S. Rundqvist, Acta Cryst. 19, 684 (1965)"),
}
_RHOMBOHEDRAL = {"As": (3.760, 10.548, 0.2271), "Sb": (4.307, 11.273, 0.2336), "Bi": (4.546, 11.862, 0.2339)}
_NOBLE = {"Ne": 4.43, "Ar": 5.31, "Kr": 5.65, "Xe": 6.13}  # Å, fcc near 4 K


def _published() -> tuple[KnownPhase, ...]:
    """What the prototype library lacks. Atoms of molecules stand at their bond length from the molecule's centre."""
    found = [
        KnownPhase("H2 (cP8, Pa-3)", 205, (5.312,) * 3 + (90.0,) * 3, (("H", "8c", (0.0403,) * 3),), _DONOHUE),
        KnownPhase("N2 (cP8, Pa-3)", 205, (5.66,) * 3 + (90.0,) * 3, (("N", "8c", (0.056,) * 3),), _DONOHUE),
        KnownPhase(
            "O2 (mC4, C2/m)",
            12,
            (5.403, 3.429, 5.086, 90.0, 132.53, 90.0),
            (("O", "4i", (0.1024, 0.0, 0.161)),),
            "C. S. Barrett, L. Meyer and J. Wasserman, J. Chem. Phys. 47, 592 (1967)",
        ),
        KnownPhase(
            "F2 (mC8, C2/c)",
            15,
            (5.50, 3.28, 7.28, 90.0, 102.17, 90.0),
            (("F", "8f", (0.2777, 0.25, 0.0991)),),
            "L. Meyer, C. S. Barrett and S. C. Greer, J. Chem. Phys. 49, 1902 (1968)",
        ),
        KnownPhase(
            "He (hP2)",
            194,
            (3.57, 3.57, 5.83, 90.0, 90.0, 120.0),
            (("He", "2c", (1 / 3, 2 / 3, 0.25)),),
            _DONOHUE,
        ),
        KnownPhase(
            "Te (hP3)", 152, (4.457, 4.457, 5.929, 90.0, 90.0, 120.0), (("Te", "3a", (0.2633, 0.0, 1 / 3)),), _DONOHUE
        ),
    ]
    for symbol, ((a, b, c), (y, z), source) in _CMCE_MOLECULES.items():
        sites = ((symbol, "8f", (0.0, y, z)),)
        found.append(KnownPhase(f"{symbol} (oC8, Cmce)", 64, (a, b, c, 90.0, 90.0, 90.0), sites, source))
    for symbol, (a, c, z) in _RHOMBOHEDRAL.items():
        sites = ((symbol, "6c", (0.0, 0.0, z)),)
        found.append(KnownPhase(f"{symbol} (hR2, R-3m)", 166, (a, a, c, 90.0, 90.0, 120.0), sites, _DONOHUE))
    for symbol, a in _NOBLE.items():
        sites = ((symbol, "4a", (0.0, 0.0, 0.0)),)
        found.append(KnownPhase(f"{symbol} (cF4)", 225, (a, a, a, 90.0, 90.0, 90.0), sites, _DONOHUE))
    return tuple(found)


PUBLISHED = _published()
