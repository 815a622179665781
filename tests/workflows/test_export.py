"""A bundle of the store's candidates: it says how it was made, comes back as it went, and can be made again."""

from __future__ import annotations

import csv
import io
import json
import shlex
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from core.cli.main import build_parser, main
from core.crystals import to_structures, unpack_cells
from core.jobs import queue
from core.jobs.kinds import KINDS
from core.workflows import hulls
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.export import best_relaxations, bundle_file, bundle_folder, bundle_zip
from core.workflows.generate import GenerateParams, candidates_of, generate
from core.workflows.imports import ImportParams, import_files
from core.workflows.models import get_model, rename_model
from core.workflows.repeat import recorded_run
from core.workflows.store import store
from db import candidates as rows
from db import jobs as job_rows
from db.tables import Candidate
from tests.conftest import TestContext

PARAMS = GenerateParams("starter-generator", ("Ta1B2", "Ti1C1"), (191,), (-0.4,), count=1, steps=4, seed=11)


def made(params: GenerateParams, folder: Path) -> list[Candidate]:
    """A run whose job is in the store, drawn in this process."""
    with store().session() as session:
        job_id = job_rows.add_job(session, kind="generate", title="Generate", params=asdict(params), device="cpu")
        job_rows.change_status(session, job_id, "queued", "done")
    context = TestContext(folder / str(job_id))
    context.job_id = job_id
    generate(params, context)
    with store().session() as session:
        return rows.get_candidates(session, candidates_of(job_id))


def relax(candidate: Candidate, method: str, energy: float | None, cell: bytes | None, **more: object) -> None:
    values = {"status": "converged", "steps": 3, "total_before": -8.0, "formation_before": -0.2, "job_id": None}
    values |= {"total_after": energy, "formation_after": energy, "max_force": 0.01, "group_found": 1, "cell": cell}
    with store().session() as session:
        rows.put_relaxation(session, candidate_id=candidate.id, method=method, **{**values, **more})


def unpacked(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {n: archive.read(n).decode() for n in archive.namelist()}


def table(files: dict[str, str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["candidates.csv"])))


def test_each_candidate_stands_above_the_hull_of_its_own_elements(starter: Path, tmp_path: Path) -> None:
    first, second = made(PARAMS, tmp_path)
    relax(first, "CHGNet-0.3.0", -0.3, first.cell)
    relax(second, "CHGNet-0.3.0", -0.3, second.cell)
    given = hulls.get_hull("B-Ta-W", "CHGNet-0.3.0")
    (tmp_path / "hull.csv").write_text("formula,formation_energy\nTiC,-0.8\nTi2C,-0.6\n")
    own = hulls.import_hull(tmp_path / "hull.csv", "own", "CHGNet-0.3.0")
    lines = table(unpacked(bundle_zip([first.id, second.id], given)))
    expected = given.hull.place({"Ta": 1, "B": 2}, -0.3).above
    assert float(lines[0]["e_above_hull"]) == pytest.approx(expected, abs=1e-6)
    assert lines[0]["hull"] == "B-Ta-W CHGNet-0.3.0 (starter)"
    assert float(lines[1]["e_above_hull"]) == pytest.approx(own.hull.place({"Ti": 1, "C": 1}, -0.3).above, abs=1e-6)
    assert lines[1]["hull"] == "C-Ti CHGNet-0.3.0 (own)"
    manifest = json.loads(unpacked(bundle_zip([second.id, first.id]))["manifest.json"])
    assert [h["name"] for h in manifest["hulls"]] == ["starter", "own"]


def test_the_relaxation_taken_is_the_hulls_then_the_newest_that_moved(starter: Path, tmp_path: Path) -> None:
    first, second = made(PARAMS, tmp_path)
    relax(first, "M3GNet-MP-2021.2.8", -0.5, first.cell)
    relax(first, "CHGNet-0.3.0", -0.4, first.cell)
    relax(second, "CHGNet-0.3.0", None, None, status="energy as drawn", formation_after=None)
    with store().session() as session:
        found = rows.relaxations(session, [first.id, second.id])
    assert best_relaxations(found, "M3GNet-MP-2021.2.8")[first.id].method == "M3GNet-MP-2021.2.8"
    assert best_relaxations(found, "VASP")[first.id].formation_after is not None
    files = unpacked(bundle_zip([first.id, second.id], hulls.get_hull("B-Ta-W", "M3GNet-MP-2021.2.8")))
    relaxed, drawn = table(files)
    assert (relaxed["energy"], relaxed["energy_generated"]) == ("-0.500000", "-0.200000")
    assert (drawn["energy"], drawn["relaxation"], drawn["e_above_hull"]) == ("-0.200000", "energy as drawn", "")
    assert drawn["file"] == drawn["file_generated"]
    assert len([n for n in files if n.startswith("cifs/")]) == 3


