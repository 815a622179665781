"""Hulls from files, datasets and AFLOW on a real store, and evaluated again with a potential."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from core.crystals import unpack_cells
from core.data.symmetry import detect_groups
from core.energy.load import load_potential
from core.workflows import hulls
from core.workflows.context import Cancelled, UserError
from core.workflows.datasets import BuildParams, build_dataset
from core.workflows.hulls_aflow import AflowHullParams, hull_from_aflow, structures_from_aflow
from core.workflows.hulls_build import BuildHullParams, build_hull
from core.workflows.hulls_evaluate import (
    EvaluateHullParams,
    attach_structures,
    check_evaluation,
    evaluate_hull,
    list_evaluations,
)
from core.workflows.imports import ImportParams, import_files
from core.workflows.relax import SYMPREC
from core.workflows.store import store
from db.tables import Hull
from tests.aflux_server import AfluxServer
from tests.conftest import TestContext

CHGNET, M3GNET = "CHGNet-0.3.0", "M3GNet-MP-2021.2.8"
CELL = {"geometry": [3.1, 3.1, 3.3, 90, 90, 120]}
SITES = [[0.0, 0.0, 0.0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]


def row(auid: str, content: dict[str, int], energy: float | None, source: str = "M", **more: Any) -> dict[str, Any]:
    values = {"auid": auid, "species": list(content), "composition": list(content.values()), **CELL, **more}
    sites = SITES[: sum(content.values())]
    known = {} if energy is None else {"enthalpy_formation_atom": energy, "energy_source": source}
    return values | {"positions_fractional": sites} | known


ROWS = [
    row("a", {"B": 2, "Ta": 1}, -0.7),
    row("b", {"B": 1, "Ta": 1}, -0.5),
    row("c", {"B": 1, "W": 2}, -0.2),
    row("d", {"B": 1, "Ta": 1, "W": 1}, -0.1),
    row("e", {"Ta": 1}, 0.0),
    row("f", {"C": 1, "Ta": 1}, -0.6),
    row("g", {"B": 1, "W": 1}, None),
    row("h", {"B": 2, "W": 1}, -0.9, "other"),
]


def import_rows(folder: Path, name: str, rows: list[dict[str, Any]], context: TestContext) -> None:
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    import_files(ImportParams((str(path),), name, "M"), context)


def test_a_dataset_gives_the_hull_of_a_system_and_its_sub_systems(tmp_path: Path, context: TestContext) -> None:
    import_rows(tmp_path, "mine", ROWS, context)
    made = build_hull(BuildHullParams("mine", "W-Ta-B"), context)
    assert (made["system"], made["method"], made["name"], made["entries"]) == ("B-Ta-W", "M", "mine", 5)
    view = hulls.get_hull_by_id(made["hull_id"])
    assert {e.label for e in view.entries} == {"a", "b", "c", "d", "e"}, "no carbide, no other method"
    assert all(e.cell for e in view.entries)
    entries = [PDEntry(Composition(e.composition), e.formation * sum(e.composition.values())) for e in view.entries]
    diagram = PhaseDiagram([*entries, *(PDEntry(Composition(e), 0.0) for e in view.hull.elements)])
    expected = [diagram.get_e_above_hull(e) for e in entries]
    assert [e.above_hull for e in view.entries] == pytest.approx(expected)
    assert view.row.notes["dataset"] == "mine"
    assert view.row.notes["left_out"] == {"without a formation energy by M": 2}
    assert any("unreliable" in w for w in view.warnings)
    assert build_hull(BuildHullParams("mine", "BW", "other", "second"), context)["entries"] == 1
    with pytest.raises(UserError, match="There is a hull 'mine' of B-Ta-W by M already"):
        build_hull(BuildHullParams("mine", "B-Ta-W"), context)
    assert len(hulls.list_hulls()) == 2


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (BuildHullParams("mine", "Fe-O"), "holds no structure of Fe-O"),
        (BuildHullParams("mine", "B-Ta", "PBE"), "no energies by PBE; its methods: M, other"),
        (BuildHullParams("mine", "C-Ta", "other"), "No structure of C-Ta in mine has a formation energy by other"),
        (BuildHullParams("mine", "TaB2"), "no chemical system"),
        (BuildHullParams("none", "B-Ta"), "There is no dataset 'none'"),
        (BuildHullParams("bare", "B-Ta"), "bare has no formation energies"),
        (BuildHullParams("both", "B-Ta"), "mixes the methods M, other; energies of different methods never meet"),
    ],
)
def test_what_gives_no_hull_is_said(params: BuildHullParams, words: str, tmp_path: Path, context: TestContext) -> None:
    import_rows(tmp_path, "mine", ROWS, context)
    import_rows(tmp_path, "bare", [row("x", {"B": 1, "Ta": 1}, None)], context)
    build_dataset(BuildParams(imports=("mine",), name="both", methods=("M", "other")), context)
    with pytest.raises(UserError, match=words):
        build_hull(params, context)
    assert hulls.list_hulls() == []


def test_building_can_be_stopped_and_leaves_nothing(tmp_path: Path, context: TestContext) -> None:
    import_rows(tmp_path, "mine", ROWS, context)
    with pytest.raises(Cancelled):
        build_hull(BuildHullParams("mine", "B-Ta"), TestContext(tmp_path / "job2", stop_after=0))
    assert hulls.list_hulls() == []


def test_a_real_hull_of_aflow_is_imported_and_opened(shared: Path, tmp_path: Path) -> None:
    data = (shared / "data" / "aflow" / "nhull_MnPdPt.json.gz").read_bytes()
    upload = tmp_path / "0a1b2c-ZnO.json.gz"  # its name says nothing about what it holds
    upload.write_bytes(data)
    view = hulls.import_hull(upload, name="NHULL of Mn-Pd-Pt")
    assert (view.row.chemical_system, view.row.method, view.row.name) == ("Mn-Pd-Pt", "AFLOW", "NHULL of Mn-Pd-Pt")
    assert (len(view.entries), len(view.hull.stable())) == (3378, 20)
    assert view.row.notes["agreement"] < 0.01
    assert (view.row.notes["entries"], view.row.notes["used"]) == (3502, 1215)
    hulls._convex.cache_clear()
    again = hulls.get_hull_by_id(view.row.id)
    assert len(again.hull.above()) == 1215
    assert again.hull.stable()
    assert again.hull.facets()
    with pytest.raises(UserError, match="already"):
        hulls.import_hull(upload, name="NHULL of Mn-Pd-Pt")
    with pytest.raises(UserError, match="energies are by AFLOW, not by PBE"):
        hulls.import_hull(upload, method="PBE")


@pytest.fixture
def entries(shared: Path) -> list[dict[str, Any]]:
    """Real entries with positions (four of PAW_PBE, one of PAW_LDA), with energies made up for them."""
    found = json.loads((shared / "data" / "aflow" / "aflux_geometry_page.json").read_text())
    return [{**e, "enthalpy_formation_atom": -0.1 * (i + 1)} for i, e in enumerate(found)]


def system_of(entries: list[dict[str, Any]]) -> str:
    elements = {s.split("_")[0] for e in entries for s in _species(e)}
    return "-".join(sorted(elements))


def _species(entry: dict[str, Any]) -> list[str]:
    value = entry["species"]
    return value.split(",") if isinstance(value, str) else list(value)


def test_aflow_gives_a_hull_with_its_terms_and_structures(
    entries: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [
        {**entries[0], "auid": "aflow:null", "enthalpy_formation_atom": None},
        {**entries[0], "auid": "aflow:u", "ldau_type": 2},
        {**entries[0], "auid": "aflow:flat", "geometry": None, "enthalpy_formation_atom": -0.05},
    ]
    params = AflowHullParams(system_of(entries), page_size=3, pause_s=0.0)
    with AfluxServer([*entries, *odd]) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        with pytest.raises(Cancelled):
            hull_from_aflow(params, TestContext(tmp_path / "job", stop_after=0))
        made = hull_from_aflow(params, TestContext(tmp_path / "job"))
        assert len(server.requests) == 3, "it goes on at its page"
        assert all(f"({':'.join(params.system.split('-'))})" in r for r in server.requests)
    assert (made["method"], made["entries"], made["matching"]) == ("AFLOW", 5, 8)
    view = hulls.get_hull_by_id(made["hull_id"])
    notes = view.row.notes
    assert notes["left_out"] == {"of another DFT type": 1, "without an energy": 1, "with a Hubbard U": 1}
    assert "58, 227" in notes["citation"]
    assert "species((" in notes["summons"]
    assert {e.label: e.formation for e in view.entries}[entries[1]["auid"]] == pytest.approx(-0.2)
    assert [e.label for e in view.entries if e.cell is None] == ["aflow:flat"]


def test_aflow_that_cannot_be_asked_leaves_no_hull(
    entries: list[dict[str, Any]], tmp_path: Path, context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AfluxServer(entries, always="404") as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        with pytest.raises(UserError, match="refused the request"):
            hull_from_aflow(AflowHullParams("B-W"), context)
    with AfluxServer([]) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        with pytest.raises(UserError, match="has no entry of B-W"):
            hull_from_aflow(AflowHullParams("W-B"), context)
    with AfluxServer(entries) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        with pytest.raises(UserError, match="answered with entries that hold"):
            hull_from_aflow(AflowHullParams("B-W"), TestContext(tmp_path / "another"))
    with pytest.raises(UserError, match="no chemical system"):
        hull_from_aflow(AflowHullParams("B2"), context)
    assert hulls.list_hulls() == []


def test_structures_are_fetched_by_auid(
    entries: list[dict[str, Any]], context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [entries[0]["auid"], entries[2]["auid"], "aflow:gone"]
    with AfluxServer(entries) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        found = structures_from_aflow(wanted, context)
        assert f"auid('{wanted[0]}':'{wanted[1]}':'aflow:gone')" in server.requests[0]
    assert sorted(found) == sorted(wanted[:2])
    assert [int(n) for n in unpack_cells([found[w] for w in wanted[:2]]).natoms] == [
        sum(map(int, _composition(e))) for e in (entries[0], entries[2])
    ]


def _composition(entry: dict[str, Any]) -> list[Any]:
    value = entry["composition"]
    return value.split(",") if isinstance(value, str) else list(value)


def starter_rows() -> dict[str, dict[str, Any]]:
    import gzip

    from core.settings import ASSETS

    lines = gzip.decompress((ASSETS / "starter" / "structures.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    return {r["auid"]: r for r in rows if set(r["species"]) == {"B", "Ta"}}


def hull_of_starter(folder: Path, count: int = 6, more: str = "") -> hulls.HullView:
    """A hull by AFLOW, as far as it says: labels of the starter dataset, energies of another method."""
    rows = sorted(starter_rows().values(), key=lambda r: r["enthalpy_formation_atom"])[:count]
    lines = [f"{r['pretty_formula']},{r['enthalpy_formation_atom']},{r['auid']},AFLOW" for r in rows]
    path = folder / "dft.csv"
    path.write_text("\n".join(["formula,formation_energy,label,method", *lines, more]) + "\n")
    return hulls.import_hull(path)


def test_a_hull_evaluated_again_is_one_of_the_potential(starter: Path, tmp_path: Path, context: TestContext) -> None:
    """Structures come from the dataset by label, and CHGNet gives the energies that the dataset keeps of it."""
    old = hull_of_starter(tmp_path)
    assert all(e.cell is None for e in old.entries)
    made = evaluate_hull(EvaluateHullParams(old.row.id, "chgnet", relax=False, near=5.0), context)
    new = hulls.get_hull_by_id(made["hull_id"])
    assert (new.row.method, new.row.chemical_system) == (CHGNET, "B-Ta")
    known = {label: r["energies"][CHGNET]["formation"] for label, r in starter_rows().items()}
    assert len(new.entries) == 6
    for entry in new.entries:
        assert entry.formation == pytest.approx(known[entry.label], abs=2e-3)
        assert entry.cell
    assert new.made_from == {"id": old.row.id, "chemical_system": "B-Ta", "method": "AFLOW", "name": "dft"}
    assert "evaluated as they are with CHGNet" in new.about
    assert new.row.notes["references"].startswith(CHGNET)
    assert list_evaluations(old.row.id) == [new.row.id]
    compared = made["compared"]
    assert len(compared) == 6
    assert compared[0]["on_hull_old"]
    first = next(r for r in compared if r["label"] == new.entries[0].label)
    assert first["formation_new"] == new.entries[0].formation
    assert first["formation_old"] == {e.label: e.formation for e in old.entries}[first["label"]]
    with pytest.raises(UserError, match="already"):
        evaluate_hull(EvaluateHullParams(old.row.id, "chgnet", relax=False), context)
    with pytest.raises(UserError, match=r"is by CHGNet-0\.3\.0 already"):
        evaluate_hull(EvaluateHullParams(new.row.id, "chgnet"), context)


def test_without_a_structure_for_every_stable_phase_nothing_is_evaluated(
    starter: Path, tmp_path: Path, context: TestContext
) -> None:
    old = hull_of_starter(tmp_path, more="TaB4,-0.9,aflow:0123,AFLOW\nTa2B,-0.4,aflow:4567,AFLOW")
    attached = attach_structures(old, near=5.0)
    assert attached.missing == ["TaB4 (aflow:0123)"]
    assert "Ta2B (aflow:4567)" in [*attached.skipped, *attached.missing]
    before = len(hulls.list_hulls())
    with pytest.raises(UserError, match=r"no structure for 1 stable phase"):
        check_evaluation(EvaluateHullParams(old.row.id, "chgnet"))
    assert check_evaluation(EvaluateHullParams(old.row.id, "chgnet", aflow=True)).missing == attached.missing
    with pytest.raises(UserError, match=r"no structure for 1 stable phase: TaB4 \(aflow:0123\)\. .*fetch them from"):
        evaluate_hull(EvaluateHullParams(old.row.id, "chgnet", relax=False), context)
    assert len(hulls.list_hulls()) == before


def test_a_missing_structure_is_fetched_from_aflow_when_asked(
    starter: Path, tmp_path: Path, context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = hull_of_starter(tmp_path, count=3, more="TaB4,-0.9,aflow:0123,AFLOW")
    entry = row("aflow:0123", {"B": 4, "Ta": 1}, None, aurl="x:AFLOWDATA/LIB2_RAW/B_hTa_pv/1")
    entry["positions_fractional"] = [*SITES, [0.0, 0.0, 0.5], [0.5, 0.0, 0.25]]
    with AfluxServer([entry]) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        made = evaluate_hull(EvaluateHullParams(old.row.id, "chgnet", relax=False, aflow=True), context)
    assert "aflow:0123" in {e.label for e in hulls.get_hull_by_id(made["hull_id"]).entries}


def test_a_structure_of_another_composition_is_not_attached(
    starter: Path, tmp_path: Path, context: TestContext
) -> None:
    label = next(iter(starter_rows()))
    old = hull_of_starter(tmp_path, count=1, more=f"Ta5B7,-3.0,{label},AFLOW")
    assert f"Ta5B7 ({label})" in attach_structures(old).missing


def test_a_hull_of_elements_that_the_potential_does_not_know_is_refused(tmp_path: Path, context: TestContext) -> None:
    path = tmp_path / "rare.csv"
    path.write_text("formula,formation_energy\nLrB2,-0.5\n")
    with pytest.raises(UserError, match="does not say whose energies these are"):
        hulls.import_hull(path)
    view = hulls.import_hull(path, method="PBE")
    with pytest.raises(UserError, match="no elemental reference for Lr"):
        evaluate_hull(EvaluateHullParams(view.row.id, "chgnet"), context)
    with pytest.raises(UserError, match="no elemental reference for Lr"):
        check_evaluation(EvaluateHullParams(view.row.id, "chgnet"))
    with pytest.raises(UserError, match="m3gnet cannot be used: its weights are not here"):
        check_evaluation(EvaluateHullParams(view.row.id, "m3gnet"))


@pytest.mark.slow
def test_phases_are_relaxed_first_and_a_cut_run_goes_on(
    starter: Path, tmp_path: Path, context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.workflows.hulls_evaluate._BATCH", 2)
    old = hull_of_starter(tmp_path, count=3)
    params = EvaluateHullParams(old.row.id, "chgnet", near=5.0, fmax=0.1)
    folder = tmp_path / "job3"
    cut = TestContext(folder)
    monkeypatch.setattr(cut, "cancelled", lambda: (folder / "evaluated.json").is_file())
    with pytest.raises(Cancelled):
        evaluate_hull(params, cut)
    done = json.loads((folder / "evaluated.json").read_text())["done"]
    assert len(done) == 2
    made = evaluate_hull(params, TestContext(folder))
    view = hulls.get_hull_by_id(made["hull_id"])
    still = {e.label: e.formation for e in view.entries}
    known = {label: r["energies"][CHGNET]["formation"] for label, r in starter_rows().items()}
    assert all(value <= known[label] + 1e-3 for label, value in still.items()), "relaxed: no higher than before"
    crystals = unpack_cells([e.cell or b"" for e in view.entries])
    force = load_potential("chgnet").evaluate(crystals).forces.norm(dim=-1)
    assert float(force.max()) < 0.11, "the structures that are kept are the relaxed ones"
    assert [e.space_group for e in view.entries] == detect_groups(crystals, SYMPREC).tolist()
    assert [d["energy"] for d in done] == pytest.approx([still[e] for e in _order(folder)[:2]])


def _order(folder: Path) -> list[str]:
    return list(json.loads((folder / "evaluated.json").read_text())["labels"])


def test_a_hull_is_found_by_its_system_method_and_name(starter: Path) -> None:
    view = hulls.get_hull("BTaW", M3GNET)
    assert view.warnings
    assert view.date
    assert hulls.get_hull("B-Ta-W", M3GNET, "starter").row.id == view.row.id
    with pytest.raises(UserError, match=r"by M3GNet-MP-2021\.2\.8 named 'x'"):
        hulls.get_hull("B-Ta-W", M3GNET, "x")


def csv_hull(folder: Path, label: str = "a") -> Path:
    path = folder / "mine.csv"
    path.write_text(f"formula,formation_energy,label,method\nTaB2,-0.5,{label},PBE\nTaB,-0.6,b,PBE\n")
    return path


def test_a_hull_of_the_days_before_warnings_is_doubted_too(tmp_path: Path) -> None:
    view = hulls.import_hull(csv_hull(tmp_path), method="PBE")
    assert view.row.method == "PBE"
    with store().session() as session:
        kept = session.get(Hull, view.row.id)
        assert kept is not None
        kept.notes = {"about": "old"}
    assert hulls.get_hull_by_id(view.row.id).warnings == view.warnings != []


def test_two_that_import_the_same_hull_at_once_leave_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hulls.import_hull(csv_hull(tmp_path))
    monkeypatch.setattr("core.workflows.hulls_store.check_new_hull", lambda *_: None)
    with pytest.raises(UserError, match="There is a hull 'mine' of B-Ta by PBE already"):
        hulls.import_hull(csv_hull(tmp_path))
    assert len(hulls.list_hulls()) == 1


def test_text_that_no_database_takes_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    rows = [{"auid": "a\x00b\ud800", "pretty_formula": "TaB", "enthalpy_formation_atom": -0.5, "source": "\x00"}]
    path.write_text(json.dumps({"chemical_system": "B-Ta", "method": "M\x00", "about": "\ud800", "entries": rows}))
    view = hulls.import_hull(path)
    assert (view.row.method, view.entries[0].label, view.about) == ("M", "ab?", "?")


@pytest.mark.postgres
def test_postgres_keeps_a_hull_as_sqlite_does(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = hulls.import_hull(csv_hull(tmp_path, "odd\0"))
    monkeypatch.setenv("SUBHULL_DATABASE_URL", postgres)
    there = hulls.import_hull(csv_hull(tmp_path, "odd\0"))
    store().dispose()
    assert there.row.notes == here.row.notes
    columns = ("label", "formula", "composition", "formation", "above_hull", "flag", "cell")
    assert [[getattr(e, c) for c in columns] for e in there.entries] == [
        [getattr(e, c) for c in columns] for e in here.entries
    ]


def test_a_hull_that_another_by_the_same_method_lies_below_is_doubted(tmp_path: Path) -> None:
    hulls.import_hull(csv_hull(tmp_path))
    path = tmp_path / "worse.csv"
    path.write_text("formula,formation_energy,method\nTaB2,-0.4,PBE\n")
    (warning,) = [w for w in hulls.import_hull(path).warnings if "lies lower" in w]
    assert "'mine' of B-Ta" in warning
    assert "TaB2 is 0.100 eV/atom above it" in warning
    path.write_text("formula,formation_energy,method\nTaB2,-0.9,PBE\n")
    assert not [w for w in hulls.import_hull(path, name="better").warnings if "lies lower" in w]


def test_a_method_is_found_by_its_first_part(starter: Path) -> None:
    assert hulls.get_hull("B-Ta-W", "CHGNet").row.method == "CHGNet-0.3.0"
    with pytest.raises(UserError, match="no hull of B-Ta-W by CHG"):
        hulls.get_hull("B-Ta-W", "CHG")
