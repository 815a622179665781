"""Reports: closed forms, and scipy's Wilson interval."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from pymatgen.symmetry.groups import SpaceGroup
from scipy.stats import binomtest

from core.evaluation.report import Outcome, crystal_system, make_report, outcome_of, size_class, verdict_row, wilson


@pytest.mark.parametrize(("matched", "targets"), [(0, 1), (1, 1), (0, 40), (3, 7), (40, 40), (612, 1000)])
def test_intervals_are_scipys(matched: int, targets: int) -> None:
    expected = binomtest(matched, targets).proportion_ci(0.95, method="wilson")
    assert wilson(matched, targets) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("matched", "targets"), [(0, 0), (2, 1), (-1, 3)])
def test_what_is_no_share_has_no_interval(matched: int, targets: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(matched, targets)


@pytest.mark.slow
def test_every_group_has_the_system_that_pymatgen_names() -> None:
    for group in range(1, 231):
        assert crystal_system(group)[1] == SpaceGroup.from_int_number(group).crystal_system
    assert crystal_system(0)[1] == "unknown"


def test_sizes() -> None:
    assert [size_class(n)[1] for n in (1, 4, 5, 12, 20, 21, 60, 61, 200)] == [
        "1-4", "1-4", "5-8", "9-12", "13-20", "21-60", "21-60", "61 and more", "61 and more"
    ]  # fmt: skip


OUTCOMES = [
    Outcome(0, "a", 4, 2, 225, (True, True), (0.1, 0.02)),
    Outcome(1, "b", 8, 2, 225, (True, True), (None, 0.2), "", {"field": (0.3, 0.2)}, True),
    Outcome(
        2, "c", 8, 3, 12, (False, False), (0.05, None), "", {"field": (0.05, None)}, False
    ),  # not valid: a miss although it matches
    Outcome(3, "d", 80, 3, 0, problem="more than 64 atoms"),
]


def test_everything_asked_counts() -> None:
    report = make_report(OUTCOMES, samples=2)
    assert (report.targets, report.matched, report.match_rate) == (4, 1, 0.25)
    assert report.match_rate_at_k == 0.5
    assert report.ci95 == wilson(1, 4)
    assert report.ci95_at_k == wilson(2, 4)
    assert report.rms == 0.1
    assert report.rms_at_k == pytest.approx((0.02 + 0.2) / 2)
    assert report.valid == 4 / 8
    assert report.problems == {"more than 64 atoms": 1}
    assert [(s.name, s.targets, s.match_rate) for s in report.by_size] == [
        ("1-4", 1, 1.0), ("5-8", 2, 0.0), ("61 and more", 1, 0.0)
    ]  # fmt: skip
    assert [(s.name, s.targets, s.match_rate) for s in report.by_elements] == [("2", 2, 0.5), ("3", 2, 0.0)]
    assert [(s.name, s.targets) for s in report.by_system] == [("monoclinic", 1), ("cubic", 2), ("unknown", 1)]
    for rows in (report.by_size, report.by_elements, report.by_system):
        assert sum(s.targets for s in rows) == 4
        assert all(s.ci95[0] <= s.match_rate <= s.ci95[1] for s in rows)
    json.dumps(asdict(report))


def test_other_matchers_and_groups_are_reported_beside() -> None:
    report = make_report([*OUTCOMES, Outcome(4, "e", 4, 1, 1, (True, True), (None, None), in_group=False)], samples=2)
    field = report.also["field"]
    assert (field.matched, field.match_rate, field.rms) == (1, 0.2, 0.3)
    assert (field.match_rate_at_k, field.rms_at_k, field.ci95_at_k) == (0.2, 0.2, wilson(1, 5))
    assert report.in_group is not None
    assert report.in_group_p1 is not None
    assert (report.in_group.asked, report.in_group.share, report.in_group.ci95) == (2, 0.5, wilson(1, 2))
    assert (report.in_group_p1.asked, report.in_group_p1.share) == (1, 0.0)
    assert make_report(OUTCOMES[:1]).in_group is None


def test_no_match_has_no_rms_and_no_target_no_report() -> None:
    report = make_report(OUTCOMES[2:])
    assert (report.match_rate, report.rms, report.valid) == (0.0, None, 0.0)
    with pytest.raises(ValueError, match="no target"):
        make_report([])


def test_verdicts_survive_json() -> None:
    for outcome in OUTCOMES:
        row = json.loads(json.dumps(verdict_row(outcome)))
        assert outcome_of(row) == outcome
        assert row["matched"] is outcome.matched
