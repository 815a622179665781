"""From verdicts to a report: match rates with their uncertainty, over all targets and by what they are.

Everything that was asked counts. A target that could not be drawn, and a sample that is no valid crystal or is another
crystal, is a miss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

SIZES = ((1, 4), (5, 8), (9, 12), (13, 20), (21, 60))  # atoms in the cell
SYSTEMS = (
    (2, "triclinic"),
    (15, "monoclinic"),
    (74, "orthorhombic"),
    (142, "tetragonal"),
    (167, "trigonal"),
    (194, "hexagonal"),
    (230, "cubic"),
)  # up to which space group
_Z = 1.959963984540054  # 97.5 % of a normal distribution lies below


@dataclass(frozen=True)
class Outcome:
    """What became of one target.

    natoms: in its cell; elements: how many kinds; group: space group, 0 where unknown
    valid: is each sample a crystal at all, by the published criterion (`validity.published_verdicts`)
    rms: its displacement from the target over (V/N)^⅓, None where it is another
    problem: why nothing was drawn, "" otherwise
    also: {matcher: the same as `rms`} of other matchers
    in_group: has the first sample the space group that was asked for, None where none was
    ranked: which sample a ranking puts first, None where none was ranked
    """

    target: int
    label: str
    natoms: int
    elements: int
    group: int
    valid: tuple[bool, ...] = ()
    rms: tuple[float | None, ...] = ()
    problem: str = ""
    also: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    in_group: bool | None = None
    ranked: int | None = None

    def best(self, samples: int, matcher: str = "") -> float | None:
        """The least RMS of the valid ones among the first samples, None for a miss; matcher: one of `also`."""
        rms = self.also.get(matcher, ()) if matcher else self.rms
        found = [r for r, good in zip(rms[:samples], self.valid[:samples], strict=False) if good and r is not None]
        return min(found, default=None)

    def first_ranked(self, matcher: str = "") -> float | None:
        """The RMS of the sample that the ranking puts first, None for a miss; matcher: one of `also`."""
        rms = self.also.get(matcher, ()) if matcher else self.rms
        if self.ranked is None or self.ranked >= len(rms) or not self.valid[self.ranked]:
            return None
        return rms[self.ranked]

    @property
    def matched(self) -> bool:
        """Is the first sample the target?"""
        return self.best(1) is not None


@dataclass(frozen=True)
class Share:
    """How many of so many, with the 95 % interval of Wilson (J. Am. Stat. Assoc. 22, 209, 1927)."""

    name: str
    targets: int
    match_rate: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Rates:
    """By one matcher. match_rate, rms: of each target's first sample; …_at_k: of the best of all samples."""

    matched: int
    match_rate: float
    ci95: tuple[float, float]
    rms: float | None
    match_rate_at_k: float
    ci95_at_k: tuple[float, float]
    rms_at_k: float | None


@dataclass(frozen=True)
class Reached:
    """How many first samples have the space group that was asked for, with the 95 % interval of Wilson."""

    asked: int
    reached: int
    share: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Ranked:
    """How many of the samples that a ranking puts first match, and their mean RMS; also: by other matchers."""

    matched: int
    match_rate: float
    ci95: tuple[float, float]
    rms: float | None
    also: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """match_rate, rms: of each target's first sample; match_rate_at_k, rms_at_k: of the best of all samples.

    rms: mean over matches, in units of (V/N)^⅓, None without any
    valid: share of all samples asked for that pass the published criterion (CDVAE's, `validity.published_verdicts`)
    problems: {why nothing was drawn: targets}
    also: the rates by other matchers of the same samples
    in_group, in_group_p1: where a space group was asked for; requests of P1, which any crystal nearly meets, apart
    """

    targets: int
    samples: int
    matched: int
    match_rate: float
    ci95: tuple[float, float]
    rms: float | None
    valid: float
    match_rate_at_k: float
    ci95_at_k: tuple[float, float]
    rms_at_k: float | None
    by_size: list[Share]
    by_elements: list[Share]
    by_system: list[Share]
    problems: dict[str, int] = field(default_factory=dict)
    also: dict[str, Rates] = field(default_factory=dict)
    in_group: Reached | None = None
    in_group_p1: Reached | None = None
    ranked: Ranked | None = None


