"""Whose energies may be compared with whose: a potential's with those that it learned."""

from __future__ import annotations

from collections.abc import Collection

from core.energy.errors import CORRECTED

# M3GNet (Chen & Ong, Nat. Comput. Sci. 2, 718, 2022) and CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) learned
# relaxations of the Materials Project: benchmarks/formation_energies.py finds 27 and 51 meV/atom between them and it.
LEARNED = {"Materials Project": ("M3GNet-MP-2021.2.8", "CHGNet-0.3.0")}


def stand_ins(method: str, elements: Collection[str]) -> tuple[str, ...]:
    """Potentials whose formation energies of these elements stand for those of a method that they learned.

    None where that method corrects the energies of one of the elements afterwards: potentials learned them bare.
    """
    return () if set(elements) & set(CORRECTED) else LEARNED.get(method, ())
