"""Convex hulls of formation energies, by pymatgen's PhaseDiagram. One hull holds energies of one method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

MAX_ELEMENTS = 7  # a hull of more has more facets than a page or a memory can hold
_ON_HULL = 1e-9  # eV/atom


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
    reaction: how it would form from them, balanced: "2 TaB2 + W → Ta2B4W"; "" where it is the phase itself
    """

    above: float
    hull: float
    against: list[tuple[str, float]] = field(default_factory=list)
    reaction: str = ""

    @property
    def reaction_energy(self) -> float:
        """eV per atom of `reaction` as it is written: negative where the crystal wins, positive where they do."""
        return self.above


class ConvexHull:
    """The lower convex hull over a chemical system; elements stand at 0 eV/atom.

    Raises HullError without phases, or where a phase holds an element outside the system.
    """

    def __init__(self, chemical_system: str, phases: Sequence[Phase]) -> None:
        self.chemical_system = chemical_system
        self.elements = chemical_system.split("-")
        if len(self.elements) > MAX_ELEMENTS:
            raise HullError(f"{chemical_system} has {len(self.elements)} elements; a hull can hold {MAX_ELEMENTS}.")
        strangers = {e for p in phases for e in p.composition} - set(self.elements)
        if strangers:
            raise HullError(f"{', '.join(sorted(strangers))} is no element of the hull {chemical_system}.")
        if not phases:
            raise HullError(f"The hull {chemical_system} has no phases.")
        self.phases = list(phases)

    def fractions(self, compositions: Sequence[Mapping[str, float]]) -> np.ndarray:
        """(M, E) atomic fractions in the order of `elements`. Raises HullError for an element outside the system."""
        known = {e: k for k, e in enumerate(self.elements)}
        found = np.zeros((len(compositions), len(known)))
        for row, composition in enumerate(compositions):
            for element, amount in composition.items():
                if element not in known:
                    raise HullError(
                        f"{', '.join(sorted(set(composition) - set(known)))} is not in the hull "
                        f"{self.chemical_system}: choose a hull that holds it."
                    )
                found[row, known[element]] = amount
        totals = found.sum(1, keepdims=True)
        if (totals <= 0).any() or (found < 0).any():
            raise HullError("A composition without atoms has no place on a hull.")
        shares: np.ndarray = found / totals
        return shares

    @cached_property
    def _diagram(self) -> PhaseDiagram:
        """Of the lowest phase per composition, as far as it lies below the elements; these are pinned at 0."""
        entries = [PDEntry(Composition({e: 1}), 0.0, name=e) for e in self.elements]
        shares = self.fractions([p.composition for p in self.phases])
        lowest: dict[bytes, int] = {}
        for i, phase in enumerate(self.phases):
            key = shares[i].round(9).tobytes()
            if (shares[i] > 0).sum() > 1 and phase.formation < 0:
                best = lowest.setdefault(key, i)
                if phase.formation < self.phases[best].formation:
                    lowest[key] = i
        for i in lowest.values():
            composition = Composition(self.phases[i].composition)
            entries.append(PDEntry(composition, self.phases[i].formation * composition.num_atoms, attribute=i))
        return PhaseDiagram(entries)

    @cached_property
    def _facets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners (F, E) as indices of qhull_entries, their fractions (F, E, E), chemical potentials (F, E).

        A facet's plane is e(x) = μ·x, with the chemical potentials μ of the elements where its corners coexist.
        """
        size = len(self.elements)
        if size == 1:  # PhaseDiagram's facets of one element are no simplices
            return np.zeros((1, 1), dtype=int), np.ones((1, 1, 1)), np.zeros((1, 1))
        entries = self._diagram.qhull_entries
        corners = np.array([sorted(f) for f in self._diagram.facets]).reshape(-1, size)
        points = self.fractions([e.composition.get_el_amt_dict() for e in entries])
        heights = np.array([e.energy_per_atom for e in entries])
        shares, energies = points[corners], heights[corners]
        solid = np.abs(np.linalg.det(shares)) > 1e-14  # corners on one line have no plane
        corners, shares, energies = corners[solid], shares[solid], energies[solid]
        potentials = np.linalg.solve(shares, energies[..., None])[..., 0]
        under = (points @ potentials.T <= heights[:, None] + 1e-6).all(0)  # a broken plane would lift the whole hull
        return corners[under], shares[under], potentials[under]

    def heights(self, fractions: np.ndarray) -> np.ndarray:
        """(M, E) atomic fractions -> (M,) energy of the hull there in eV/atom.

        The hull is convex, so it is the highest of its facets' planes.
        """
        potentials = self._facets[2]
        parts = [(part @ potentials.T).max(1) for part in np.array_split(fractions, -(-len(fractions) // 4096) or 1)]
        found: np.ndarray = np.concatenate(parts)
        return found

    def place(self, composition: Mapping[str, float], formation: float) -> Place:
        """Where a crystal of this composition and formation energy (eV/atom) stands. Raises HullError."""
        if not math.isfinite(formation):
            raise HullError("Its formation energy is not known: it has no place on a hull.")
        target = {e: float(n) for e, n in composition.items() if n > 0 or e not in self.elements}
        point = self.fractions([target])[0]
        hull = float(self.heights(point[None])[0])
        against = self._decomposition(point)
        shares = [(c.reduced_formula, share) for c, share in against]
        reaction = _reaction(Composition(target), against)
        return Place(formation - hull, hull, sorted(shares, key=lambda a: -a[1]), reaction)

    def _decomposition(self, point: np.ndarray) -> list[tuple[Composition, float]]:
        """The corners of the facet over a point with their shares of the atoms."""
        corners, shares, potentials = self._facets
        planes = potentials @ point
        over = np.flatnonzero(planes >= planes.max() - 1e-8)  # several where the point lies on an edge
        weights = np.linalg.solve(
            shares[over].transpose(0, 2, 1), np.broadcast_to(point, (len(over), len(point)))[..., None]
        )
        best = int(weights[..., 0].min(1).argmax())
        entries = self._diagram.qhull_entries
        return [
            (entries[i].composition, float(w))
            for i, w in zip(corners[over[best]], weights[best, :, 0], strict=True)
            if w > 1e-8
        ]

    def above(self) -> list[float]:
        """eV/atom of every phase above the hull, in order; 0 for those on it, negative for elements below 0."""
        return self.above_of([p.composition for p in self.phases], [p.formation for p in self.phases])

    def above_of(self, compositions: Sequence[Mapping[str, float]], formation: Sequence[float]) -> list[float]:
        """eV/atom above the hull of many compositions at once. Raises HullError."""
        if not len(compositions):
            return []
        values = np.asarray(formation, dtype=float) - self.heights(self.fractions(compositions))
        values[np.abs(values) < _ON_HULL] = 0.0
        return [float(v) for v in values]

    def stable(self) -> list[Phase]:
        """The phases on the hull, elements first, then by formula."""
        corners = {int(i) for facet in self._facets[0] for i in facet}
        entries = self._diagram.qhull_entries if len(self.elements) > 1 else []
        found = [self.phases[entries[i].attribute] for i in corners if entries and entries[i].attribute is not None]
        elements = [Phase(e, {e: 1.0}, 0.0) for e in self.elements]
        return elements + sorted(found, key=lambda p: p.formula)

    def facets(self) -> list[list[tuple[str, Mapping[str, float]]]]:
        """The hull's simplices as lists of (formula, atomic fractions): lines of a binary, triangles of a ternary."""
        entries = self._diagram.qhull_entries
        named = {i: (entries[i].composition.reduced_formula, _fractions(entries[i].composition)) for i in
                 {int(i) for i in self._facets[0].flat}}  # fmt: skip
        return [[named[int(i)] for i in facet] for facet in self._facets[0]]


