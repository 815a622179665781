"""Hull files of every format: units, flags, what is refused. CHULL and web samples follow AFLOW's lists of keys."""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from core.energy import hull_files, hull_source
from core.energy.hull import ConvexHull, HullError, Phase
from core.energy.hull_files import read_hull
from core.energy.hull_source import HullFileError, HullSource

WB = {"auid": "aflow:1", "compound": "B2W2", "prototype": "33"}
WB2 = {"auid": "aflow:2", "compound": "B4W2", "prototype": "0"}
END = {"auid": "", "compound": "W1", "prototype": ""}
KEYS = "distance_hull_enthalpy_formation_atom"
NHULL = [
    {**WB, "enthalpy_formation_atom": -400.5, KEYS: 0, "flagged_entry": False, "flags": {}},
    {**WB2, "enthalpy_formation_atom": -100, KEYS: 167.0, "flagged_entry": True, "flags": {"duplicate_entry": True}},
    {**WB2, "auid": "aflow:3", "enthalpy_formation_atom": 1e12, KEYS: 1e12, "flagged_entry": True,
     "flags": {"plus_U_used": True}},
    {**END, "enthalpy_formation_atom": 3.0, KEYS: 0, "flagged_entry": False, "flags": {}},
]  # fmt: skip
CHULL = {
    "hull_data": {"aflow_version": "3.1.224", "date": "20190101_00:00:00", "species": ["B", "W"], "facets": [1]},
    "points_data": [
        {**WB, "enthalpy_formation_atom": -400.5, "enthalpy_formation_atom_difference": 0, "ground_state": True,
         "space_group_relax": "I4_{1}/amd #141"},
        {**WB2, "enthalpy_formation_atom": "-100", "enthalpy_formation_atom_difference": -167.0, "ground_state": False,
         "space_group_relax": 191},
        {**END, "enthalpy_formation_atom": 0, "enthalpy_formation_atom_difference": 0, "ground_state": True},
    ],
    "facets_data": [{"vertices_auid": ["aflow:1", ""], "artificial": False}],
}  # fmt: skip
WEB = {
    "name": "BW",
    "species": ["B", "W"],
    "dim": 2,
    "points": [
        {"auid": "aflow:1", "compound": "B2W2", "composition": [0.5, 0.5], "enthalpyFormationAtom": -0.4005,
         "distanceToHull": 0.0},
        {"auid": "aflow:2", "compound": "B4W2", "composition": [0.667, 0.333], "enthalpyFormationAtom": -0.1,
         "distanceToHull": 0.167},
    ],
}  # fmt: skip


def read(value: Any, name: str = "h.json") -> HullSource:
    return read_hull(json.dumps(value).encode(), name)


@pytest.mark.parametrize("value", [NHULL, CHULL, {**CHULL, "points_data": {"1": [], "2": CHULL["points_data"]}}, WEB])
def test_every_format_of_aflow_gives_the_same_phases_in_ev(value: Any) -> None:
    source = read(value, "3f2a-upload.json")
    assert (source.chemical_system, source.method) == ("B-W", "AFLOW")
    found = {p.label: p for p in source.phases}
    assert found["aflow:1"].formation == pytest.approx(-0.4005)
    assert found["aflow:2"].formation == pytest.approx(-0.1)
    assert found["aflow:1"].composition == {"B": 2.0, "W": 2.0}
    assert abs(source.distances["aflow:2"]) == pytest.approx(0.167)
    if "W" in found:
        assert (found["W"].formation, found["W"].source) == (0.0, "reference, at 0"), "pinned, whatever the row says"


