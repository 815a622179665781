"""`hull …` as scripts call it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from core.workflows import hulls
from tests.cli.test_cli import cli, last_json, run


def test_a_real_hull_of_aflow_is_imported_and_shown(
    shared: Path, starter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "data" / "aflow" / "nhull_MnPdPt.json.gz"
    code, out, _ = run(capsys, "hull", "import", str(path), "--json")
    assert code == 0
    imported = last_json(out)
    shown = last_json(run(capsys, "hull", "show", "MnPdPt", "--json")[1])
    for found in (imported, shown):
        assert (found["system"], found["method"], found["entries"]) == ("Mn-Pd-Pt", "AFLOW", 3378)
        assert len(found["stable"]) == 20  # type: ignore[arg-type]
    text = run(capsys, "hull", "show", "Pt-Mn-Pd", "--method", "AFLOW")[1]
    assert "3,378 phases, 20 on the hull" in text
    assert "! 124 of 3,502 entries were left out" in text
    assert "aflow:11ca5563e6e32342" in text


def test_candidates_of_a_folder_are_placed_with_their_reactions(
    starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = tmp_path / "errors.json"
    errors.write_text(json.dumps({"PBE": {"mae": 0.03, "structures": 10, "against": "a test"}}))
    monkeypatch.setattr("core.workflows.hulls.method_error", lambda method, _: _read(method, errors))
    hull = tmp_path / "mine.csv"
    hull.write_text("formula,formation_energy,method\nTaB2,-0.6,PBE\nTaB,-0.8,PBE\n")
    hulls.import_hull(hull)
    rows = [
        ("1", "Ta2B3", "-0.70", "PBE"),
        ("2", "Ta1B2", "-0.50", "PBE"),
        ("3", "Ta2B3", "-0.70", "other"),
        ("4", "Ta1O2", "-0.70", "PBE"),
        ("5", "TaB", "nan", "PBE"),
        ("6", "TaB", "", ""),
    ]
    with (tmp_path / "candidates.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "formula", "energy", "energy_method"), *rows])
    code, out, _ = run(capsys, "hull", "place", str(tmp_path), "--system", "Ta-B", "--method", "PBE", "--json")
    assert code == 0
    found = last_json(out)
    assert [p["id"] for p in found["placed"]] == ["1", "2"]  # type: ignore[union-attr]
    first = found["placed"][0]  # type: ignore[index]
    assert first["e_above_hull"] == pytest.approx(-0.70 + 0.4 * 0.8 + 0.6 * 0.6)
    assert first["reaction"] == "TaB + TaB2 → Ta2B3"
    assert first["reaction_energy"] == first["e_above_hull"]
    refused = " ".join(found["refused"])  # type: ignore[arg-type]
    assert "3: no energy by PBE" in refused
    assert "4: O is not in the hull B-Ta" in refused
    assert "5: Its formation energy is not known" in refused
    assert "6: no energy by PBE" in refused
    assert found["mean_absolute_error"] == 0.03
    text = run(capsys, "hull", "place", str(tmp_path), "--system", "Ta-B")[1]
    assert "err by 30 meV/atom on average" in text


def _read(method: str, path: Path) -> object:
    from core.energy.errors import method_error

    return method_error(method, path=path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hull", "import", "nowhere.json"], "There is no file"),
        (["hull", "build", "--dataset", "none", "--system", "B-Ta"], "There is no dataset"),
        (["hull", "build", "--dataset", "starter", "--system", "B2"], "no chemical system"),
        (["hull", "build", "--dataset", "starter", "--system", "B-Ta", "--method", "PBE"], "has no energies by PBE"),
        (["hull", "aflow", "Qq"], "no chemical system"),
        (["hull", "evaluate", "Fe-O"], "There is no hull of Fe-O"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    starter: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_hull_goes_out_and_comes_in_again(
    shared: Path, starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "hull", "import", str(shared / "data" / "aflow" / "nhull_MnPdPt.json.gz"))
    for system, method in (("Mn-Pd-Pt", "AFLOW"), ("B-Ta-W", "CHGNet-0.3.0")):
        for name in ("out.json.gz", "out.csv"):
            chosen = [system, "--method", method]
            assert run(capsys, "hull", "export", chosen[0], str(tmp_path / name), *chosen[1:])[0] == 0
            back = hulls.import_hull(tmp_path / name, name=f"back {name}")
            first = hulls.get_hull(system, method, "starter" if system == "B-Ta-W" else "nhull_MnPdPt")
            assert (back.row.chemical_system, back.row.method) == (system, method)
            expected = {e.label: (e.formula, e.flag, e.space_group) for e in first.entries}
            assert {e.label: (e.formula, e.flag, e.space_group) for e in back.entries} == expected
            above = {e.label: e.above_hull for e in first.entries}
            assert {e.label: e.above_hull for e in back.entries} == pytest.approx(above, abs=2e-6)
            assert {p.label for p in back.hull.stable()} == {p.label for p in first.hull.stable()}
            if name.endswith(".gz"):
                assert [bool(e.cell) for e in back.entries] == [bool(e.cell) for e in first.entries]
                assert back.about == first.about
    assert run(capsys, "hull", "export", "B-Ta-W", "x.txt")[0] == 2


@pytest.mark.slow
def test_a_hull_is_built_and_evaluated_again_as_jobs(starter: Path) -> None:
    built = cli(starter, "hull", "build", "--dataset", "starter", "--system", "Ta-W", "--name", "proto")
    assert (built["system"], built["method"], built["status"]) == ("Ta-W", "M3GNet-MP-2021.2.8", "done")
    assert built["entries"] > 200  # type: ignore[operator]
    again = cli(
        starter, "hull", "evaluate", "Ta-W", "--potential", "chgnet", "--as-they-are", "--near", "0.02",
        "--new-name", "again",
    )  # fmt: skip
    assert (again["method"], again["name"]) == ("CHGNet-0.3.0", "again")
    shown = cli(starter, "hull", "show", "Ta-W", "--method", "CHGNet-0.3.0")
    assert shown["stable"] == again["stable"]