def make_report(outcomes: Sequence[Outcome], samples: int = 1) -> Report:
    """The report of all targets, `samples` drawn for each. Raises ValueError for none."""
    if not outcomes:
        raise ValueError("There is no target to report on.")
    problems: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.problem:
            problems[outcome.problem] = problems.get(outcome.problem, 0) + 1
    return Report(
        targets=len(outcomes),
        samples=samples,
        **vars(_rates(outcomes, samples)),
        valid=sum(sum(o.valid[:samples]) for o in outcomes) / (len(outcomes) * samples),
        by_size=shares(outcomes, lambda o: size_class(o.natoms)),
        by_elements=shares(outcomes, lambda o: (o.elements, str(o.elements))),
        by_system=shares(outcomes, lambda o: crystal_system(o.group)),
        problems=problems,
        also={name: _rates(outcomes, samples, name) for name in sorted({m for o in outcomes for m in o.also})},
        in_group=_reached([o for o in outcomes if o.group != 1]),
        in_group_p1=_reached([o for o in outcomes if o.group == 1]),
        ranked=_ranked(outcomes),
    )


def _rates(outcomes: Sequence[Outcome], samples: int, matcher: str = "") -> Rates:
    first = [r for o in outcomes if (r := o.best(1, matcher)) is not None]
    any_ = [r for o in outcomes if (r := o.best(samples, matcher)) is not None]
    total = len(outcomes)
    return Rates(
        len(first), len(first) / total, wilson(len(first), total), _mean(first),
        len(any_) / total, wilson(len(any_), total), _mean(any_),
    )  # fmt: skip


def _ranked(outcomes: Sequence[Outcome]) -> Ranked | None:
    """None where nothing was ranked; a target without a sample is a miss."""
    if all(o.ranked is None for o in outcomes):
        return None
    total = len(outcomes)
    found = [r for o in outcomes if (r := o.first_ranked()) is not None]
    names = sorted({m for o in outcomes for m in o.also})
    also = {name: sum(o.first_ranked(name) is not None for o in outcomes) / total for name in names}
    return Ranked(len(found), len(found) / total, wilson(len(found), total), _mean(found), also)


def _reached(outcomes: Sequence[Outcome]) -> Reached | None:
    asked = [o.in_group for o in outcomes if o.in_group is not None]
    reached = sum(asked)
    return Reached(len(asked), reached, reached / len(asked), wilson(reached, len(asked))) if asked else None


def shares(outcomes: Sequence[Outcome], key: Callable[[Outcome], tuple[int, str]]) -> list[Share]:
    """A row for each (place, name) that `key` gives, by place; classes without targets have none."""
    classes: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in outcomes:
        classes.setdefault(key(outcome), []).append(outcome)
    rows = []
    for (_, name), members in sorted(classes.items()):
        matched = sum(o.matched for o in members)
        rows.append(Share(name, len(members), matched / len(members), wilson(matched, len(members))))
    return rows


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share, within [0, 1]. Raises ValueError for no trial."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no share")
    share, z2 = successes / trials, _Z**2 / trials
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials))
    return (max(0.0, middle - half) if successes else 0.0, min(1.0, middle + half) if successes < trials else 1.0)


def size_class(natoms: int) -> tuple[int, str]:
    """(place, "5-8") of a number of atoms in the cell; "61 and more" behind the last."""
    for place, (low, high) in enumerate(SIZES):
        if natoms <= high:
            return place, f"{low}-{high}"
    return len(SIZES), f"{SIZES[-1][1] + 1} and more"


def crystal_system(group: int) -> tuple[int, str]:
    """(place, name) of a space group's crystal system; "unknown" for 0."""
    for place, (last, name) in enumerate(SYSTEMS):
        if 0 < group <= last:
            return place, name
    return len(SYSTEMS), "unknown"


def verdict_row(outcome: Outcome) -> dict[str, Any]:
    """A target as one JSON object: matched or not, and why."""
    return {
        "target": outcome.target,
        "label": outcome.label,
        "matched": outcome.matched,
        "rms": list(outcome.rms),
        "valid": list(outcome.valid),
        "natoms": outcome.natoms,
        "elements": outcome.elements,
        "group": outcome.group,
        "system": crystal_system(outcome.group)[1],
        "problem": outcome.problem,
        "also": {name: list(rms) for name, rms in outcome.also.items()},
        "in_group": outcome.in_group,
        "ranked": outcome.ranked,
    }


def outcome_of(row: dict[str, Any]) -> Outcome:
    """The inverse of `verdict_row`. Raises KeyError or TypeError for another object."""
    names = ("target", "label", "natoms", "elements", "group", "problem", "in_group", "ranked")
    also = {name: tuple(rms) for name, rms in row["also"].items()}
    return Outcome(**{name: row[name] for name in names}, valid=tuple(row["valid"]), rms=tuple(row["rms"]), also=also)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