def normal_system(text: str) -> str:
    """ "W-Ta-B", "BTaW" or "B Ta W" -> "B-Ta-W". Raises HullError where it names what is no element."""
    from core.data.formulas import FormulaError, parse_formula

    try:
        found = parse_formula("".join(text.replace("-", " ").replace(",", " ").split()))
    except FormulaError as error:
        raise HullError(f"{text[:40]!r} is no chemical system: {error}") from error
    if any(n > 1 for n in found.values()):
        raise HullError(f"{text[:40]!r} is no chemical system: write its elements, as in B-Ta-W.")
    return "-".join(sorted(found))


def _fractions(composition: Composition) -> dict[str, float]:
    return {e.symbol: float(composition.get_atomic_fraction(e)) for e in composition.elements}


def _reaction(target: Composition, against: Sequence[tuple[Composition, float]]) -> str:
    """ "TaB2 + W → TaB2W", the smallest whole numbers that balance; "" where nothing changes or nothing whole does."""
    unit = target.reduced_composition
    phases = [c.reduced_composition for c, _ in against]
    if len(phases) == 1 and phases[0] == unit:
        return ""
    amounts = [
        Fraction(share * unit.num_atoms / phase.num_atoms).limit_denominator(20_000)
        for phase, (_, share) in zip(phases, against, strict=True)
    ]
    scale = lcm(*(a.denominator for a in amounts))
    counts = [int(a * scale) for a in amounts]
    for element in unit.elements:
        if abs(sum(n * p[element] for n, p in zip(counts, phases, strict=True)) - scale * unit[element]) > 1e-6:
            return ""
    order = sorted(zip(counts, phases, strict=True), key=lambda item: item[1].reduced_formula)
    return " + ".join(_term(n, p) for n, p in order) + " → " + _term(scale, unit)


def _term(count: int, composition: Composition) -> str:
    return f"{count} {composition.reduced_formula}" if count > 1 else composition.reduced_formula
