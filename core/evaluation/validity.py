"""Is a generated crystal one at all?

Two criteria. `published_verdicts` is the field's usual one (Xie et al., CDVAE, ICLR 2022) and counts in evaluation
reports, so that their numbers can be compared. `judge` is stricter and is what candidates have to pass: distances
beside covalent radii, volume beside what the elements usually take, empty layers, atoms without a neighbour. Its limits
were set on real structures with `benchmarks/validity_thresholds.py`, where real ones end and drafts may still be mended
by a relaxation: 99.93 % of mp_polymorphs (55,993 DFT structures) and all of perov_5 and carbon_24 (23,266) are valid.
What few real crystals do (98.1 % of mp_polymorphs have none of it) is told as a warning: short contacts, layers in
vacuum, atoms that stand apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from core.crystals import Crystals
from core.data.symmetry import detect_group
from core.energy.potential import shortest_distances
from core.evaluation.contacts import Contacts, find_contacts
from core.evaluation.pool import cells_of
from core.evaluation.reduction import Cell, volume_of
from core.settings import ASSETS

MIN_DISTANCE = 0.5  # Å: the published criterion
MIN_VOLUME_PER_ATOM, MAX_VOLUME_PER_ATOM = 2.0, 200.0  # Å³, on the way from cell to crystal: that of the field's code

TIGHT, NARROW = 0.60, 0.75  # shortest distance as a share of the covalent radii's sum: not valid, a warning
DENSE, CROWDED = 0.35, 0.43  # volume as a share of the elements' usual volumes; diamond has 0.46
VAST, ROOMY = 4.0, 2.0
VACUUM, LAYERED = 16.0, 6.0  # Å without an atom's centre
LONELY, APART = 2.5, 2.0  # an atom's nearest neighbour, as a share of the covalent radii's sum
NOBLE = frozenset({"He", "Ne", "Ar", "Kr", "Xe", "Rn"})  # held by dispersion, far beyond covalent radii

TOLERANCES = (0.001, 0.01, 0.03, 0.1, 0.3)  # Å, of the space groups
WIDEST = 0.1  # Å: a group that is found only beyond it does not count as reached
VOLUMES = ASSETS / "references" / "atomic_volumes.json"  # `python -m benchmarks.validity_thresholds --write` makes it

MEANING = (
    f"Valid: no two atoms closer than {TIGHT:g} times the sum of their covalent radii (and {MIN_DISTANCE:g} Å), "
    f"{DENSE:g} to {VAST:g} times the volume that its elements usually take, no empty layer over {VACUUM:g} Å, and "
    f"each atom with a neighbour within {LONELY:g} times the radii; 99.9 % of real crystals pass."
)


@dataclass(frozen=True)
class Verdict:
    """min_distance in Å, volume in Å³ per atom, NaN where the cell is broken; problem: "" or why it is not valid.

    groups: symprec in Å -> space group found, 0 where none; warning: "" or what is unusual in a valid crystal
    """

    min_distance: float
    volume: float
    problem: str
    groups: dict[float, int] = field(default_factory=dict)
    warning: str = ""

    @property
    def valid(self) -> bool:
        return not self.problem


def published_verdicts(crystals: Crystals) -> list[Verdict]:
    """CDVAE's criterion: no two atoms under 0.5 Å, and 2 to 200 Å³ per atom. Without space groups."""
    volumes = (crystals.volume / crystals.natoms).tolist()
    broken = [_broken(cell) for cell in cells_of(crystals)]
    good = [i for i, why in enumerate(broken) if not why and not _volume_problem(volumes[i])]
    distances = dict(zip(good, shortest_distances(crystals[good]).tolist(), strict=True)) if good else {}
    verdicts = []
    for i, (why, volume) in enumerate(zip(broken, volumes, strict=True)):
        if why:
            verdicts.append(Verdict(math.nan, math.nan, why))
        elif i not in distances:
            verdicts.append(Verdict(math.nan, volume, _volume_problem(volume)))
        else:
            verdicts.append(Verdict(distances[i], volume, _distance_problem(distances[i])))
    return verdicts


def judge(crystals: Crystals, tolerances: Sequence[float] = TOLERANCES) -> list[Verdict]:
    """A verdict on every crystal of the batch; a broken one gets its reason and stops nothing.

    tolerances: Å, of the space groups to find, which takes most of the time
    """
    verdicts = []
    for i, cell in enumerate(cells_of(crystals)):
        try:
            groups = {} if _broken(cell) else {t: detect_group(crystals, i, t) for t in tolerances}
            verdicts.append(_judge_one(cell, groups))
        except Exception as error:  # one bad crystal never stops a run
            verdicts.append(Verdict(math.nan, math.nan, f"it cannot be judged ({type(error).__name__})"))
    return verdicts


