"""Published phases of B-Ta-W that the prototype library lacks, built from their Wyckoff positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from pymatgen.core import Lattice, Structure


@dataclass(frozen=True)
class KnownPhase:
    """group: space group number; cell: a, b, c in Å, α, β, γ in degrees; sites: (element, Wyckoff, coordinates)."""

    name: str
    group: int
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[tuple[str, str, tuple[float, float, float]], ...]
    source: str

    def build(self, species: Sequence[str] | None = None) -> Structure:
        """The primitive cell, as published or with other elements on its sites."""
        species = species or [s for s, _, _ in self.sites]
        coordinates = [c for _, _, c in self.sites]
        conventional = Structure.from_spacegroup(self.group, Lattice.from_parameters(*self.cell), species, coordinates)
        return conventional.get_primitive_structure()


@dataclass(frozen=True)
class Decorated:
    """A published structure type with chosen metals on its metal sites; `source` cites the type."""

    label: str
    source: str
    structure: Structure


def decorated_phases(metals: Sequence[str] = ("Ta", "W")) -> list[Decorated]:
    """Every published phase, each followed by all other ordered ways to put the metals on its metal sites.

    So ternaries come in whose order keeps the published symmetry: TaWB6 as WB3, TaW2B4 and Ta2WB4 as Ta3B4.
    """
    found = []
    for phase in KNOWN_PHASES:
        places = [i for i, (element, _, _) in enumerate(phase.sites) if element in metals]
        found.append(Decorated(phase.name, phase.source, phase.build()))
        for chosen in product(metals, repeat=len(places)):
            species = [element for element, _, _ in phase.sites]
            if chosen == tuple(species[i] for i in places):
                continue
            for i, metal in zip(places, chosen, strict=True):
                species[i] = metal
            sites = ", ".join(f"{species[i]} on {phase.sites[i][1]}" for i in places)
            source = f"the type of {phase.source}, with its metals exchanged"
            found.append(Decorated(f"{phase.name} with {sites}", source, phase.build(species)))
    return found


_KIESSLING_TA = "R. Kiessling, Acta Chem. Scand. 3, 603 (1949)"
_KIESSLING_W = "R. Kiessling, Acta Chem. Scand. 1, 893 (1947)"
_ROMANS = "P. A. Romans and M. P. Krug, Acta Cryst. 20, 313 (1966)"
_HEXAGONAL_W2B5 = (2.982, 2.982, 13.87, 90.0, 90.0, 120.0)
_HEXAGONAL_WB4 = (5.200, 5.200, 6.340, 90.0, 90.0, 120.0)

KNOWN_PHASES = (
    KnownPhase(
        "Ta3B4 (oI14, D7b)",
        71,
        (3.29, 14.0, 3.13, 90.0, 90.0, 90.0),
        (
            ("Ta", "2c", (0.5, 0.5, 0.0)),
            ("Ta", "4g", (0.0, 0.180, 0.0)),
            ("B", "4g", (0.0, 0.375, 0.0)),
            ("B", "4h", (0.0, 0.444, 0.5)),
        ),
        _KIESSLING_TA,
    ),
    KnownPhase(
        "W2B5 (hP14, D8h)",
        194,
        _HEXAGONAL_W2B5,
        (
            ("W", "4f", (1 / 3, 2 / 3, 0.139)),
            ("B", "2a", (0.0, 0.0, 0.0)),
            ("B", "2b", (0.0, 0.0, 0.25)),
            ("B", "2d", (1 / 3, 2 / 3, 0.75)),
            ("B", "4f", (1 / 3, 2 / 3, 0.528)),
        ),
        _KIESSLING_W,
    ),
    KnownPhase(
        "WB2 (hP12: W2B5 without boron on 2a)",
        194,
        _HEXAGONAL_W2B5,
        (
            ("W", "4f", (1 / 3, 2 / 3, 0.139)),
            ("B", "2b", (0.0, 0.0, 0.25)),
            ("B", "2d", (1 / 3, 2 / 3, 0.75)),
            ("B", "4f", (1 / 3, 2 / 3, 0.528)),
        ),
        _KIESSLING_W,
    ),
    KnownPhase(
        "WB4 (hP20)",
        194,
        _HEXAGONAL_WB4,
        (
            ("W", "2c", (1 / 3, 2 / 3, 0.25)),
            ("W", "2b", (0.0, 0.0, 0.25)),
            ("B", "12i", (1 / 3, 0.0, 0.0)),
            ("B", "4f", (1 / 3, 2 / 3, 0.625)),
        ),
        _ROMANS,
    ),
    KnownPhase(
        "WB3 (hP16: WB4 without its boron pairs)",
        194,
        _HEXAGONAL_WB4,
        (
            ("W", "2c", (1 / 3, 2 / 3, 0.25)),
            ("W", "2b", (0.0, 0.0, 0.25)),
            ("B", "12i", (1 / 3, 0.0, 0.0)),
        ),
        _ROMANS,
    ),
)
