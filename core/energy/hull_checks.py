"""What keeps a hull from being trusted, in sentences: the rules of AFLOW-CHULL.

Oses et al., J. Chem. Inf. Model. 58, 2477 (2018): 200 entries for a binary, elements within 15 meV/atom of their
references, outliers by the interquartile range. AFLOW discards outliers; here they are named, and the user decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from core.energy.hull import ConvexHull
from core.energy.hull_source import HullSource, SourcePhase

FEWEST_OF_BINARY = 200
SKEWED = 0.015  # eV/atom
IQR_MULTIPLIER = 3.25
FEWEST_FOR_OUTLIERS = 50  # phases below the elements, for the quartiles to mean something
DISAGREEMENT = 0.001  # eV/atom between the source's distances and ours


def warnings_of(source: HullSource, hull: ConvexHull) -> list[str]:
    """Every reason for doubt, worst first; [] where there is none."""
    phases = source.shaping
    found = [*source.warnings, *_disagreement(source, hull), *_skewed(hull.elements, phases)]
    return [*found, *_outliers(phases), *_small(hull.elements, phases), *_flagged(source)]


def outliers(phases: Sequence[SourcePhase]) -> list[SourcePhase]:
    """Phases far below the first quartile of their own system, as AFLOW-CHULL finds them, lowest first.

    Only phases below the elements count, at least 50 of a system: E < Q1 − 3.25 (Q3 − Q1).
    """
    groups: dict[frozenset[str], list[SourcePhase]] = {}
    for phase in phases:
        if phase.formation < 0 and len(phase.composition) > 1:
            groups.setdefault(frozenset(phase.composition), []).append(phase)
    found = []
    for group in groups.values():
        if len(group) >= FEWEST_FOR_OUTLIERS:
            low, high = np.quantile([p.formation for p in group], [0.25, 0.75])
            found += [p for p in group if p.formation < low - IQR_MULTIPLIER * (high - low)]
    return sorted(found, key=lambda p: p.formation)


def _outliers(phases: Sequence[SourcePhase]) -> list[str]:
    found = outliers(phases)
    if not found:
        return []
    named = ", ".join(f"{p.formula} ({p.label}, {p.formation:.3f} eV/atom)" for p in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return [
        f"Outliers, far below the other phases of their system: {named}{more}. AFLOW would discard them; look at them "
        "before you trust what lies near."
    ]


def _skewed(elements: Sequence[str], phases: Sequence[SourcePhase]) -> list[str]:
    lowest: dict[str, float] = {}
    for phase in phases:
        if len(phase.composition) == 1:
            element = next(iter(phase.composition))
            lowest[element] = min(phase.formation, lowest.get(element, np.inf))
    off = [(e, lowest[e]) for e in elements if abs(lowest.get(e, 0.0)) > SKEWED]
    if not off:
        return []
    named = ", ".join(f"{e} {1000 * v:+.1f}" for e, v in off)
    return [
        f"The hull is skewed: the lowest form of an element stands off its reference by more than {1000 * SKEWED:.0f} "
        f"meV/atom ({named})."
    ]


def _small(elements: Sequence[str], phases: Sequence[SourcePhase]) -> list[str]:
    counts = Counter(frozenset(p.composition) for p in phases)
    few = [(a, b, counts[frozenset((a, b))]) for a, b in combinations(elements, 2)]
    few = [pair for pair in few if pair[2] < FEWEST_OF_BINARY]
    if not few:
        return []
    named = ", ".join(f"{a}-{b} has {n}" for a, b, n in few[:6]) + (" …" if len(few) > 6 else "")
    return [
        f"By AFLOW's rule a binary hull of fewer than {FEWEST_OF_BINARY} entries is unreliable: {named}. A phase that "
        "nobody calculated may lie below it."
    ]


def _disagreement(source: HullSource, hull: ConvexHull) -> list[str]:
    found = disagreement(source, hull)
    if found is None or found <= DISAGREEMENT:
        return []
    return [
        f"The distances in the file differ from those computed here by up to {1000 * found:.2f} meV/atom: the file "
        "may lack phases that its hull was made of."
    ]


def disagreement(source: HullSource, hull: ConvexHull) -> float | None:
    """eV/atom, the largest difference to the source's own distances (their sign varies); None where it says none."""
    said = [(p, abs(source.distances[p.label])) for p in source.phases if p.label in source.distances]
    if not said:
        return None
    above = hull.above_of([p.composition for p, _ in said], [p.formation for p, _ in said])
    return float(np.abs(np.abs(above) - [value for _, value in said]).max())


def _flagged(source: HullSource) -> list[str]:
    counts = Counter(p.flag for p in source.phases if p.flag)
    sentences = []
    if counts:
        named = "; ".join(f"{flag}: {n:,}" for flag, n in counts.most_common())
        count = sum(counts.values())
        are = "entry is listed but does" if count == 1 else "entries are listed but do"
        sentences.append(f"{count:,} {are} not shape the hull ({named}).")
    if source.left_out:
        named = "; ".join(f"{reason}: {n:,}" for reason, n in source.left_out.items())
        count = sum(source.left_out.values())
        were = "entries was" if count == 1 else "entries were"
        sentences.append(f"{count:,} of {source.rows:,} {were} left out ({named}).")
    return sentences
