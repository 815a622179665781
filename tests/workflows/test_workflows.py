"""Workflows on a real store: import, generate, judge, relax, place, take home, delete."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from safetensors import safe_open

from core.crystals import to_structures, unpack_cells
from core.data.tensors import read_tensors
from core.energy.load import load_potential
from core.jobs import queue
from core.workflows import hulls, models
from core.workflows.context import Cancelled, UserError
from core.workflows.dataset_export import export_dataset
from core.workflows.datasets import delete_dataset, get_dataset, list_datasets, load_tensors
from core.workflows.export import bundle_folder, bundle_zip
from core.workflows.generate import GenerateParams, candidates_of, generate, plan
from core.workflows.imports import ImportParams, import_files
from core.workflows.method import Wanted
from core.workflows.methods import find_method
from core.workflows.modify import ModifyParams, modify, parse_start
from core.workflows.overview import overview
from core.workflows.prototypes import PrototypeParams, build
from core.workflows.relax import RelaxParams, relax_candidates
from core.workflows.starter import install
from core.workflows.store import store
from core.workflows.train import TrainParams, check_params, train
from db import candidates as candidate_rows
from db import structures as structure_rows
from tests.conftest import TestContext
from tests.data.test_readers import BAD, GOOD, TIB2, cif_of


def write(path: Path, *lines: str) -> ImportParams:
    path.write_text("\n".join(lines) + "\n")
    return ImportParams((str(path),), path.stem, "M")


def good(name: str, **changes: object) -> str:
    return json.dumps({**GOOD, "auid": name, **changes})


def test_an_import_keeps_the_good_and_names_the_bad(tmp_path: Path, context: TestContext) -> None:
    lines = [good("a"), *BAD.values(), good("b", enthalpy_formation_atom=-0.7), good("a")]
    result = import_files(write(tmp_path / "mixed.jsonl", *lines), context)
    assert (result["structures"], result["skipped"]) == (2, len(BAD) + 1)
    assert result["reasons"] == dict.fromkeys(BAD, 1) | {"duplicate": 1}
    with store().session() as session:
        skipped = structure_rows.skipped_rows(session, [result["import_id"]])
    assert skipped[-1].place == "line 9"
    assert skipped[-1].detail == "the name 'a' is here already, from a row before it"
    data = load_tensors(get_dataset("mixed"))
    assert data.crystals.energy.tolist() == pytest.approx([-0.6, -0.7])
    assert data.formulas == ["TaB2"]


@pytest.mark.parametrize("lines", [["{"], list(BAD.values())])
def test_an_import_of_nothing_good_leaves_nothing(tmp_path: Path, context: TestContext, lines: list[str]) -> None:
    with pytest.raises(UserError, match=r"could (not )?be used\. The first: line 1"):
        import_files(write(tmp_path / "bad.jsonl", *lines), context)
    assert_nothing_left()


def assert_nothing_left() -> None:
    assert list_datasets() == []
    with store().session() as session:
        assert structure_rows.unfinished_imports(session) == []
        assert structure_rows.get_structures(session, list(range(20))) == []


def test_a_stopped_import_leaves_nothing(tmp_path: Path) -> None:
    params = write(tmp_path / "x.jsonl", *[good(f"r{i}") for i in range(1200)])
    with pytest.raises(Cancelled):
        import_files(params, TestContext(tmp_path / "job", stop_after=0))
    assert_nothing_left()


def test_names_and_files_are_checked_first(tmp_path: Path, context: TestContext) -> None:
    params = write(tmp_path / "x.jsonl", good("a"))
    import_files(params, context)
    with pytest.raises(UserError, match="already"):
        import_files(params, context)
    for name in ("", "../x", "a" * 61, "<b>", "-x"):
        with pytest.raises(UserError, match="1 to 60 letters"):
            import_files(ImportParams(params.files, name), context)
    with pytest.raises(UserError, match="There is no file"):
        import_files(ImportParams((str(tmp_path / "none.jsonl"),), "y"), context)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="is empty"):
        import_files(ImportParams((str(tmp_path / "empty.jsonl"),), "y"), context)


def test_what_is_exported_is_what_came_in(tmp_path: Path, context: TestContext) -> None:
    lines = [good("a"), good("b", geometry=[3.2, 3.2, 3.4, 90, 90, 120], enthalpy_formation_atom=-0.5)]
    import_files(write(tmp_path / "one.jsonl", *lines), context)
    assert export_dataset("one", tmp_path / "out.jsonl.gz") == 2
    import_files(ImportParams((str(tmp_path / "out.jsonl.gz"),), "two", "M"), context)
    first, second = (load_tensors(get_dataset(n)) for n in ("one", "two"))
    every = torch.arange(2)
    before, after = first.crystals[every], second.crystals[every]
    torch.testing.assert_close(before.lattice, after.lattice, atol=1e-5, rtol=0)
    delta = before.frac - after.frac
    assert float((delta - delta.round()).abs().max()) < 1e-6
    assert torch.equal(before.energy, after.energy)
    assert torch.equal(before.group, after.group)
    assert torch.equal(first.split, second.split)
    export_dataset("one", tmp_path / "t.safetensors", tensors=True, pairs=True)
    alone = read_tensors(tmp_path / "t.safetensors")
    assert torch.equal(alone.crystals[every].frac, before.frac)
    assert (alone.hash, alone.formulas) == (first.hash, first.formulas)
    assert alone.fits is not None
    assert len(alone.fits) == 1, "the one pair there is, whose atoms stand side by side"
    with safe_open(str(tmp_path / "t.safetensors"), "pt") as file:
        assert {"validation_pairs", "element_features", "operations", "split"} <= set(file.keys())


def test_the_same_data_has_the_same_hash_and_other_data_another(tmp_path: Path, context: TestContext) -> None:
    for name, lines in {"a": [good("x")], "b": [good("x")], "c": [good("x", enthalpy_formation_atom=-0.61)]}.items():
        import_files(write(tmp_path / f"{name}.jsonl", *lines), context)
    hashes = [get_dataset(n).hash for n in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_uploads_are_removed_once_they_are_in(tmp_path: Path, context: TestContext) -> None:
    path = tmp_path / "0123.cif"
    path.write_text(cif_of(TIB2))
    result = import_files(ImportParams((str(path),), "up", uploads=("my boride.cif",)), context)
    assert result["structures"] == 1
    assert not path.exists()


def test_what_ships_is_installed_once(starter: Path) -> None:
    install()
    found = get_dataset("starter")
    assert found.summary["groups_of_7"] >= 150
    assert {"B", "Ta", "W"} <= set(found.summary["elements"])
    assert found.summary["natoms"] == [4, 20]
    assert set(found.summary["methods"]) == {"M3GNet-MP-2021.2.8", "CHGNet-0.3.0"}
    assert {h.method for h in hulls.list_hulls("B-Ta-W")} == set(found.summary["methods"])
    names = [m.name for m in models.list_models()]
    assert names == ["modifier", "generator", "starter-modifier", "starter-generator", "perov_5", "carbon_24"]
    assert models.get_model("starter-generator").card["dataset_hash"] == found.hash
    assert overview().step.page == "generate"
    assert found.summary["validation"] == 158, "the rows name their part, and the shipped generator never saw these"


def test_a_dataset_that_a_model_learned_from_stays(starter: Path) -> None:
    for name in ("starter-generator", "starter-modifier"):
        with pytest.raises(UserError, match=name):
            delete_dataset("starter")
        models.delete_model(name)
    delete_dataset("starter")
    assert list_datasets() == []
    install()
    assert list_datasets() == [], "what was deleted does not come back by itself"


def run_of(kind: str, params: object) -> TestContext:
    """A context with a job row, for workflows that write candidates."""
    from dataclasses import asdict

    from core.workflows.store import folder
    from db import jobs

    with store().session() as session:
        job_id = jobs.add_job(session, kind=kind, title="t", params=asdict(params), device="cpu")  # type: ignore[call-overload]
        jobs.change_status(session, job_id, "queued", "done")
    context = TestContext(folder("jobs") / str(job_id))
    context.job_id = job_id
    return context


PARAMS = GenerateParams("starter-generator", ("Ta1B2", "Ta2W2B4"), (191,), (-0.4, 0.1), count=3, steps=12, seed=5)


def test_candidates_are_made_judged_and_repeatable(starter: Path) -> None:
    first, second = run_of("generate", PARAMS), run_of("generate", PARAMS)
    assert generate(PARAMS, first)["candidates"] == 2 * 1 * 2 * 3
    generate(PARAMS, second)
    with store().session() as session:
        made = [candidate_rows.get_candidates(session, candidates_of(c.job_id)) for c in (first, second)]
    assert [c.cell for c in made[0]] == [c.cell for c in made[1]], "one seed, one result"
    assert {(c.formula, c.group_asked, c.energy_asked) for c in made[0]} == {
        (f, 191, e) for f in ("Ta1B2", "Ta2W2B4") for e in (-0.4, 0.1)
    }
    assert sum(c.valid for c in made[0]) >= 4
    assert {c.group_found for c in made[0]} == {191}, "held"
    for candidate in made[0]:
        if candidate.valid:
            neighbours = to_structures(unpack_cells([candidate.cell]))[0].get_all_neighbors(10)
            shortest = min(n.nn_distance for site in neighbours for n in site)
            assert candidate.min_distance == pytest.approx(shortest, abs=1e-4)


def test_a_run_goes_on_with_the_candidates_it_has_not_made(starter: Path) -> None:
    whole, cut = run_of("generate", PARAMS), run_of("generate", PARAMS)
    generate(PARAMS, whole)
    generate(PARAMS, cut)
    with store().session() as session:
        for candidate in candidate_rows.get_candidates(session, candidates_of(cut.job_id)[::2]):
            session.delete(candidate)
    generate(PARAMS, cut)
    with store().session() as session:
        a, b = (candidate_rows.get_candidates(session, candidates_of(c.job_id)) for c in (whole, cut))
    torch.testing.assert_close(
        unpack_cells([c.cell for c in a]).frac, unpack_cells([c.cell for c in b]).frac, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"formulas": ()}, "Write a formula"),
        ({"formulas": ("Xx",)}, "no element"),
        ({"formulas": ("Ta99",)}, "holds 99 atoms"),
        ({"space_groups": (231,)}, "no space group"),
        ({"energies": (float("nan"),)}, "eV/atom"),
        ({"count": 0}, "1 or more"),
        ({"count": 10**6}, "is the limit"),
    ],
)
def test_conditions_that_cannot_be_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan(GenerateParams(**{**PARAMS.__dict__, **changes}))


def test_what_the_model_never_saw_is_said(starter: Path) -> None:
    model = find_method("starter-generator")
    (sentence,) = model.unfamiliar(Wanted(("Ta1W1B6",), (191,), (-0.3,)))
    assert "no relative" in sentence
    assert model.unfamiliar(Wanted(("Ta2B4",), (191,), (-0.3,))) == []
    assert "O" in model.unfamiliar(Wanted(("Ta2O4",)))[0]
    assert len(model.unfamiliar(Wanted(("Ta20B40",), (207,), (-9.0,)))) == 3


@pytest.mark.slow
def test_relaxed_candidates_are_placed_and_taken_home(starter: Path, tmp_path: Path) -> None:
    run = run_of("generate", PARAMS)
    generate(PARAMS, run)
    ids = candidates_of(run.job_id)
    with store().session() as session:
        ids = [c.id for c in candidate_rows.get_candidates(session, ids) if c.valid][:4]
    params = RelaxParams(tuple(ids), "chgnet", steps=25)
    context = run_of("relax", params)
    result = relax_candidates(params, context)
    assert result == {"relaxed": 4, "failed": 0, "method": "CHGNet-0.3.0"}
    view = hulls.get_hull("B-Ta-W", "CHGNet-0.3.0")
    placed = hulls.place_candidates(ids, view)
    for item in placed:
        assert item.relaxation is not None
        assert item.place is not None
        assert item.relaxation.formation_after <= item.relaxation.formation_before + 1e-6  # type: ignore[operator]
        assert item.place.above == pytest.approx(item.relaxation.formation_after - item.place.hull)
    other = hulls.place_candidates(ids, hulls.get_hull("B-Ta-W", "M3GNet-MP-2021.2.8"))
    assert all(item.place is None and "not relaxed with M3GNet" in item.problem for item in other)
    check_bundle(bundle_zip(ids, view), placed)
    assert bundle_folder(ids, tmp_path / "home") == 4
    assert (tmp_path / "home" / "candidates.csv").is_file()


def check_bundle(data: bytes, placed: list[hulls.PlacedCandidate]) -> None:
    """CIFs match what is in the store; the table and the manifest say what they should."""
    from pymatgen.core import Structure

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        rows = list(csv.DictReader(io.StringIO(archive.read("candidates.csv").decode())))
        manifest = json.loads(archive.read("manifest.json"))
        texts = {n: archive.read(n).decode() for n in names if n.endswith(".cif")}
    assert len(texts) == 2 * len(placed) == 2 * len(rows)
    for row, item in zip(rows, placed, strict=True):
        assert item.relaxation is not None
        assert item.place is not None
        assert float(row["e_above_hull"]) == pytest.approx(item.place.above, abs=1e-6)
        assert row["energy_method"] == "CHGNet-0.3.0"
        text = texts[f"cifs/{row['file']}"]
        assert "_subhull_energy_above_hull_eV_per_atom" in text
        expected = to_structures(unpack_cells([item.relaxation.cell or b""]))[0]
        assert Structure.from_str(text, fmt="cif").matches(expected)
    assert manifest["energy_method"] == ["CHGNet-0.3.0"]
    assert manifest["models"]["starter-generator"]["weights_sha256"] == models.get_model("starter-generator").hash
    assert manifest["seed"] == [5]
    assert "candidates.extxyz" in names


def test_a_model_is_drawn_in_another_way_and_not_in_one_it_has_not(starter: Path) -> None:
    few = replace(PARAMS, formulas=("Ta1B2",), energies=(), count=1, steps=6)
    cells = []
    for sampler in ("", "heun"):
        asked = replace(few, sampler=sampler)
        run = run_of("generate", asked)
        generate(asked, run)
        with store().session() as session:
            cells.append([c.cell for c in candidate_rows.get_candidates(session, candidates_of(run.job_id))])
    assert cells[0] != cells[1]
    with pytest.raises(UserError, match="not drawn by 'ddim': choose euler or heun"):
        generate(replace(few, sampler="ddim"), run_of("generate", few))


@pytest.mark.slow
def test_a_small_model_is_trained_and_modifies_a_structure(starter: Path, tmp_path: Path) -> None:
    params = TrainParams("starter", "mover", "modification", preset="quick", steps=30)
    check_params(params)
    context = run_of("train", params)
    result = train(params, context)
    assert result["steps"] == 30
    assert models.get_model("mover").card["dataset_hash"] == get_dataset("starter").hash
    with pytest.raises(UserError, match="already"):
        check_params(params)
    asked = ModifyParams("mover", cif_of(TIB2), "tib2.cif", (191,), (-0.1,), count=3, steps=5)
    run = run_of("modify", asked)
    assert modify(asked, run)["candidates"] == 3
    with store().session() as session:
        made = candidate_rows.get_candidates(session, candidates_of(run.job_id))
    assert {c.formula for c in made} == {"Ti1B2"}
    with pytest.raises(UserError, match="choose a model for modification"):
        modify(ModifyParams("starter-generator", cif_of(TIB2), "x.cif"), run)


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "is empty"), ("data_x", "no structure"), ("hello <script>", "no structure"), ("\x00" * 50, "no structure")],
)
def test_a_cif_that_is_none_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"^x\.cif .*{why}"):
        parse_start(text, "x.cif")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "none"}, "no dataset"),
        ({"preset": "paper"}, "choose quick or small"),
        ({"loss": "cubed"}, "no loss"),
        ({"batch": 0}, "batch must be 1 or more"),
        ({"method": "magic"}, "no method"),
        ({"task": "magic"}, "no task"),
        ({"steps": None}, "how long"),
        ({"name": "a/b"}, "1 to 60"),
        ({"name": "starter-generator"}, "already"),
    ],
)
def test_trainings_that_cannot_be_are_refused(starter: Path, changes: dict[str, object], words: str) -> None:
    given = {"dataset": "starter", "name": "n", "preset": "quick", "steps": 5, **changes}
    with pytest.raises(UserError, match=words):
        check_params(TrainParams(**given))  # type: ignore[arg-type]


def test_hulls_are_imported_from_csv_and_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("formula,formation_energy,method\nTaB2,-0.7,PBE\nTaB,-0.8,PBE\nTa3B4,-0.6,PBE\n")
    view = hulls.import_hull(path)
    assert (view.row.chemical_system, view.row.method) == ("B-Ta", "PBE")
    assert {p.formula for p in view.hull.stable()} == {"B", "Ta", "TaB", "TaB2"}
    above = {e.formula: e.above_hull for e in view.entries}
    assert above["Ta3B4"] > 0.1
    bad = {
        "formula,energy\nTaB2,-1\n": "needs the columns",
        "formula,formation_energy\nTaXx,-1\n": "no element",
        "formula,formation_energy\nTaB2,x\n": "line 2",
        "formula,formation_energy,method\nTaB2,-1,A\nTaB,-1,B\n": "mixes the methods",
        "formula,formation_energy\n": "no phases",
    }
    for text, words in bad.items():
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            hulls.import_hull(path)
    with pytest.raises(UserError, match="There is no hull of Fe-O"):
        hulls.get_hull("O-Fe")


@pytest.mark.slow
def test_prototypes_become_a_dataset_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    params = PrototypeParams("borides", ("Ti", "B"), atoms=(4, 6), potential="chgnet", max_formulas=2, min_polymorphs=3)
    with pytest.raises(Cancelled):
        build(params, TestContext(tmp_path / "job", stop_after=1))
    partial = (tmp_path / "job" / "borides.jsonl").read_text()
    assert '"finished"' in partial
    (tmp_path / "job" / "borides.jsonl").write_text(partial + '{"half a li')
    context = TestContext(tmp_path / "job")
    result = build(params, context)
    assert result["structures"] == get_dataset("borides").summary["structures"] >= 6
    assert result["skipped"] == 0
    data = load_tensors(get_dataset("borides"))
    assert torch.isfinite(data.crystals.energy).all()
    assert data.method == "CHGNet-0.3.0"
    with pytest.raises(UserError, match="no element"):
        build(PrototypeParams("x", ("Ti", "Qq"), potential="chgnet"), context)


@pytest.mark.slow
def test_fully_relaxed_prototypes_are_distinct_and_their_groups_are_spglibs(context: TestContext) -> None:
    params = PrototypeParams("full", ("Ti", "B"), (3, 6), "chgnet", relax="full", max_formulas=1, min_polymorphs=3)
    result = build(params, context)
    data = load_tensors(get_dataset("full"))
    assert len(data) == result["structures"] >= 2
    structures = to_structures(data.crystals[torch.arange(len(data))])
    for i, structure in enumerate(structures):
        assert not any(StructureMatcher().fit(structure, other) for other in structures[:i])
        assert SpacegroupAnalyzer(structure, symprec=0.1).get_space_group_number() == int(data.crystals.group[i])
    chgnet = load_potential("chgnet")
    force = chgnet.evaluate(data.crystals[torch.arange(len(data))].to(dtype=torch.float64)).forces
    assert float(force.norm(dim=-1).max()) < 0.06, "relaxed: no force above fmax"
    with pytest.raises(UserError, match="none of volume, full, none"):
        build(PrototypeParams("x", ("Ti", "B"), potential="chgnet", relax="some"), context)


def test_a_job_that_does_not_exist_is_said() -> None:
    with pytest.raises(UserError, match="no job 7"):
        queue.get(7)
