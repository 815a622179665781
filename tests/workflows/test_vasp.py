"""Candidates to VASP and back: what goes out finds its candidate again, on its own hull, with honest references."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Poscar

from core.crystals import from_structures, pack_cells
from core.jobs.kinds import KINDS
from core.workflows.context import UserError
from core.workflows.hulls import get_hull, import_hull, place_candidates
from core.workflows.store import folder, store
from core.workflows.vasp import WriteParams, candidate_ids, write_vasp, write_vasp_to
from core.workflows.vasp_matching import candidate_tag
from core.workflows.vasp_references import read_references, remembered
from core.workflows.vasp_results import ReadParams, read_vasp
from db import candidates as rows
from db.tables import Candidate, Relaxation
from tests.conftest import TestContext
from tests.data.test_readers import TIB2
from tests.vasp_runs import Run, outcar, vasprun
from tests.workflows.test_workflows import run_of

TIB = Structure(Lattice.cubic(4.2), ["Ti", "B"], [[0, 0, 0], [0.5, 0.5, 0.5]])
OTHER_TIB2 = Structure(
    Lattice.orthorhombic(3.1, 4.9, 5.6), ["Ti", "Ti", "B", "B", "B", "B"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.4], [0, 0.5, 0.1], [0.3, 0.4, 0.8], [0.8, 0.1, 0.7]],
)  # fmt: skip
TI = Structure(Lattice.hexagonal(2.93, 4.64), ["Ti", "Ti"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
B = Structure(Lattice.rhombohedral(5.06, 58), ["B"] * 3, [[0, 0, 0], [0.3, 0.3, 0.4], [0.6, 0.7, 0.6]])
REFERENCES = {"Ti": -7.8, "B": -6.7}


def candidates_of_structures(structures: Sequence[Structure]) -> list[Candidate]:
    """Candidates with these crystals, in one run."""
    job_id = run_of("generate", WriteParams()).job_id
    values = [
        {
            "job_id": job_id,
            "index": number,
            "model": "m",
            "formula": s.composition.formula.replace(" ", ""),
            "reduced_formula": s.composition.reduced_formula,
            "chemical_system": s.composition.chemical_system,
            "natoms": len(s),
            "valid": True,
            "cell": pack_cells(from_structures([s]))[0],
        }
        for number, s in enumerate(structures)
    ]
    with store().session() as session:
        rows.add_candidates(session, values)
        return rows.page_candidates(session, rows.CandidateFilter(job_id=job_id))


def relaxation_of(candidate: Candidate, method: str = "VASP") -> Relaxation | None:
    with store().session() as session:
        found = rows.relaxations(session, [candidate.id], method)
    return found[0] if found else None


def run_for(candidate: Candidate, structure: Structure, energy: float, **changes: Any) -> Run:
    """A converged relaxation of this candidate; energy in eV per cell."""
    steps = [structure.copy().apply_strain(s, inplace=False) for s in (0.01, 0.0)]
    return replace(Run(steps, [energy + 0.2, energy], system=candidate_tag(candidate)), **changes)


def read(context: TestContext, files: dict[str, str | bytes]) -> dict[str, Any]:
    """Bring these files as uploads."""
    paths = []
    for number, content in enumerate(files.values()):
        path = folder("uploads") / f"{number}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(str(path))
    result = read_vasp(ReadParams(tuple(paths), tuple(files)), context)
    assert list(folder("uploads").iterdir()) == [], "uploads are deleted"
    json.dumps(result, allow_nan=False)
    return result


def folders_in(packed: bytes) -> dict[str, dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        found: dict[str, dict[str, str]] = {}
        for name in archive.namelist():
            place, _, file = name.rpartition("/")
            found.setdefault(place, {})[file] = archive.read(name).decode()
    return found


def test_what_goes_out_comes_back_to_its_candidate_and_onto_its_hull(
    var: Path, context: TestContext, tmp_path: Path
) -> None:
    """Write, let VASP lower every energy, read the zip of all folders, place on an imported hull of VASP."""
    crystals = [TIB2, TIB, OTHER_TIB2]
    made = candidates_of_structures(crystals)
    out = folders_in(write_vasp([c.id for c in made], WriteParams()))
    manifest = json.loads(out.pop("")["manifest.json"])
    assert {e["candidate"]: e["folder"] for e in manifest["candidates"]}.keys() == {
        f"{c.job_id}-{c.index}" for c in made
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number, (place, files) in enumerate(out.items()):
            structure = Poscar.from_str(files["POSCAR"]).structure
            system = str(Incar.from_str(files["INCAR"])["SYSTEM"])
            run = Run([structure, structure], [-8.0 * len(structure), -8.1 * len(structure)], system=system)
            text = vasprun(run) if number else outcar(run)
            archive.writestr(f"results/{place}/{'vasprun.xml' if number else 'OUTCAR'}", text)
        for structure, symbol in ((TI, "Ti"), (B, "B")):
            run = Run([structure], [REFERENCES[symbol] * len(structure)], nsw=0, ibrion=-1)
            archive.writestr(f"results/{symbol}/vasprun.xml.gz", gzip.compress(vasprun(run).encode()))
    result = read(context, {"results.zip": data.getvalue()})
    assert (result["stored"], result["problems"], result["notes"]) == (3, [], [])
    assert result["references"] == {"VASP": pytest.approx(REFERENCES)}
    hull = tmp_path / "vasp.csv"
    hull.write_text("formula,formation_energy,method\nTiB2,-1.1,VASP\nTiB,-0.9,VASP\n")
    import_hull(hull)
    placed = {p.candidate.id: p for p in place_candidates([c.id for c in made], get_hull("B-Ti", "VASP"))}
    for candidate, crystal in zip(made, crystals, strict=True):
        found = placed[candidate.id]
        assert found.relaxation is not None
        assert found.relaxation.total_after == pytest.approx(-8.1)
        shares = crystal.composition.fractional_composition.as_dict()
        formation = -8.1 - sum(n * REFERENCES[e] for e, n in shares.items())
        assert found.relaxation.formation_after == pytest.approx(formation)
        assert found.place is not None
        on_hull = -1.1 if crystal is not TIB else -0.9
        assert found.place.above == pytest.approx(formation - on_hull)


def test_the_relaxed_cell_goes_out_unless_the_generated_one_is_asked_for(var: Path) -> None:
    (candidate,) = candidates_of_structures([TIB2])
    shrunk = TIB2.copy().apply_strain(-0.05, inplace=False)
    with store().session() as session:
        for day, crystal in enumerate((shrunk, TIB2.copy().apply_strain(0.05, inplace=False)), 1):
            values = {"status": "converged", "cell": pack_cells(from_structures([crystal]))[0]}
            values["created_at"] = datetime(2026, 1, day, tzinfo=UTC)
            rows.put_relaxation(session, candidate_id=candidate.id, method="AB"[day - 1], **values)
    volumes = {}
    for name, params in {
        "generated": WriteParams(relaxed=False),
        "A": WriteParams(method="A"),
        "latest": WriteParams(),
    }.items():
        files = folders_in(write_vasp([candidate.id], params))
        (entry,) = json.loads(files.pop("")["manifest.json"])["candidates"]
        ((_, written),) = files.items()
        volumes[name] = Poscar.from_str(written["POSCAR"]).structure.volume
        assert entry["cell"] == (
            "as generated" if name == "generated" else f"relaxed with {'A' if name == 'A' else 'B'}"
        )
    assert volumes["A"] < volumes["generated"] < volumes["latest"]
    assert volumes["A"] == pytest.approx(shrunk.volume, rel=1e-6)


@pytest.mark.slow
def test_the_elements_go_out_too_and_come_back_as_references(var: Path, context: TestContext) -> None:
    """Titanium is hcp, tantalum bcc; polonium has no form here and is named."""
    polonium = replace_element(TIB2, "Po")
    made = candidates_of_structures([TIB2, replace_element(TIB, "Ta"), polonium])
    out = folders_in(write_vasp([c.id for c in made], WriteParams(elements=True)))
    manifest = json.loads(out.pop("")["manifest.json"])
    assert manifest["elements_without_a_form"] == ["Po"]
    elements = {e["element"]: out[e["folder"]] for e in manifest["candidates"] if "element" in e}
    assert sorted(elements) == ["B", "Ta", "Ti"]
    crystals = {symbol: Poscar.from_str(files["POSCAR"]).structure for symbol, files in elements.items()}
    groups = {symbol: crystal.get_space_group_info()[1] for symbol, crystal in crystals.items()}
    assert groups == {"B": 166, "Ta": 229, "Ti": 194}
    results = {
        f"{symbol}.xml": vasprun(
            Run(
                [crystal],
                [(-11.8 if symbol == "Ta" else REFERENCES[symbol]) * len(crystal)],
                system=str(Incar.from_str(elements[symbol]["INCAR"])["SYSTEM"]),
            )
        )
        for symbol, crystal in crystals.items()
    }
    result = read(context, {**results, "a.xml": vasprun(run_for(made[0], TIB2, -24.0))})
    assert result["problems"] == []
    assert result["references"]["VASP"] == pytest.approx({**REFERENCES, "Ta": -11.8})
    assert result["results"][0]["formation"] == pytest.approx(-8 + 7.8 / 3 + 6.7 * 2 / 3)


def test_writing_is_refused_in_words(var: Path, tmp_path: Path) -> None:
    (candidate,) = candidates_of_structures([TIB2])
    for names, words in ((["x"], "is no candidate"), (["9-9"], "no candidate 9-9"), (["9"], "no valid candidate")):
        with pytest.raises(UserError, match=words):
            candidate_ids(names)
    assert candidate_ids([f"{candidate.job_id}", f"{candidate.job_id}-0"]) == [candidate.id]
    with pytest.raises(UserError, match="No candidate"):
        write_vasp([], WriteParams())
    with pytest.raises(UserError, match="paper or mp"):
        write_vasp([candidate.id], WriteParams("best"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_vasp_to([candidate.id], WriteParams(), tmp_path / "file" / "x.zip")
    flat = Structure(Lattice.cubic(1e-3), ["Ti"], [[0, 0, 0]])
    (broken,) = candidates_of_structures([flat])
    with pytest.raises(UserError, match="None of these"):
        write_vasp([broken.id], WriteParams())
    files = folders_in(write_vasp([broken.id, candidate.id], WriteParams()))
    assert json.loads(files[""]["manifest.json"])["left_out"] == {f"{broken.job_id}-0": "its cell is no crystal's"}


def test_a_file_that_is_no_good_costs_the_others_nothing(var: Path, context: TestContext) -> None:
    tib2, tib = candidates_of_structures([TIB2, TIB])
    good = vasprun(run_for(tib2, TIB2, -24.0))
    result = read(
        context,
        {
            "good/vasprun.xml": good,
            "cut/vasprun.xml": good[: len(good) // 2],
            "electrons/vasprun.xml": vasprun(run_for(tib, TIB, -14.0, electronic=False)),
            "CONTCAR": Poscar(TIB2).get_str(),
            "OUTCAR.gz": gzip.compress(outcar(run_for(tib2, TIB2, -24.0)).encode())[:200],
            "mixed/vasprun.xml": vasprun(run_for(tib, TIB2, -24.0)),
            "stranger/vasprun.xml": vasprun(Run([replace_element(TIB, "Zr")], [-9.0])),
            "references.json": json.dumps(REFERENCES),
        },
    )
    said = dict(result["problems"])
    assert "cut off" in said["cut/vasprun.xml"]
    assert "neither a vasprun.xml nor an OUTCAR" in said["CONTCAR"]
    assert "damaged or cut off" in said["OUTCAR.gz"]
    assert f"names candidate {tib.job_id}-{tib.index}, which is TiB, but holds TiB2" in said["mixed/vasprun.xml"]
    assert "no candidate of ZrB" in said["stranger/vasprun.xml"]
    assert all(s[0].isupper() and s.endswith(".") for s in said.values())
    by_file = {r["file"]: r for r in result["results"]}
    assert by_file["good/vasprun.xml"]["formation"] == pytest.approx(-8 + 7.8 / 3 + 6.7 * 2 / 3)
    assert "did not converge" in by_file["electrons/vasprun.xml"]["note"]
    kept, failed = relaxation_of(tib2), relaxation_of(tib)
    assert kept is not None
    assert kept.status == "converged"
    assert kept.group_found == 191
    assert failed is not None
    assert failed.status == "failed: electrons not converged"
    assert (failed.total_after, failed.formation_after, failed.cell) == (None, None, None)


def replace_element(structure: Structure, symbol: str) -> Structure:
    changed = structure.copy()
    changed.replace_species({"Ti": symbol})
    return changed


def test_without_a_tag_the_crystal_says_whose_it_is(var: Path, context: TestContext) -> None:
    tib2, other = candidates_of_structures([TIB2, OTHER_TIB2])
    supercell = TIB2.copy().make_supercell([2, 1, 1], in_place=False)
    supercell.sort()
    result = read(
        context,
        {
            "a.xml": vasprun(Run([TIB2.copy().apply_strain(0.02, inplace=False), TIB2], [-24.0, -24.1])),
            "b.xml": vasprun(Run([OTHER_TIB2], [-47.0], nsw=0, ibrion=-1)),
            "c.xml": vasprun(Run([supercell, supercell], [-48.0, -48.0], gga="PS")),
            "subhull-folder/OUTCAR": outcar(Run([TIB2], [-20.0], comment=f"{candidate_tag(tib2)} Ti1 B2", gga="RP")),
            f"{candidate_tag(tib2)}_TiB2/OUTCAR": outcar(Run([TIB2], [-20.0], gga="AM")),
        },
    )
    assert result["problems"] == []
    found = [(r["candidate"].split("-")[1], r["method"], r["note"].split(";")[0]) for r in result["results"]]
    assert found == [
        ("0", "VASP", "found by its crystal"),
        ("1", "VASP", "found by its crystal"),
        ("0", "VASP-PBEsol", "found by its crystal"),
        ("0", "VASP-RPBE", "formation energy missing: no reference for B, Ti by VASP-RPBE"),
        ("0", "VASP-AM05", "found by its folder's name"),
    ]
    assert relaxation_of(other) is not None
    assert {relaxation_of(tib2, m) is not None for m in ("VASP", "VASP-PBEsol", "VASP-RPBE", "VASP-AM05")} == {True}


def test_twins_are_ambiguous_and_a_strangers_tag_is_not_believed(var: Path, context: TestContext) -> None:
    twins = candidates_of_structures([TIB2, TIB2])
    untagged = vasprun(Run([TIB2], [-24.0]))
    foreign = vasprun(Run([TIB2], [-24.0], system=f"subhull-{twins[0].job_id}-0-00000000"))
    result = read(context, {"a.xml": untagged, "b.xml": foreign, "c.xml": vasprun(run_for(twins[1], TIB2, -24.0))})
    said = dict(result["problems"])
    names = f"{twins[0].job_id}-0, {twins[0].job_id}-1"
    assert said["a.xml"] == f"It names no candidate, and its crystal fits several: {names}."
    assert said["b.xml"].startswith(f"It names candidate {twins[0].job_id}-0 of another store; it names no candidate")
    assert [r["candidate"] for r in result["results"]] == [f"{twins[1].job_id}-1"]
    assert relaxation_of(twins[0]) is None


def test_a_worse_result_never_replaces_a_better_one(var: Path, context: TestContext) -> None:
    (candidate,) = candidates_of_structures([TIB2])
    good, cut = run_for(candidate, TIB2, -24.0), run_for(candidate, TIB2, -23.0, ionic=False)
    first = read(context, {"cut/vasprun.xml": vasprun(cut)})
    assert "ions had not converged after 2 steps" in first["results"][0]["note"]
    assert relaxation_of(candidate).status == "stopped at the step limit"  # type: ignore[union-attr]
    static = run_for(candidate, TIB2, -24.3, nsw=0, ibrion=-1)
    result = read(
        context,
        {"OUTCAR": outcar(good), "static/OUTCAR": outcar(static), "cut.xml": vasprun(cut), "v.xml": vasprun(good)},
    )
    assert [r["stored"] for r in result["results"]] == [False, True, False, False]
    assert "not kept: static/OUTCAR" in result["results"][0]["note"]
    assert relaxation_of(candidate).total_after == pytest.approx(-8.1)  # type: ignore[union-attr]
    worse = read(context, {"cut/vasprun.xml": vasprun(cut)})
    assert worse["stored"] == 0
    assert "not kept: the result that is here is converged" in worse["results"][0]["note"]
    assert relaxation_of(candidate).status == "converged"  # type: ignore[union-attr]
    better = read(context, {"vasprun.xml": vasprun(run_for(candidate, TIB2, -24.6))})
    assert better["stored"] == 1
    assert relaxation_of(candidate).total_after == pytest.approx(-8.2)  # type: ignore[union-attr]


def test_references_may_come_later_and_count_for_what_is_there(var: Path, context: TestContext) -> None:
    tib2, tib = candidates_of_structures([TIB2, TIB])
    first = read(context, {"a.xml": vasprun(run_for(tib2, TIB2, -24.0)), "b.xml": vasprun(run_for(tib, TIB, -14.6))})
    assert all(r["formation"] is None for r in first["results"])
    assert "formation energy missing: no reference for B, Ti by VASP" in first["results"][0]["note"]
    placed = place_candidates([tib2.id], None)
    assert "without a formation energy" in placed[0].problem
    later = read(context, {"references.csv": "element,energy\nTi,-7.8\nB,-6.7\n"})
    assert (later["recounted"], later["problems"]) == (2, [])
    assert relaxation_of(tib).formation_after == pytest.approx(-7.3 + 7.25)  # type: ignore[union-attr]
    assert relaxation_of(tib).formation_before == pytest.approx(-7.2 + 7.25)  # type: ignore[union-attr]
    boron = Run([B], [-6.8 * len(B)], nsw=0, ibrion=-1, encut=520.0, suffix="01Jan2020")
    third = read(context, {"B/vasprun.xml": vasprun(boron), "a.xml": vasprun(run_for(tib2, TIB2, -24.0))})
    assert third["recounted"] == 2
    assert relaxation_of(tib).formation_after == pytest.approx(-7.3 + (7.8 + 6.8) / 2)  # type: ignore[union-attr]
    assert any("ENCUT 520 eV, candidates with 500 eV" in note for note in third["notes"])
    assert any("PAW_PBE B 01Jan2020, candidates with PAW_PBE B 06Sep2000" in note for note in third["notes"])
    assert remembered("VASP") == pytest.approx({"Ti": -7.8, "B": -6.8})
    assert remembered("VASP-PBEsol") == {}


@pytest.mark.postgres
def test_postgres_keeps_results_too(
    var: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, context: TestContext
) -> None:
    monkeypatch.setenv("SUBHULL_DATABASE_URL", postgres)
    tib2, tib = candidates_of_structures([TIB2, TIB])
    failed = vasprun(run_for(tib, TIB, -14.6, electronic=False))
    result = read(context, {"a.xml": vasprun(run_for(tib2, TIB2, -24.0)), "b.xml": failed})
    assert result["stored"] == 2
    assert read(context, {"references.json": json.dumps(REFERENCES)})["recounted"] == 1
    assert relaxation_of(tib2).formation_after == pytest.approx(-8 + 7.8 / 3 + 6.7 * 2 / 3)  # type: ignore[union-attr]
    assert relaxation_of(tib).status == "failed: electrons not converged"  # type: ignore[union-attr]
    store().dispose()


def test_references_without_a_method_are_not_guessed(var: Path, context: TestContext) -> None:
    tib2, tib = candidates_of_structures([TIB2, TIB])
    files = {"a.xml": vasprun(run_for(tib2, TIB2, -24.0)), "b.xml": vasprun(run_for(tib, TIB, -14.6, gga="PS"))}
    result = read(context, {**files, "r.json": json.dumps(REFERENCES)})
    assert "does not say of which method" in dict(result["problems"])["r.json"]
    assert result["stored"] == 2
    named = {"method": "VASP-PBEsol", "energies": REFERENCES}
    result = read(context, {"r.json": json.dumps(named)})
    assert result["recounted"] == 1
    assert relaxation_of(tib, "VASP-PBEsol").formation_after is not None  # type: ignore[union-attr]
    assert relaxation_of(tib2).formation_after is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.json", "{}"),
        ("r.json", "[1]"),
        ("r.json", '{"Qq": 1}'),
        ("r.json", '{"B": "x"}'),
        ("r.json", '{"B": NaN}'),
        ("r.json", '{"B": true}'),
        ("r.json", '{"B": -1e9}'),
        ("r.json", "[" * 100_000),
        ("r.json", "\udcff"),
        ("r.csv", "a,b\n1,2\n"),
        ("r.csv", "element,energy\nB\n"),
        ("r.csv", ""),
    ],
)
def test_what_are_no_references_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="holds no elemental references"):
        read_references(path, name)


def test_the_job_is_known_and_takes_its_params_from_json() -> None:
    params = KINDS["vasp"].parse({"files": ["a"], "uploads": ["b"]})
    assert params == ReadParams(("a",), ("b",))
    assert KINDS["vasp"].function() is read_vasp


def test_files_of_one_name_are_told_apart(var: Path, tmp_path: Path, context: TestContext) -> None:
    paths = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        paths.append(tmp_path / str(number) / "OUTCAR")
        paths[-1].write_text("no result")
    result = read_vasp(ReadParams(tuple(map(str, paths))), context)
    assert [name for name, _ in result["problems"]] == ["(1 of 2) OUTCAR", "(2 of 2) OUTCAR"]
    assert all(p.is_file() for p in paths), "files that are no uploads stay"


def test_no_file_is_a_sentence(var: Path, context: TestContext) -> None:
    with pytest.raises(UserError, match="There is no file nowhere"):
        read_vasp(ReadParams(("nowhere",)), context)
    with pytest.raises(UserError, match="Choose"):
        read_vasp(ReadParams(()), context)