def test_what_the_file_says_of_itself_is_kept() -> None:
    nhull, chull = read(NHULL), read(CHULL)
    assert [p.flag for p in nhull.phases] == ["", "duplicate entry", ""]
    assert [p.label for p in nhull.shaping] == ["aflow:1", "W"]
    assert nhull.left_out == {"without an energy, Hubbard U": 1}
    assert nhull.phases[0].source == "AFLOW prototype 33"
    assert chull.notes["says"]["aflow_version"] == "3.1.224"
    assert chull.notes["date"] == "20190101_00:00:00"
    assert [p.space_group for p in chull.phases] == [141, 191, 0]
    assert read(WEB).notes["says"] == {"name": "BW", "dim": 2}


def test_mixed_dft_types_do_not_meet_on_one_hull() -> None:
    rows = [{**r, "dft_type": "PAW_PBE" if i else "PAW_LDA"} for i, r in enumerate([*NHULL, {**WB, **NHULL[1]}])]
    rows[-1]["auid"] = "aflow:9"
    source = read(rows)
    assert [p.label for p in source.phases] == ["aflow:2", "W", "aflow:9"]
    assert source.left_out["of another DFT type"] == 1
    assert "h.json mixes DFT types: only PAW_PBE is on this hull, 1 of PAW_LDA are not" in source.warnings[0]
    lda = read([{**r, "dft_type": "PAW_LDA"} for r in NHULL[:2]])
    assert lda.method == "AFLOW-PAW_LDA", "of one type, but another method"


def test_entries_of_the_search_api_are_in_ev_and_keep_their_structures(shared: Path) -> None:
    page = json.loads((shared / "data" / "aflow" / "aflux_geometry_page.json").read_text())
    rows = [{**r, "enthalpy_formation_atom": -0.1 * (i + 1)} for i, r in enumerate(page)]
    source = read(rows)
    assert [p.formation for p in source.phases] == pytest.approx([-0.1, -0.2, -0.3, -0.4])
    assert all(p.cell for p in source.phases)
    assert source.left_out == {"of another DFT type": 1}
    with_u = read([{**rows[0], "ldau_type": 2}, rows[1]])
    assert with_u.left_out == {"with a Hubbard U": 1}
    numbered = read({f"{i + 1} of 4": r for i, r in enumerate(rows[:4])})
    assert [p.label for p in numbered.phases] == [r["auid"] for r in rows[:4]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "none of the hulls known here"),
        ({"a": 1}, "none of the hulls known here"),
        ("text", "none of the hulls known here"),
        ([{"compound": "BW", "enthalpy_formation_atom": -1}], "none of the hulls known here"),
        ([NHULL[0], 7], "row 2: it is no object"),
        ([NHULL[0], {**NHULL[1], "enthalpy_formation_atom": "low"}], r"row 2 \(aflow:2\): its enthalpy_formation_atom"),
        ([NHULL[0], {**NHULL[1], "compound": "Xx2"}], r"row 2 \(aflow:2\): 'Xx' is no element"),
        ([NHULL[0], {**NHULL[1], "compound": None}], "row 2 .* no compound"),
        ([NHULL[0], {**NHULL[1], "enthalpy_formation_atom": -30_000.0}], "row 2 .* is no formation energy"),
        ([{**NHULL[0], "enthalpy_formation_atom": 1e12}], "no phase with a formation energy"),
        ({**WEB, "species": ["B", "Qq"]}, "'Qq' is no element"),
        ({**WEB, "species": ["B", "C"]}, "W is no element of its system B-C"),
        ({"chemical_system": "B-W", "entries": []}, "does not say its method"),
        ({"chemical_system": "B-W", "method": "M", "entries": []}, "holds no phases"),
        ({"chemical_system": "B-W", "method": "M", "entries": [[]]}, "entry 1: it is no object"),
        ({"chemical_system": "B-W", "method": "M", "entries": [{"pretty_formula": "BW"}]}, "entry 1: None is no"),
        ({"chemical_system": "B", "method": "M", "entries": [{"pretty_formula": "BW", "enthalpy_formation_atom": -1}]},
         "W is no element of its system"),
        ({"chemical_system": "B-W", "method": "M",
          "entries": [{"auid": "x", "pretty_formula": "BW", "enthalpy_formation_atom": float("nan")}]},
         r"entry 1 \(x\): nan is no formation"),
    ],
)  # fmt: skip
def test_what_is_no_hull_is_said_with_its_row(value: Any, words: str) -> None:
    with pytest.raises(HullFileError, match=words):
        read(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("formula,formation_energy\nWB,-1\nWB2,-300\n", "line 3: '-300' is no formation energy"),
        ("formula,formation_energy\nWB,inf\n", "line 2"),
        ("formula,formation_energy\n,-1\n", "line 2: The formula is empty"),
        ("formula\nWB\n", "needs the columns"),
    ],
)
def test_a_csv_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(HullFileError, match=words):
        read_hull(text.encode(), "h.csv")


