"""Superstructures: the numbers of Hart and Forcade (Phys. Rev. B 77, 224115), and the groups of AFLOW's ternaries."""

from __future__ import annotations

import pytest

from core.data.superstructures import PARENTS, hermite_forms, superstructures
from core.workflows.experiments import PAPER_GROUPS


def test_superlattices_are_as_many_as_the_divisors_say() -> None:
    assert [len(list(hermite_forms(n))) for n in (1, 2, 3, 4)] == [1, 7, 13, 35]  # table 4 of the paper


@pytest.mark.slow
@pytest.mark.parametrize("parent", PARENTS)
def test_binaries_are_those_of_the_paper(parent: str) -> None:
    found = [len(superstructures(parent, counts, ("Na", "Cl"))) for counts in ((1, 1), (1, 2), (1, 3), (2, 2))]
    assert found == [2, 3, 7, 5]  # table 4: 2, 3 and 12 of two, three and four sites


@pytest.mark.slow
def test_ternaries_of_four_sites_have_the_groups_of_the_paper_s_dataset() -> None:
    both = [s for parent in PARENTS for s in superstructures(parent, (1, 1, 2), ("Na", "Cl", "Mg"))]
    assert {s.group for s in both} == set(PAPER_GROUPS) - {129}
    assert all(len(s.structure) == 4 for s in both)
