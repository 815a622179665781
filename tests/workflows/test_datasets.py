"""Datasets on a real store: recipes over imports, AFLOW fetched and resumed, files that were lost, deletion."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.workflows import aflow
from core.workflows.aflow import AflowParams, count_entries, import_aflow
from core.workflows.context import Cancelled, UserError
from core.workflows.dataset_export import export_dataset
from core.workflows.datasets import (
    BuildParams,
    build_dataset,
    columns_of,
    delete_dataset,
    find_imports,
    get_dataset,
    imports_of,
    list_datasets,
    load_tensors,
    recipe_of,
    tensor_path,
)
from core.workflows.imports import ImportParams, arrays_folder, import_files, open_import
from core.workflows.store import folder, store
from db import structures as rows
from tests.aflux_server import AfluxServer
from tests.conftest import TestContext
from tests.data.test_readers import GOOD


def lines(count: int, prefix: str = "s") -> str:
    """Rows of six formulas with one to count polymorphs each, by two methods."""
    formulas = [(["B", "Ta"], [2, 1]), (["B", "W"], [2, 1]), (["B", "Ti"], [2, 1]), (["C", "Ta"], [2, 1])]
    made = []
    for i in range(count):
        species, composition = formulas[i % 4 if i % 5 else 0]
        made.append(
            {
                **GOOD, "auid": f"{prefix}{i}", "species": species, "composition": composition,
                "geometry": [3.0 + 0.01 * i, 3.1, 3.3, 90, 90, 120], "enthalpy_formation_atom": -0.5 + 0.01 * (i % 17),
                "energy_source": "other" if i % 10 == 9 else "M", "spacegroup_relax": 191 if i % 3 else 12,
            }
        )  # fmt: skip
    return "\n".join(map(json.dumps, made)) + "\n"


@pytest.fixture
def imported(tmp_path: Path, context: TestContext) -> str:
    (tmp_path / "x.jsonl").write_text(lines(200))
    import_files(ImportParams((str(tmp_path / "x.jsonl"),), "x", "M"), context)
    return "x"


def test_a_dataset_is_built_of_an_import_without_copying_rows(imported: str, context: TestContext) -> None:
    params = BuildParams(
        imports=(imported,), name="filtered", elements=("B", "Ta", "W"), min_polymorphs=7, energy=(-5, 5)
    )
    result = build_dataset(params, context)
    assert [s["name"] for s in result["stages"]] == ["all", "elements", "method", "energy", "polymorphs"]
    found = get_dataset("filtered")
    data = load_tensors(found)
    assert set(data.formulas) == {"TaB2", "B2W"}
    assert found.method == "M"
    assert bool(torch.isfinite(data.crystals.energy).all())
    assert len(data) == result["structures"] == result["stages"][-1]["structures"]
    with store().session() as session:
        assert len(rows.structures_of_import(session, imports_of(found)[0].id)) == 200
    assert tensor_path(found.hash).stat().st_size < 60_000
    assert [i.name for i in imports_of(found)] == ["x"]


def test_the_recipe_names_the_dataset(imported: str, context: TestContext) -> None:
    hashes = []
    for name, changes in {"a": {}, "b": {}, "c": {"min_share": 0.1}, "d": {"seed": 1}}.items():
        hashes.append(build_dataset(BuildParams(imports=("x",), name=name, **changes), context)["hash"])  # type: ignore[arg-type]
    assert hashes[0] == hashes[1] == get_dataset("x").hash
    assert len(set(hashes)) == 3
    delete_dataset("a")
    assert len(load_tensors(get_dataset("b"))) == 200, "a twin's file stays"
    assert recipe_of(get_dataset("c").recipe).min_share == 0.1


def test_methods_are_mixed_only_when_asked(imported: str, context: TestContext) -> None:
    alone = build_dataset(BuildParams(imports=("x",), name="alone", energy=(-5, 5)), context)
    both = build_dataset(BuildParams(imports=("x",), name="both", methods=("M", "other"), energy=(-5, 5)), context)
    assert (alone["structures"], both["structures"]) == (180, 200)
    assert get_dataset("both").method == "M + other"
    with pytest.raises(UserError, match="No structure has an energy by 'PBE'"):
        build_dataset(BuildParams(imports=("x",), name="none", methods=("PBE",)), context)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"imports": ("none",)}, "no import or dataset 'none'"),
        ({"imports": ()}, "at least one import"),
        ({"elements": ("Qq",)}, "'Qq' is no element"),
        ({"atoms": (50, 60)}, "atoms per cell leaves none"),
        ({"name": "x"}, "already"),
    ],
)
def test_recipes_that_cannot_be_are_refused_and_leave_nothing(
    imported: str, context: TestContext, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        build_dataset(BuildParams(**{"imports": ("x",), "name": "new", **changes}), context)
    assert [d.name for d in list_datasets()] == ["x"]
    assert len(list(folder("datasets").iterdir())) == 1


@pytest.mark.slow
def test_duplicates_are_dropped_when_asked(tmp_path: Path, context: TestContext) -> None:
    twice = lines(12) + lines(12, "again")
    (tmp_path / "t.jsonl").write_text(twice)
    import_files(ImportParams((str(tmp_path / "t.jsonl"),), "t", "M"), context)
    result = build_dataset(BuildParams(imports=("t",), name="once", duplicates=False), context)
    assert result["stages"][-1]["name"] == "duplicates"
    assert result["structures"] <= 12
    with pytest.raises(Cancelled):
        build_dataset(
            BuildParams(imports=("t",), name="stopped", duplicates=False), TestContext(tmp_path, stop_after=0)
        )


def test_two_imports_make_one_dataset_and_stay_while_it_needs_them(tmp_path: Path, context: TestContext) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(lines(30, name))
        import_files(ImportParams((str(tmp_path / f"{name}.jsonl"),), name, "M"), context)
    build_dataset(BuildParams(imports=("one", "two"), name="both"), context)
    ids = [i.id for i in find_imports(["both"])]
    assert len(ids) == 2
    delete_dataset("one")
    assert len(load_tensors(get_dataset("both")).crystals[torch.arange(60)]) == 60
    assert arrays_folder(ids[0]).is_dir()
    delete_dataset("both")
    assert [arrays_folder(i).is_dir() for i in ids] == [False, True]


def test_lost_arrays_are_written_again_from_the_store(imported: str) -> None:
    (known,) = find_imports(["x"])
    before = open_import(known.id)
    kept = {name: getattr(before, name).copy() for name in ("frac", "numbers", "ends", "lattice", "group", "ids")}
    volume, closest = before.volume.copy(), before.closest.copy()
    shutil.rmtree(arrays_folder(known.id))
    after = open_import(known.id)
    for name, values in kept.items():
        assert (getattr(after, name) == values).all(), name
    assert after.volume == pytest.approx(volume, rel=1e-5)
    assert after.closest == pytest.approx(closest, rel=1e-4)
    assert len(columns_of([known.id])) == 200


def test_a_given_split_is_honoured_and_survives_export(tmp_path: Path, context: TestContext) -> None:
    named = [
        json.dumps({**json.loads(line), "split": "val" if i % 4 else "train"})
        for i, line in enumerate(lines(20).splitlines())
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(named))
    import_files(ImportParams((str(tmp_path / "s.jsonl"),), "s", "M"), context)
    assert load_tensors(get_dataset("s")).split.tolist() == [int(i % 4 > 0) for i in range(20)]
    for suffix in ("jsonl.gz", "parquet"):
        export_dataset("s", tmp_path / f"out.{suffix}")
        import_files(ImportParams((str(tmp_path / f"out.{suffix}"),), suffix.replace(".", "-")), context)
        back = load_tensors(get_dataset(suffix.replace(".", "-")))
        assert torch.equal(back.split, load_tensors(get_dataset("s")).split)
        every = torch.arange(20)
        delta = back.crystals[every].frac - load_tensors(get_dataset("s")).crystals[every].frac
        assert float((delta - delta.round()).abs().max()) < 1e-6
    assert build_dataset(BuildParams(imports=("s",), name="new", own_split=False), context)["hash"]
    assert load_tensors(get_dataset("new")).split.tolist() != load_tensors(get_dataset("s")).split.tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"atoms": (60, 4)}, "upside down"),
        ({"energy": (5.0, -5.0)}, "upside down"),
        ({"min_share": 5.0}, "from 0 to 1"),
        ({"split": -1.0}, "from 0 to 1"),
        ({"split": 2.0}, "from 0 to 1"),
        ({"groups": (999,)}, "1 to 230"),
        ({"min_polymorphs": 0}, "1 or more"),
    ],
)
def test_recipes_of_nonsense_are_refused_in_a_sentence(
    imported: str, context: TestContext, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        build_dataset(BuildParams(imports=("x",), name="new", **changes), context)


def test_an_energy_window_needs_energies(tmp_path: Path, context: TestContext) -> None:
    rows_ = [
        {k: v for k, v in json.loads(line).items() if k != "enthalpy_formation_atom"} for line in lines(8).splitlines()
    ]
    (tmp_path / "bare.jsonl").write_text("\n".join(map(json.dumps, rows_)))
    import_files(ImportParams((str(tmp_path / "bare.jsonl"),), "bare", "PBE"), context)
    assert get_dataset("bare").method == ""
    with pytest.raises(UserError, match="No structure has a formation energy"):
        build_dataset(BuildParams(imports=("bare",), name="new", energy=(-1, 1)), context)


def test_a_file_that_is_none_is_named_and_the_others_are_kept(tmp_path: Path, context: TestContext) -> None:
    (tmp_path / "good.jsonl").write_text(lines(5))
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "x.pdf").write_text("x")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    names = ("empty.cif", "good.jsonl", "x.pdf", "other.csv")
    result = import_files(ImportParams(tuple(str(tmp_path / n) for n in names), "some", "M"), context)
    assert (result["structures"], result["reasons"]) == (5, {"unreadable file": 3})
    with store().session() as session:
        assert [r.place for r in rows.skipped_rows(session, [result["import_id"]])] == [
            "empty.cif",
            "x.pdf",
            "other.csv",
        ]


def test_of_two_methods_with_as_many_energies_the_rows_own_is_taken(tmp_path: Path, context: TestContext) -> None:
    both = {"A": {"total": None, "formation": -0.1}, "Z": {"total": None, "formation": -0.2}}
    made = [json.dumps({**json.loads(line), "energies": both, "energy_source": "Z"}) for line in lines(6).splitlines()]
    (tmp_path / "two.jsonl").write_text("\n".join(made))
    import_files(ImportParams((str(tmp_path / "two.jsonl"),), "two"), context)
    assert get_dataset("two").method == "Z"
    for suffix in ("jsonl", "parquet"):
        export_dataset("two", tmp_path / f"again.{suffix}")
        import_files(ImportParams((str(tmp_path / f"again.{suffix}"),), f"again {suffix}"), context)
        assert get_dataset(f"again {suffix}").method == "Z"
    assert build_dataset(BuildParams(imports=("two",), name="built"), context)
    assert get_dataset("built").method == "Z"


def test_a_split_that_shares_formulas_is_counted(tmp_path: Path, context: TestContext) -> None:
    made = [
        json.dumps({**json.loads(line), "split": "val" if i % 2 else "train"})
        for i, line in enumerate(lines(12).splitlines())
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(made))
    import_files(ImportParams((str(tmp_path / "s.jsonl"),), "s", "M"), context)
    summary = get_dataset("s").summary
    assert summary["split"] == "files"
    assert summary["formulas_in_both"] >= 1
    build_dataset(BuildParams(imports=("s",), name="new", own_split=False), context)
    summary = get_dataset("new").summary
    assert (summary["split"], summary["formulas_in_both"]) == ("recipe", 0)


@pytest.mark.slow
def test_exports_are_what_their_names_say(imported: str, tmp_path: Path) -> None:
    for name, words in {"x.csv": "is written as", "no/x.jsonl": "no folder"}.items():
        with pytest.raises(UserError, match=words):
            export_dataset("x", tmp_path / name)
    export_dataset("x", tmp_path / "t.safetensors", tensors=True)
    export_dataset("x", tmp_path / "t.jsonl")
    assert (tmp_path / "t.safetensors").stat().st_mode == (tmp_path / "t.jsonl").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["t.jsonl", "t.safetensors", "x.jsonl"]


@pytest.fixture
def entries(shared: Path) -> list[dict[str, Any]]:
    """Real entries with positions: four of PAW_PBE, one of PAW_LDA."""
    found: list[dict[str, Any]] = json.loads((shared / "data" / "aflow" / "aflux_geometry_page.json").read_text())
    return found


PARAMS = AflowParams("species(B:C:N:H)", "af", page_size=2, pause_s=0.0)


def test_aflow_becomes_a_dataset_with_its_terms(
    entries: list[dict[str, Any]], context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [{**entries[0], "auid": "aflow:null", "geometry": None}, {k: v for k, v in entries[0].items() if k != "auid"}]
    with AfluxServer([*entries, *odd], faults={2: "500"}) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        monkeypatch.setattr("core.data.aflow.client._LONGEST_WAIT", 0.01)
        assert count_entries(PARAMS.summons) == 7
        result = import_aflow(PARAMS, context)
    assert (result["structures"], result["matching"]) == (5, 7), "the entry without an auid is named by its content"
    assert result["reasons"] == {"other DFT type": 1, "missing keys": 1}
    found = get_dataset("af")
    known = imports_of(found)[0]
    assert "cite" not in known.notes["terms"].lower()
    assert "58, 227" in known.notes["citation"]
    assert "species(B:C:N:H)" in known.notes["summons"]
    assert sorted(p.name for p in context.folder.iterdir()) == ["entries.state"]
    with store().session() as session:
        labels = [s.label for s in rows.get_structures(session, rows.structures_of_import(session, known.id))]
    assert labels[:4] == [e["auid"] for e in entries[:4]]


def test_a_cut_fetch_goes_on_at_its_page(
    entries: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AfluxServer(entries) as server:
        monkeypatch.setenv("SUBHULL_AFLUX_URL", server.url)
        with pytest.raises(Cancelled):
            import_aflow(PARAMS, TestContext(tmp_path / "job", stop_after=0))
        assert len(server.requests) == 1
        with (tmp_path / "job" / "entries.jsonl").open("a") as file:
            file.write('{"auid": "half a li')  # what a kill leaves of the page it was writing
        result = import_aflow(PARAMS, TestContext(tmp_path / "job"))
        assert len(server.requests) == 3
    assert (result["structures"], result["skipped"]) == (4, 1)


def test_aflow_that_refuses_or_has_nothing_is_said(
    entries: list[dict[str, Any]], context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aflow, "client_for", lambda *_, **__: aflow.AfluxClient(server.url, retries=0, timeout_s=0.5))
    with AfluxServer(entries, always="db fail") as server, pytest.raises(UserError, match="DB Fail"):
        import_aflow(PARAMS, context)
    with AfluxServer([]) as server, pytest.raises(UserError, match="no entry that matches"):
        import_aflow(PARAMS, context)
    with AfluxServer(entries, always="timeout") as server, pytest.raises(UserError, match="did not answer"):
        count_entries(PARAMS.summons)
    with pytest.raises(UserError, match="brackets"):
        count_entries("species(")
    assert list_datasets() == []