def test_a_csv_says_its_name_source_and_method() -> None:
    text = "formula,formation_energy,method,name,source,space_group,label\nWB,-0.4,PBE,mine,a paper,141,delta\n"
    source = read_hull(gzip.compress(text.encode()), "h.csv.gz")
    assert (source.name, source.method, source.source) == ("mine", "PBE", "a paper")
    assert (source.phases[0].label, source.phases[0].space_group) == ("delta", 141)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe\x00", "no text"),
        (gzip.compress(b"[]", mtime=0)[:-9], "damaged or cut off"),
        (b"\x1f\x8bnonsense", "damaged or cut off"),
        (b"[" + b"9" * 5000 + b"]", "no JSON"),
    ],
)
def test_damaged_files_are_said(data: bytes, words: str) -> None:
    with pytest.raises(HullFileError, match=words):
        read_hull(data, "h.json")


def test_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hull_files, "MAX_UNPACKED", 1_000_000)
    with pytest.raises(HullFileError, match="more than 1 MB"):
        read_hull(gzip.compress(b" " * 1_000_001, mtime=0), "bomb.json.gz")
    monkeypatch.setattr(hull_source, "MAX_PHASES", 3)
    with pytest.raises(HullFileError, match="4 phases; 3 can be read"):
        read(NHULL)


OWN = {
    "chemical_system": "B-W",
    "method": "M",
    "entries": [
        {"auid": "x", "pretty_formula": "BW", "enthalpy_formation_atom": -0.4},
        {"auid": "y", "species": ["B", "W"], "composition": [1, 1], "geometry": [3, 3, 3, 90, 90, 90],
         "positions_fractional": [[0, 0, 0], [0.5, 0.5, 0.5]], "enthalpy_formation_atom": -0.3},
    ],
}  # fmt: skip
JUNK: list[Any] = [
    None, True, 0, -1, float("inf"), float("nan"), "", "\x00", "\ud800", "Xx", "(BW)2", "B[W", "W" * 500, [], {}, [[]],
    [1, 2], 10**30, "1e5", -0.5, ["B", "W"], [0.5, 0.5], "Fe-O",
]  # fmt: skip


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [above, *(p for k in keys for p in places(value[k], (*above, k)))]


def spoiled(value: Any, rng: random.Random) -> Any:
    """A copy with junk at some place."""
    place = rng.choice(places(value)[1:])
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = rng.choice(JUNK)
    return value


@pytest.mark.parametrize("value", [NHULL, CHULL, WEB, OWN])
def test_a_spoiled_file_is_read_or_refused_in_words(value: Any) -> None:
    rng = random.Random(0)
    outcomes = set()
    for _ in range(150):
        try:
            source = read(spoiled(value, rng))
            hull = ConvexHull(
                source.chemical_system, [Phase(p.label, p.composition, p.formation) for p in source.shaping]
            )
            assert all(math.isfinite(v) for v in hull.above())
            outcomes.add("read")
        except (HullFileError, HullError) as error:
            outcomes.add(str(error).split()[0].strip(",:"))
    assert {"read", "h.json"} <= outcomes <= {"read", "h.json", "The"}, "refusals begin with the file, or The hull …"