def _judge_one(cell: Cell, groups: dict[float, int]) -> Verdict:
    broken = _broken(cell)
    if broken:
        return Verdict(math.nan, math.nan, broken)
    volume = volume_of(cell.matrix) / len(cell.numbers)
    share = volume / float(usual_volumes()[cell.numbers].mean())
    if not DENSE <= share <= VAST or _volume_problem(volume):
        problem = _usual_volume(volume, share, f"valid ones have {DENSE:g} to {VAST:g}")
        return Verdict(math.nan, volume, _volume_problem(volume) or problem, groups)
    contacts = find_contacts(cell)
    problem = _contact_problem(contacts)
    warning = "" if problem else _warning(contacts, volume, share)
    return Verdict(contacts.closest, volume, problem or _distance_problem(contacts.closest), groups, warning)


def _contact_problem(found: Contacts) -> str:
    if found.tight[3] < TIGHT:
        return f"{_pair(found.tight)}; real crystals keep above {TIGHT:g}"
    if found.gap > VACUUM:
        return f"a layer {found.gap:.1f} Å thick holds no atom; real crystals have less than {VACUUM:g} Å"
    if found.lonely[3] > LONELY and found.lonely[0] not in NOBLE:
        return f"an atom has no neighbour: {_pair(found.lonely)}; nearly all real crystals keep below {LONELY:g}"
    return ""


def _warning(found: Contacts, volume: float, share: float) -> str:
    if found.tight[3] < NARROW:
        return f"{_pair(found.tight)}; few real crystals go below {NARROW:g}"
    if not CROWDED <= share <= ROOMY:
        return _usual_volume(volume, share, f"few real crystals leave {CROWDED:g} to {ROOMY:g}")
    if found.gap > LAYERED:
        return f"a layer {found.gap:.1f} Å thick holds no atom: a slab in vacuum, or layers held by little"
    if found.lonely[3] > APART and found.lonely[0] not in NOBLE:
        return f"an atom stands apart: {_pair(found.lonely)}; few real crystals go above {APART:g}"
    return ""


def _pair(pair: tuple[str, str, float, float]) -> str:
    first, second, distance, share = pair
    names = f"two {first} atoms" if first == second else f"{first} and {second}"
    return f"{names} are {distance:.2f} Å apart, {share:.2f} of the sum of their covalent radii"


def _usual_volume(volume: float, share: float, limits: str) -> str:
    return f"its volume is {volume:.1f} Å³ per atom, {share:.2f} times what its elements usually take; {limits}"


def _distance_problem(distance: float) -> str:
    """By the published criterion."""
    return "" if distance >= MIN_DISTANCE else f"two atoms are {distance:.2f} Å apart, less than {MIN_DISTANCE:g} Å"


def _volume_problem(volume: float) -> str:
    """By the published criterion; volume in Å³ per atom."""
    if MIN_VOLUME_PER_ATOM <= volume <= MAX_VOLUME_PER_ATOM:
        return ""
    bounds = f"{MIN_VOLUME_PER_ATOM:g} to {MAX_VOLUME_PER_ATOM:g}"
    return f"its volume is {volume:.1f} Å³ per atom, outside {bounds}"


def _broken(cell: Cell) -> str:
    if not len(cell.numbers):
        return "it has no atoms"
    if not np.isfinite(cell.matrix).all() or not math.isfinite(volume_of(cell.matrix)):
        return "its cell is not finite"
    return "" if np.isfinite(cell.frac).all() else "an atom's place is not finite"


def group_reached(groups: dict[float, int], asked: int | None) -> tuple[int | None, float | None]:
    """(space group, symprec in Å): at the tightest tolerance that gives the one asked, else at 0.1 Å.

    groups: symprec in Å -> space group found, 0 where none; those beyond 0.1 Å are not looked at
    """
    looked = {t: g for t, g in groups.items() if t <= WIDEST}
    if not looked:
        return None, None
    for symprec, group in sorted(looked.items()):
        if asked is not None and group == asked:
            return group, symprec
    widest = max(looked)
    return looked[widest] or None, widest


@lru_cache(maxsize=1)
def usual_volumes() -> np.ndarray:
    """(119,) Å³ that an atom of each element takes in real structures, NaN at 0: fitted to mp_polymorphs."""
    volumes = np.full(119, np.nan)
    volumes[1:] = json.loads(VOLUMES.read_text())["volumes"]
    return volumes
