"""Convex hulls of formation energies, by pymatgen's PhaseDiagram. One hull holds energies of one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition


class HullError(ValueError):
    """A question that a hull cannot answer; the message is a sentence."""


@dataclass(frozen=True)
class Phase:
    """One known phase: composition {element: amount} and formation energy in eV/atom."""

    label: str
    composition: Mapping[str, float]
    formation: float

    @property
    def formula(self) -> str:
        return Composition(self.composition).reduced_formula


@dataclass(frozen=True)
class Place:
    """Where a composition and energy stand against a hull, eV/atom; `above` is negative below the hull.

    against: the phases it competes with, as (formula, share of the atoms)
    """

    above: float
    hull: float
    against: list[tuple[str, float]] = field(default_factory=list)


class ConvexHull:
    """The lower convex hull over a chemical system; elements stand at 0 eV/atom.

    Raises HullError without phases, or where a phase holds an element outside the system.
    """

    def __init__(self, chemical_system: str, phases: Sequence[Phase]) -> None:
        self.chemical_system = chemical_system
        self.elements = chemical_system.split("-")
        strangers = {e for p in phases for e in p.composition} - set(self.elements)
        if strangers:
            raise HullError(f"{', '.join(sorted(strangers))} is no element of the hull {chemical_system}.")
        if not phases:
            raise HullError(f"The hull {chemical_system} has no phases.")
        self.phases = list(phases)

    @cached_property
    def _diagram(self) -> PhaseDiagram:
        """Elements pinned at 0: their lowest form is the reference that formation energies are counted from."""
        entries = [PDEntry(Composition({e: 1}), 0.0, name=e) for e in self.elements]
        for phase in self.phases:
            if len(phase.composition) > 1:
                composition = Composition(phase.composition)
                entries.append(PDEntry(composition, phase.formation * composition.num_atoms, name=phase.label))
        return PhaseDiagram(entries)

    def place(self, composition: Mapping[str, float], formation: float) -> Place:
        """Where a crystal of this composition and formation energy (eV/atom) stands. Raises HullError."""
        missing = sorted(set(composition) - set(self.elements))
        if missing:
            raise HullError(
                f"{', '.join(missing)} is not in the hull {self.chemical_system}: choose a hull that holds it."
            )
        target = Composition({e: n for e, n in composition.items() if n > 0})
        decomposition, hull = self._diagram.get_decomp_and_hull_energy_per_atom(target)
        against = [(e.composition.reduced_formula, float(share)) for e, share in decomposition.items()]
        return Place(formation - float(hull), float(hull), sorted(against, key=lambda a: -a[1]))

    def above(self) -> list[float]:
        """eV/atom of every phase above the hull, in order; 0 for those on it."""
        values = [self.place(p.composition, p.formation).above for p in self.phases]
        return [0.0 if abs(v) < 1e-9 else v for v in values]

    def stable(self) -> list[Phase]:
        """The phases on the hull, elements first, then by formula."""
        on_hull = {(getattr(e, "name", ""), e.composition.reduced_formula) for e in self._diagram.stable_entries}
        found = [p for p in self.phases if (p.label, p.formula) in on_hull]
        elements = [Phase(e, {e: 1.0}, 0.0) for e in self.elements]
        return elements + sorted(found, key=lambda p: p.formula)

    def facets(self) -> list[list[tuple[str, Mapping[str, float]]]]:
        """The hull's simplices as lists of (formula, atomic fractions): lines of a binary, triangles of a ternary."""
        entries = self._diagram.qhull_entries
        return [
            [(entries[i].composition.reduced_formula, _fractions(entries[i].composition)) for i in simplex]
            for simplex in self._diagram.facets
        ]


def _fractions(composition: Composition) -> dict[str, float]:
    return {e.symbol: float(composition.get_atomic_fraction(e)) for e in composition.elements}
