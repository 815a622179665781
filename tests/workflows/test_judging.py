"""Candidates judged and kept: unique, new, symmetrised, balanced, and one bad sample that stops nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import Crystals, concatenate, from_structures, to_structures, unpack_cells
from core.data.formulas import atomic_numbers, parse_formula
from core.data.rows import row_of
from core.data.symmetry import detect_group
from core.evaluation import symmetrising, validity
from core.ui.candidate_words import verdict
from core.workflows import judging
from core.workflows.chain import Chain, new_of, summarise
from core.workflows.context import UserError
from core.workflows.datasets import tensor_path
from core.workflows.imports import ImportParams, import_files
from core.workflows.judging import Keeper, Wish
from core.workflows.method import About
from core.workflows.methods import find_method
from core.workflows.novelty import check_compare
from core.workflows.store import store
from db import candidates as rows
from db.tables import Candidate
from tests.conftest import TestContext
from tests.evaluation.test_matching import NACL, TIO2
from tests.evaluation.test_symmetrising import shaken
from tests.workflows.test_workflows import run_of

CHLORIDE = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def wish(index: int, formula: str, group: int | None = None) -> Wish:
    return Wish(index, tuple(atomic_numbers(parse_formula(formula))), formula, group, None)


def batch(*structures: Structure) -> Crystals:
    return concatenate([from_structures([s]) for s in structures]).to(dtype=torch.float32)


def model_of(dataset_hash: str = "") -> About:
    """A model that learned from a dataset."""
    return About("m", energy_method="M", dataset_hash=dataset_hash)


def kept(job_id: int) -> list[Candidate]:
    with store().session() as session:
        return rows.page_candidates(session, rows.CandidateFilter(job_id=job_id), limit=1000)


def dataset(tmp_path: Path, name: str, *structures: Structure) -> dict[str, Any]:
    lines = [json.dumps(row_of(from_structures([s]), 0, f"{name}-{i}")) for i, s in enumerate(structures)]
    (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return import_files(ImportParams((str(tmp_path / f"{name}.jsonl"),), name, "M"), TestContext(tmp_path / name))


@pytest.fixture
def job(var: Path) -> int:
    return run_of("generate", Chain()).job_id


def test_repeats_are_found_among_siblings_and_after_an_interruption(job: int) -> None:
    """The second and fourth repeat the first; a keeper that starts anew knows those in the store."""
    double = NACL.copy()
    double.make_supercell([1, 1, 2])
    small = NACL.get_primitive_structure()
    Keeper(model_of(), job).keep(
        [wish(0, "Na1Cl1"), wish(1, "Na4Cl4"), wish(2, "Na1Cl1"), wish(3, "Na8Cl8"), wish(4, "Ti2O4")],
        batch(small, NACL, CHLORIDE, double, TIO2),
    )
    Keeper(model_of(), job).keep([wish(5, "Na1Cl1"), wish(6, "Na1Cl1"), wish(7, "Ti2O4")], batch(CHLORIDE, small, TIO2))
    found = kept(job)
    assert [c.unique for c in found] == [True, False, True, False, True, False, False, False]
    assert {c.reduced_formula for c in found} == {"NaCl", "TiO2"}
    assert {c.novel for c in found} == {None}, "what the model learned from is not in the store"
    assert new_of(summarise(job, Chain())["novel"]) == "not compared with known ones"
    assert [c.charge_balanced for c in found] == [True] * 8
    another = run_of("generate", Chain()).job_id
    Keeper(model_of(), another).keep([wish(0, "Na4Cl4")], batch(NACL))
    assert kept(another)[0].unique, "another run's candidates are no siblings"


def test_new_is_what_no_dataset_holds(tmp_path: Path, job: int) -> None:
    stretched = NACL.copy()
    stretched.scale_lattice(NACL.volume * 1.1)
    hashes = dataset(tmp_path, "learned", stretched, TIO2)
    dataset(tmp_path, "other", CHLORIDE)
    with store().session() as session:
        from db.datasets import find_dataset

        learned = find_dataset(session, "learned")
    assert hashes["structures"] == 2
    assert learned is not None
    keeper = Keeper(model_of(learned.hash), job, Chain(compare=("other",)))
    third = Structure(Lattice.tetragonal(3.2, 5.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.3]])
    keeper.keep([wish(i, "Na1Cl1") for i in range(3)], batch(NACL.get_primitive_structure(), CHLORIDE, third))
    assert [c.novelty for c in kept(job)] == [
        {"learned": False, "other": True},
        {"learned": True, "other": False},
        {"learned": True, "other": True},
    ]
    assert [c.novel for c in kept(job)] == [False, False, True]
    assert "known" in verdict(kept(job)[0])


def test_a_dataset_to_compare_with_has_to_be_there(tmp_path: Path, job: int) -> None:
    assert check_compare(()) == []
    with pytest.raises(UserError, match="There is no dataset 'nowhere'"):
        check_compare(("nowhere",))
    with pytest.raises(UserError, match="There is no dataset 'nowhere'"):
        Keeper(model_of(), job, Chain(compare=("nowhere",)))
    dataset(tmp_path, "gone", NACL)
    (found,) = check_compare(("gone", "gone"))
    tensor_path(found.hash).unlink()
    with pytest.raises(UserError, match="build the dataset again"):
        check_compare(("gone",))
    Keeper(model_of(found.hash), job).keep([wish(0, "Na4Cl4")], batch(NACL))
    assert kept(job)[0].novel is None


def test_groups_are_kept_at_every_tolerance_and_nothing_is_symmetrised_unasked(job: int) -> None:
    drawn = shaken(from_structures([TIO2]), 0.02, 0)
    Keeper(model_of(), job).keep([wish(0, "Ti2O4", 136)], drawn)
    (found,) = kept(job)
    assert set(found.groups) == {"0.001", "0.01", "0.03", "0.1", "0.3"}
    assert found.groups == {k: detect_group(drawn, 0, float(k)) for k in found.groups}
    assert found.groups["0.001"] == 1
    assert found.symmetrised is None
    assert "moved" not in verdict(found)
    assert torch.allclose(unpack_cells([found.cell]).lattice, drawn.lattice)


def test_symmetrised_candidates_have_their_group_and_say_so(job: int) -> None:
    """The cell in the store has the group within 0.001 Å; one without it stays as drawn."""
    drawn = concatenate([shaken(from_structures([TIO2]), 0.02, 0), shaken(from_structures([NACL]), 0.02, 1)])
    keeper = Keeper(model_of(), job, Chain(symmetrise=True))
    keeper.keep([wish(0, "Ti2O4", 136), wish(1, "Na4Cl4", 62)], drawn)
    even, left = kept(job)
    assert detect_group(unpack_cells([even.cell]), 0, 1e-3) == even.group_found == 136
    assert even.groups["0.001"] == 1, "groups are those of what was drawn"
    assert 0 < even.symmetrised < 0.1
    assert even.symprec in symmetrising.TRIED
    assert f"moved onto the group asked for, by up to {even.symmetrised:.3f} Å" in verdict(even)
    assert len(to_structures(unpack_cells([even.cell]))[0]) == 6
    assert left.symmetrised is None
    assert torch.allclose(unpack_cells([left.cell]).lattice, drawn.lattice[1:])


def test_a_crystal_that_its_group_would_spoil_stays_as_drawn(job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(crystals: Crystals, *_: object) -> symmetrising.Symmetrised:
        return symmetrising.Symmetrised(
            Crystals(crystals.frac * 0, crystals.lattice, crystals.numbers, crystals.group, crystals.energy), 0.1, 0.2
        )

    monkeypatch.setattr(judging, "symmetrise", spoil)
    Keeper(model_of(), job, Chain(symmetrise=True)).keep([wish(0, "Ti2O4", 136)], batch(TIO2))
    (found,) = kept(job)
    assert found.valid
    assert found.symmetrised is None
    assert "left as drawn" in verdict(found)


def test_one_bad_sample_never_stops_a_run(job: int) -> None:
    """Not a number, no volume, atoms on each other, an endless and a huge cell, and NaCl: each with its reason."""
    good = batch(*[NACL] * 7)
    frac, lattice = good.frac.clone(), good.lattice.clone()
    frac[0, 2, 0], lattice[1, 0, 0], lattice[2] = math.nan, math.nan, 0.0
    frac[3, 1], lattice[4, 1, 1], lattice[5] = frac[3, 0], math.inf, lattice[5] * 1e5
    seen: list[int] = []

    def extra(structure: Structure, index: int) -> dict[str, Any]:
        seen.append(index)
        return {"displacement": structure.volume, "same_as_start": False}

    keeper = Keeper(model_of(), job, Chain(symmetrise=True), extra)
    keeper.keep([wish(i, "Na4Cl4", 225) for i in range(7)], Crystals(frac, lattice, *good._tensors()[2:]))
    found = kept(job)
    assert [c.valid for c in found] == [False] * 6 + [True]
    assert all(c.problem for c in found[:6])
    assert keeper.valid == 1
    assert seen == [2, 3, 5, 6] or seen == [3, 5, 6], "the hook is asked about finite crystals alone"
    assert found[6].displacement == pytest.approx(NACL.volume, rel=1e-4)
    assert found[0].displacement is None
    assert found[6].volume_change is None
    for candidate in found:
        assert verdict(candidate)
        assert np.isfinite(unpack_cells([candidate.cell]).frac.numpy()).all()


@pytest.mark.parametrize("step", ["symmetrise", "charge_balanced", "extra", "Family.holds", "judge_one"])
def test_a_step_that_fails_leaves_a_reason(job: int, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("no")

    extra = fail if step == "extra" else None
    if step == "Family.holds":
        monkeypatch.setattr(judging.Family, "holds", fail)
    elif step == "judge_one":
        monkeypatch.setattr(validity, "_judge_one", fail)
    elif step != "extra":
        monkeypatch.setattr(judging, step, fail)
    Keeper(model_of(), job, Chain(symmetrise=True), extra).keep([wish(0, "Na4Cl4", 225)], batch(NACL))
    (found,) = kept(job)
    assert "(RuntimeError)" in found.problem
    assert found.valid == (step != "judge_one")
    assert (found.unique is None) == (step in ("Family.holds", "judge_one"))


def test_matching_goes_on_without_its_processes(job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes ended from outside: the batch is matched in this one."""
    from core.evaluation import family

    def lost(*_: object) -> bool:
        raise MemoryError("a process was ended")

    monkeypatch.setattr(family, "MANY", 1)
    keeper = Keeper(model_of(), job, Chain(processes=2))
    monkeypatch.setattr(family.MatchPool, "any_of", lost)
    with keeper:
        keeper.keep([wish(i, "Na4Cl4") for i in range(3)], batch(NACL, NACL, NACL))
    assert [c.unique for c in kept(job)] == [True, False, False]
    assert [c.problem for c in kept(job)] == ["", "", ""]


def test_what_a_model_learned_from_is_not_new(starter: Path) -> None:
    """Structures of the starter dataset itself, given to its model's keeper, are known."""
    from core.workflows.datasets import get_dataset, load_tensors

    model = find_method("starter-generator").about
    data = load_tensors(get_dataset("starter"))
    some = data.crystals[torch.arange(0, len(data), 400)]
    crystals = some[[v.valid for v in validity.judge(some, ())]][:4]
    run = run_of("generate", Chain())
    Keeper(model, run.job_id).keep([wish(i, crystals.formula(i)) for i in range(4)], crystals)
    assert [c.novelty for c in kept(run.job_id)] == [{"starter": False}] * 4
    assert [c.novel for c in kept(run.job_id)] == [False] * 4