def test_crystals_come_back_from_cifs_and_by_import(starter: Path, tmp_path: Path) -> None:
    candidates = made(replace(PARAMS, count=2), tmp_path)
    for candidate in candidates:
        relax(candidate, "CHGNet-0.3.0", -0.3 - 0.01 * candidate.index, candidate.cell)
    path = tmp_path / "candidates.zip"
    assert bundle_file([c.id for c in candidates], path) == 4
    files = unpacked(path.read_bytes())
    for candidate, line in zip(candidates, table(files), strict=True):
        (stored,) = to_structures(unpack_cells([candidate.cell]))
        for column in ("file", "file_generated"):
            assert StructureMatcher().fit(Structure.from_str(files[f"cifs/{line[column]}"], fmt="cif"), stored)
    result = import_files(ImportParams((str(path),), "home"), TestContext(tmp_path / "import"))
    assert (result["structures"], result["skipped"]) == (4, 0)
    data = load_tensors(get_dataset("home"))
    assert get_dataset("home").method == "CHGNet-0.3.0"
    energies = data.crystals[list(range(4))].energy
    assert sorted(energies.tolist()) == pytest.approx([-0.33, -0.32, -0.31, -0.3])


def test_the_manifest_says_what_it_was_made_with(starter: Path, tmp_path: Path) -> None:
    candidates = made(PARAMS, tmp_path)
    relax(candidates[0], "CHGNet-0.3.0", -0.3, candidates[0].cell)
    bundle_folder([c.id for c in candidates], tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (run,) = manifest["runs"].values()
    assert KINDS["generate"].parse(run["params"]) == PARAMS
    model = get_model("starter-generator")
    assert manifest["models"][model.name]["weights_sha256"] == model.hash
    assert manifest["datasets"]["starter"]["hash"] == model.card["dataset_hash"] == get_dataset("starter").hash
    assert manifest["judging"]["min_distance"] == 0.5
    assert manifest["versions"]["torch"] == torch.__version__
    assert {"pymatgen", "matgl", "python"} <= set(manifest["versions"])
    (hull,) = manifest["hulls"]
    assert len(hull["entries_sha256"]) == 64
    assert "chgnet" in manifest["potentials"]["CHGNet-0.3.0"]["weights"]
    about = (tmp_path / "out" / "README.txt").read_text()
    for words in ("Deng et al.", "Not results of an experiment", run["command"], "eV/atom", "bit for bit"):
        assert words in " ".join(about.split())


def test_a_run_is_repeated_bit_for_bit_by_its_manifest(starter: Path, tmp_path: Path) -> None:
    candidates = made(PARAMS, tmp_path)
    (tmp_path / "b.zip").write_bytes(bundle_zip([c.id for c in candidates]))
    rename_model("starter-generator", "renamed")
    recorded = recorded_run(tmp_path / "b.zip")
    assert recorded.notes == ["The model starter-generator is called renamed here."]
    again = made(KINDS[recorded.kind].parse(recorded.params), tmp_path)
    assert [c.cell for c in again] == [c.cell for c in candidates]
    other = made(replace(PARAMS, model="renamed", seed=12), tmp_path)
    assert [c.cell for c in other] != [c.cell for c in candidates]


@pytest.mark.slow
def test_the_command_in_the_manifest_repeats_the_run(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_workers_left: None
) -> None:
    candidates = made(PARAMS, tmp_path)
    bundle_folder([c.id for c in candidates], tmp_path / "first")
    (run,) = json.loads((tmp_path / "first" / "manifest.json").read_text())["runs"].values()
    monkeypatch.chdir(tmp_path / "first")
    program, cli, *arguments = shlex.split(run["command"])
    assert (program, cli) == ("./run", "cli")
    assert main(arguments) == 0
    out = Path(build_parser().parse_args(arguments).out)
    with store().session() as session:
        again = rows.get_candidates(session, candidates_of(job_rows.list_jobs(session, limit=1)[0].id))
    assert [c.cell for c in again] == [c.cell for c in candidates]
    assert sorted(p.name.split("_")[1] for p in out.glob("*.cif")) == ["Ta1B2.cif", "Ti1C1.cif"]
    assert queue.get(again[0].job_id).status == "done"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no manifest"),
        ("[]", "is no manifest"),
        ("[" * 100_000, "is no manifest"),
        ('{"runs": 3}', "records no run"),
        ('{"runs": {"1": {"kind": "import", "params": {"files": ["/etc/passwd"]}}}}', "records no run"),
        ('{"runs": {"1": {"kind": "generate"}, "2": {"kind": "generate"}}}', "say which"),
        ('{"runs": {"1": {"kind": "generate", "params": {"model": "gone"}}}}', "is not here"),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(starter: Path, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=words):
        recorded_run(tmp_path / "manifest.json")


def test_a_bundle_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.data.readers import sources

    monkeypatch.setattr(sources, "MAX_ZIP", 100_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr("candidates.csv", "")
        archive.writestr("candidates.extxyz", "999999999\n" + "Ti 0 0 0\n" * 100_000)
    with pytest.raises(sources.SourceError, match="unpacks to more than"):
        list(sources.raw_rows(tmp_path / "x.zip"))
