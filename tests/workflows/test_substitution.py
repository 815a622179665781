"""Template substitution as a method of its own: the same crystals for the same asks in generation and evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure

from core.crystals import Crystals, to_structures, unpack_cells
from core.data.tensors import VALIDATION
from core.evaluation.matching import rms_distance
from core.export.bundle import cif_text
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.evaluate import told
from core.workflows.export import bundle_folder
from core.workflows.generate import GenerateParams, candidates_of, check_params, generate
from core.workflows.method import Wanted, asked_of
from core.workflows.methods import find_method, label_of, list_methods, method_for, name_of
from core.workflows.modify import ModifyParams, modify, start_energy
from core.workflows.repeat import recorded_run
from core.workflows.store import store
from core.workflows.substitution import Substitution
from db import candidates as rows
from db.tables import Candidate
from tests.conftest import TestContext
from tests.workflows.test_workflows import run_of

NAME = "substitution:starter"
PARAMS = GenerateParams(NAME, ("Ta1W1B6", "Ta2B4"), count=3)


def made(job_id: int) -> list[Candidate]:
    with store().session() as session:
        return rows.get_candidates(session, candidates_of(job_id))


def validation(count: int) -> Crystals:
    data = load_tensors(get_dataset("starter"))
    return data.crystals[data.part(VALIDATION)[:count]].to(dtype=torch.float64).trim()


def test_methods_stand_below_the_models(starter: Path) -> None:
    models = {"generator", "modifier", "starter-modifier", "starter-generator", "perov_5", "carbon_24"}
    assert set(list_methods()[: len(models)]) == models
    assert list_methods()[len(models)] == NAME
    assert list_methods("generation")[0] == "generator", "the default comes first"
    assert list_methods("modification")[:3] == ["modifier", "starter-modifier", NAME]
    assert (label_of(NAME), name_of(label_of(NAME)), name_of("mine")) == ("substitution in starter", NAME, "mine")
    about = find_method(NAME).about
    known = get_dataset("starter")
    assert (about.hash, about.task, about.energy_method) == (known.hash, "", known.method)
    for task in ("generation", "modification"):
        assert method_for(task, NAME).about.name == NAME
    with pytest.raises(UserError, match="has no sampler"):
        find_method(NAME, "heun")
    with pytest.raises(UserError, match="starter-modifier modifies structures"):
        method_for("generation", "starter-modifier")


def test_the_same_asks_have_the_same_answers_in_generation_and_evaluation(starter: Path) -> None:
    """Targets told as evaluation tells them, and the same wishes as a run asks for them, sample by sample."""
    target, method, context = validation(6), find_method(NAME), TestContext(starter)
    samples, index = [k for _ in range(6) for k in range(3)], torch.arange(6).repeat_interleave(3)
    evaluated = method.draw(told(target, None, ("space-group",))[index].seeded(samples, [0] * 18), 1, context)
    lists = [target.numbers[i][target.mask[i]].tolist() for i in index.tolist()]
    groups = [int(target.group[i]) for i in index.tolist()]
    asked = asked_of(lists, groups, [None] * 18, samples, range(18))
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    wished = method.draw(asked[order], 1, context)
    back = {int(order[place]): k for k, place in enumerate(wished.which)}
    assert sorted(back) == evaluated.which
    assert len(evaluated) > 6
    for k, place in enumerate(evaluated.which):
        one, other = evaluated.crystals[[k]].trim(), wished.crystals[[back[place]]].trim()
        assert torch.equal(one.frac, other.frac)
        assert torch.equal(one.lattice, other.lattice)
        assert evaluated.origins[k] == wished.origins[back[place]]


def test_a_run_keeps_what_each_candidate_was_made_of_and_repeats(starter: Path, tmp_path: Path) -> None:
    run = run_of("generate", PARAMS)
    result = generate(check_params(PARAMS), run)
    candidates = made(run.job_id)
    assert 0 < len(candidates) == result["candidates"]
    assert result.get("missing", 0) == 6 - len(candidates)
    known = set(load_tensors(get_dataset("starter")).ids.tolist())
    for candidate in candidates:
        assert candidate.model == NAME
        words = candidate.problem.split("from structure ")[1]
        assert int(words.split()[0]) in known
        assert "with its elements exchanged, confidence" in words
    again = run_of("generate", PARAMS)
    assert generate(PARAMS, again)["candidates"] == len(candidates)
    assert [c.cell for c in made(again.job_id)] == [c.cell for c in candidates]
    assert generate(PARAMS, again)["candidates"] == len(candidates), "gone on with, nothing is added"
    bundle_folder(candidates_of(run.job_id), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["models"][NAME]["templates_hash"] == get_dataset("starter").hash
    assert manifest["datasets"]["starter"]["hash"] == get_dataset("starter").hash
    recorded = recorded_run(tmp_path / "manifest.json")
    assert (recorded.params["model"], recorded.notes) == (NAME, [])
    manifest["models"][NAME]["templates_hash"] = "0" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"dataset starter of this run is not here .the one of that name holds other"):
        recorded_run(tmp_path / "manifest.json")


def test_what_has_no_template_is_said_before_the_start(starter: Path) -> None:
    with pytest.raises(UserError, match=r"starter holds no structure of the same pattern .* as Ta9B31 \(A9B31\)"):
        check_params(replace(PARAMS, formulas=("Ta9B31",)))
    check_params(replace(PARAMS, formulas=("Ta9B31", "Ta2B4")))
    method = find_method(NAME)
    assert method.unfamiliar(Wanted(("Ta2B4",), count=1)) == []
    said = " | ".join(method.unfamiliar(Wanted(("Ta9B31", "Xe2B4"), (1, 191), count=1000)))
    assert "holds no structure" in said
    assert "fewer templates than the 1,000 candidates of each combination" in said
    assert "no template in 1 of the 2 space groups asked for (1)" in said
    assert "No structure of starter holds Xe" in said


def test_modification_looks_below_the_start_and_never_answers_with_it(starter: Path) -> None:
    data = load_tensors(get_dataset("starter"))
    method = find_method(NAME)
    assert isinstance(method, Substitution)
    row = next(i for i in range(len(data)) if method.templates(data.crystals[[i]].formula(0)) > 8)
    start = data.crystals[[row]].to(dtype=torch.float64).trim()
    structure = to_structures(start)[0]
    assert start_energy(method, start) == pytest.approx(float(start.energy[0]), abs=1e-6)
    params = ModifyParams(NAME, cif_text(structure, {}), "start.cif", (), (-0.1, 0.3), count=2)
    run = run_of("modify", params)
    result = modify(params, run)
    candidates = made(run.job_id)
    assert result["candidates"] == len(candidates) == 4
    for candidate in candidates:
        assert candidate.same_as_start is False
        answer = to_structures(unpack_cells([candidate.cell]))[0]
        assert answer.composition == structure.composition
        assert rms_distance(structure, answer) is None
    away = replace(start, energy=torch.tensor([-0.4], dtype=torch.float64))
    numbers = start.numbers[0].tolist()
    asked = asked_of([numbers], [None], [-0.1], [0], [0], away)
    free = asked_of([numbers], [None], [None], [0], [0], replace(away, energy=away.energy * torch.nan))
    told_ = asked_of([numbers], [None], [-0.1], [0], [0], replace(away, energy=away.energy * torch.nan))
    first = [method.draw(a, 1, run).origins[0] for a in (asked, free, told_)]
    assert first[1] == first[2], "a change from an unknown energy is left out"


def test_a_start_without_templates_answers_with_its_relatives(starter: Path) -> None:
    """An order of two metals that no structure of the dataset has: its own other orders stand in."""
    places = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    layered = Structure(Lattice.cubic(3.9), ["Ir", "Ir", "Pt", "Pt"], places) * (2, 2, 1)
    start = layered.copy()
    start.replace(0, "Pt")  # Ir7Pt9
    params = ModifyParams(NAME, cif_text(start, {}), "start.cif", (), (), count=3)
    run = run_of("modify", params)
    assert modify(params, run)["candidates"] == 3
    for candidate in made(run.job_id):
        assert "the start itself (Ir7Pt9) with its Ir and Pt exchanged" in candidate.problem
        assert candidate.same_as_start is False
    lonely = Structure(Lattice.cubic(3.0), ["Po"] * 13, [[i / 13, i * i / 13, i**3 / 13] for i in range(13)])
    params = ModifyParams("substitution:starter", cif_text(lonely, {}), "po.cif", (), (), count=1)
    with pytest.raises(UserError, match="nothing to exchange elements in"):
        modify(params, run_of("modify", params))
