"""Crystal prototypes of AFLOW, as pymatgen carries them, decorated with chosen elements.

Hicks et al., The AFLOW Library of Crystallographic Prototypes, Comp. Mat. Sci. 161, S1 (2019) and its parts 1 and 3.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Element, Structure

_STAND_INS = ("Na", "Cl", "Mg", "S", "Al", "P")  # any distinct elements: only who is where matters


@dataclass(frozen=True)
class Decoration:
    """One prototype with its sites given to elements.

    formula: reduced; prototype: AFLOW's label ("AB2_hP3_191_a_d"); elements: for its letters A, B, …
    structure: cell scaled to the elements' volumes
    """

    formula: str
    prototype: str
    elements: tuple[str, ...]
    structure: Structure


def decorate(
    elements: Sequence[str], atoms: tuple[int, int] = (4, 20), min_polymorphs: int = 7
) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Every formula of the elements that has enough distinct prototypes -> its (prototype, element per letter A, B, …).

    atoms: smallest and largest cell. Raises ValueError for a name that is no element.
    """
    for symbol in elements:
        if not Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is no element: write symbols such as B, Ta, W.")
    formulas: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for letters, labels in _distinct(atoms).items():
        if len(letters) > len(elements):
            continue
        for chosen in combinations(sorted(set(elements)), len(letters)):
            for label, places in labels:
                named = tuple(chosen[p] for p in places)
                formulas.setdefault(_formula(label, named), []).append((label, named))
    return {f: sorted(d) for f, d in sorted(formulas.items()) if len(d) >= min_polymorphs}


def build(label: str, elements: Sequence[str]) -> Decoration:
    """The prototype with letters A, B, … replaced by `elements`, scaled to the sum of their atomic volumes."""
    structure = library()[label].copy()
    letters = lettered(structure)
    structure.replace_species({old: Element(new) for old, new in zip(letters, elements, strict=True)})
    structure.scale_lattice(sum(atomic_volume(site.specie.symbol) for site in structure))
    return Decoration(structure.composition.reduced_formula, label, tuple(elements), structure)


def elemental_prototypes(symbol: str, atoms: int) -> list[tuple[str, Structure]]:
    """(label, cell as published) of the prototypes that are this element's own crystals, of up to `atoms` atoms."""
    found = [(k, s) for k, s in library().items() if {e.symbol for e in s.composition.elements} == {symbol}]
    return sorted(((k, s.copy()) for k, s in found if len(s) <= atoms), key=lambda pair: pair[0])


def choose_formulas(formulas: Sequence[str], limit: int | None, whole: Sequence[str] = (), seed: int = 0) -> list[str]:
    """At most `limit` of the formulas, drawn at random; those of the systems in `whole` ("B-Ta-W") are always taken."""
    systems = [set(system.split("-")) for system in whole]
    kept = [f for f in formulas if any(set(Composition(f).chemical_system.split("-")) <= s for s in systems)]
    others = [f for f in formulas if f not in set(kept)]
    if limit is not None:
        others = random.Random(seed).sample(others, max(0, min(len(others), limit - len(kept))))
    return sorted(kept + others)


def atomic_volume(symbol: str) -> float:
    """Å³ an atom takes in its elemental solid or, where that is a gas, in compounds (molar volume, or a radius)."""
    element = Element(symbol)
    molar = element.molar_volume  # cm³/mol
    if molar and float(molar) < 40:
        return float(molar) / 0.602214076
    radius = float(element.atomic_radius or 1.4)
    return 4.0 * radius**3 * 1.4142


@cache
def library() -> dict[str, Structure]:
    """AFLOW's label -> its ordered prototype as published; copy before changing."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY  # read at its import, which takes seconds

    found: dict[str, Structure] = {}
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure
        if structure.is_ordered:
            found.setdefault(entry["tags"]["aflow"], structure)
    return found


def lettered(structure: Structure) -> list[Element]:
    """The elements in the order of AFLOW's letters A, B, …: alphabetical, as in the label's stoichiometry."""
    return sorted((Element(e.symbol) for e in structure.composition.elements), key=lambda e: e.symbol)


def _formula(label: str, elements: Sequence[str]) -> str:
    structure = library()[label]
    counts = [structure.composition[e] for e in lettered(structure)]
    return Composition(dict(zip(elements, counts, strict=True))).reduced_formula


@cache
def _distinct(atoms: tuple[int, int]) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Per letters used ("AB"): the (label, place of each letter's element) left when like structures are one.

    Found once with stand-in elements: whether two decorations are the same crystal at equal volume per atom does not
    depend on the elements' names.
    """
    by_formula: dict[str, list[tuple[str, tuple[int, ...], Structure]]] = {}
    for label, structure in library().items():
        letters = lettered(structure)
        if not (atoms[0] <= len(structure) <= atoms[1]) or not 1 <= len(letters) <= len(_STAND_INS):
            continue
        for places in permutations(range(len(letters))):
            copy = structure.copy()
            names = [Element(_STAND_INS[p]) for p in places]
            copy.replace_species(dict(zip(letters, names, strict=True)))
            copy.scale_lattice(20.0 * len(copy))
            by_formula.setdefault(copy.composition.reduced_formula, []).append((label, places, copy))
    matcher = StructureMatcher()
    distinct: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for members in by_formula.values():
        kept: list[Structure] = []
        for label, places, structure in members:
            if any(matcher.fit(structure, other) for other in kept):
                continue
            kept.append(structure)
            distinct.setdefault("ABCDEF"[: len(places)], []).append((label, places))
    return distinct
