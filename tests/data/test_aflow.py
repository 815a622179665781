"""The AFLUX client against real replies from a server that also misbehaves; summons; entries and their oddities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Structure

from core.data.aflow.client import AfluxClient, AfluxError, Progress
from core.data.aflow.entries import as_row, dft_type, parse_rest_text
from core.data.aflow.query import Query, check_summons, summons
from core.data.readers.parsing import parse_chunk
from core.data.readers.records import from_row
from core.data.readers.sources import Raw
from tests.aflux_server import FAULTS, REFUSALS, AfluxServer
from tests.data.test_readers import structure_of


@pytest.fixture
def replies(shared: Path) -> list[dict[str, Any]]:
    """350 real entries of one reply."""
    return list(json.loads((shared / "data" / "aflow" / "aflux_15.json").read_text()).values())


@pytest.fixture
def pages(shared: Path) -> list[dict[str, Any]]:
    """Real entries with positions."""
    found: list[dict[str, Any]] = json.loads((shared / "data" / "aflow" / "aflux_geometry_page.json").read_text())
    return found


class Sleeps(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client_of(server: AfluxServer, sleep: Sleeps | None = None, **changes: Any) -> AfluxClient:
    values = {
        "page_size": 64,
        "timeout_s": 0.3,
        "pause_s": 0.01,
        "retries": 3,
        "sleep": Sleeps() if sleep is None else sleep,
        **changes,
    }
    return AfluxClient(server.url, **values)


def fetch(server: AfluxServer, **changes: Any) -> list[str]:
    return [e["auid"] for page, _ in client_of(server, **changes).walk("species(Zn)", set()) for e in page.entries]


def test_every_entry_comes_once_one_request_at_a_time(replies: list[dict[str, Any]]) -> None:
    sleeps = Sleeps()
    with AfluxServer(replies) as server:
        assert client_of(server).count("species(Zn)") == 350
        assert fetch(server, sleep=sleeps) == [e["auid"] for e in replies]
        assert [r.split("paging")[1] for r in server.requests[1:]] == [f"({i},64)" for i in range(1, 7)]
        assert server.most_active == 1
    assert sleeps == [0.01] * 5, "it waits between pages"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stumble_loses_and_doubles_nothing(replies: list[dict[str, Any]], fault: str) -> None:
    sleeps = Sleeps()
    with AfluxServer(replies, faults={2: fault, 3: fault, 6: fault}) as server:
        assert fetch(server, sleep=sleeps) == [e["auid"] for e in replies]
        assert len(server.requests) == 9
    assert len([s for s in sleeps if s >= 1]) == 3
    if fault == "429":
        assert sleeps.count(7.0) == 3, "it waits as long as it was asked to"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_never_recovers_is_given_up_in_words(replies: list[dict[str, Any]], fault: str) -> None:
    with AfluxServer(replies, always=fault) as server, pytest.raises(AfluxError, match=r"AFLOW .* 4 times .*Try again"):
        fetch(server)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_said_at_once(replies: list[dict[str, Any]], refusal: str) -> None:
    with AfluxServer(replies, always=refusal) as server:
        with pytest.raises(AfluxError, match=r"refused|elsewhere"):
            fetch(server)
        assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_said() -> None:
    client = AfluxClient("http://127.0.0.1:9/", retries=1, sleep=Sleeps())
    with pytest.raises(AfluxError, match="cannot be reached"):
        client.count("species(Zn)")


@pytest.mark.parametrize("as_list", [False, True])
def test_an_endless_last_page_ends(replies: list[dict[str, Any]], as_list: bool) -> None:
    with AfluxServer(replies[:200], endless=True, as_list=as_list) as server:
        assert fetch(server) == [e["auid"] for e in replies[:200]]
        assert len(server.requests) <= 9


def test_a_changing_order_loses_nothing(replies: list[dict[str, Any]]) -> None:
    """Pages that overlap differently each time: further passes bring what was missed."""
    with AfluxServer(replies[:150], order="shuffled") as server:
        found = fetch(server, page_size=100)
        assert len(found) == len(set(found))
        assert len(found) >= 140
        assert len(server.requests) <= 7


def test_an_entry_in_two_catalogs_comes_once_and_costs_no_second_walk(replies: list[dict[str, Any]]) -> None:
    again = [{**e, "aurl": e["aurl"] + "/other"} for e in replies[:40]]
    with AfluxServer([*replies[:150], *again]) as server:
        assert fetch(server) == [e["auid"] for e in replies[:150]]
        assert len(server.requests) == 3


def test_a_server_with_smaller_pages_than_asked_for_is_read_to_its_end(replies: list[dict[str, Any]]) -> None:
    with AfluxServer(replies, largest=50) as server:
        assert fetch(server) == [e["auid"] for e in replies]
        assert len(server.requests) == 7


@pytest.mark.parametrize("page", [2, 6])
def test_an_empty_page_amid_entries_is_gone_back_to(replies: list[dict[str, Any]], page: int) -> None:
    with AfluxServer(replies, faults={page: "empty"}) as server:
        found = fetch(server)
        assert len(found) == 350
        assert set(found) == {e["auid"] for e in replies}


def test_the_count_stays_known_where_a_later_reply_does_not_say_it(replies: list[dict[str, Any]]) -> None:
    odd = {k: v for k, v in replies[0].items() if k != "auid"}  # never complete, so that a second pass follows
    with AfluxServer([*replies[:100], odd], faults={3: "empty"}) as server:
        assert {page.total for page, _ in client_of(server).walk("species(Zn)", set())} == {101}


def test_a_refusal_amid_pages_is_a_stumble(replies: list[dict[str, Any]]) -> None:
    """The server says so too when it is overloaded; the first page showed that the summons is good."""
    with AfluxServer(replies, faults={3: "db fail"}) as server:
        assert fetch(server) == [e["auid"] for e in replies]
        assert len(server.requests) == 7


def test_nothing_that_matches_is_no_fault(replies: list[dict[str, Any]]) -> None:
    with AfluxServer([]) as server:
        assert client_of(server).count("species(Zn)") == 0
        assert fetch(server) == []


def test_a_cut_walk_goes_on_at_its_page(replies: list[dict[str, Any]]) -> None:
    with AfluxServer(replies) as server:
        seen: set[str] = set()
        walk = client_of(server).walk("species(Zn)", seen)
        pages = [next(walk) for _ in range(2)]
        walk.close()
        assert pages[-1][1] == Progress(3, 1, 128)
        rest = [e["auid"] for p, _ in client_of(server).walk("species(Zn)", seen, pages[-1][1]) for e in p.entries]
        assert [e["auid"] for p, _ in pages for e in p.entries] + rest == [e["auid"] for e in replies]
        assert len(server.requests) == 6


def test_old_replies_have_numbers_as_strings(shared: Path) -> None:
    entries = json.loads((shared / "data" / "aflow" / "aflux_2017_numbers_as_strings.json").read_text())
    with AfluxServer(list(entries.values())) as server:
        assert len(fetch(server)) == 20
    row = as_row(
        {
            "auid": "aflow:1", "species": "B,Ta_pv", "composition": "2,1", "geometry": "3.1,3.1,3.3,90,90,120",
            "positions_fractional": "0.3333,0.6667,0.5;0.6667,0.3333,0.5;0,0,0", "enthalpy_formation_atom": "-0.6",
            "spacegroup_relax": "191", "energy_cell": "-24.0", "aflowlib_date": ["a", "b"], "Egap": None,
        }
    )  # fmt: skip
    record = from_row(row, "x", "")
    assert (record.formula, record.natoms, record.space_group) == ("TaB2", 3, 191)
    assert record.energies == {"AFLOW": (-8.0, -0.6)}


def test_real_entries_become_structures(pages: list[dict[str, Any]]) -> None:
    for entry in pages:
        record = from_row(as_row(entry), "x", "")
        frac = structure_of(record).frac_coords
        assert ((frac >= 0) & (frac < 1)).all()
        method = "AFLOW-PAW_LDA" if "LDA" in entry["aurl"] else "AFLOW"
        assert record.energies == {method: (pytest.approx(entry["energy_cell"] / record.natoms), None)}
    assert [dft_type(e) for e in pages] == ["PAW_PBE"] * 4 + ["PAW_LDA"]


def test_a_rest_page_is_the_structure_of_its_cif(shared: Path) -> None:
    folder = shared / "data" / "aflow"
    entry = parse_rest_text((folder / "rest_entry_AlCu2Mn.html").read_text())
    record = from_row(as_row(entry), "x", "")
    assert structure_of(record).matches(Structure.from_file(folder / "rest_AlCu2Mn.cif"), scale=False)
    assert record.energies["AFLOW"] == pytest.approx((-5.33975, -0.155046))
    fields = " | ".join(f"{k}={v}" for k, v in entry.items())
    assert parse_rest_text(fields)["geometry"] == entry["geometry"]
    assert parse_rest_text("hello\nworld=1") == {}


BORIDE = {
    "auid": "aflow:1", "species": "B,Ta_pv", "composition": "2,1", "geometry": "3.1,3.1,3.3,90,90,120",
    "positions_fractional": "0.3333,0.6667,0.5;0.6667,0.3333,0.5;0,0,0", "enthalpy_formation_atom": "-0.6",
}  # fmt: skip


@pytest.mark.parametrize("group", ["inf", "nan", "1e400", "", "x", [191], -1, 0, 231])
def test_a_group_that_is_none_is_found_anew_and_the_file_goes_on(group: Any) -> None:
    rows = [Raw("json", str(i), json.dumps({**BORIDE, "spacegroup_relax": g})) for i, g in enumerate([group, 191])]
    records, problems = parse_chunk((rows, "AFLOW", ()))
    assert [r.space_group for r in records] == [191, 191]
    assert problems == []


@pytest.mark.parametrize(
    ("changes", "formula"),
    [({"species": "B:Ta_pv"}, "TaB2"), ({"species": ["B_h", "Ta_pv"]}, "TaB2"),
     ({"species": "Ta", "composition": 1, "positions_fractional": [0, 0, 0]}, "Ta"),
     ({"species": ["Ta"], "composition": "1", "positions_fractional": "0,0,0"}, "Ta")],
)  # fmt: skip
def test_lists_come_in_many_forms(changes: dict[str, Any], formula: str) -> None:
    assert from_row(as_row({**BORIDE, **changes}), "x", "").formula == formula


@pytest.mark.parametrize(
    ("entry", "kind"),
    [({"dft_type": ["PAW_PBE", "PAW_PBE"]}, "PAW_PBE"), ({"dft_type": "PAW_PBE,HSE06"}, "PAW_PBE+HSE06"),
     ({"dft_type": ["PAW_PBE", "PAW_LDA"]}, "PAW_PBE+PAW_LDA"), ({"dft_type": [None]}, "PAW_PBE"), ({}, "PAW_PBE"),
     ({"aurl": "x:AFLOWDATA/LIB1_WEB/H_h:PAW_LDA:04May1998/A2"}, "PAW_LDA"),
     ({"aurl": "x:AFLOWDATA/LIB1_WEB/Ag:PAW_PBE_KIN:SCAN:02Apr2005/A1"}, "PAW_PBE_KIN:SCAN"),
     ({"aurl": "x:AFLOWDATA/LIB3_RAW/Bi_dRh_pvTi_sv/T0003.ABC"}, "PAW_PBE")],
)  # fmt: skip
def test_only_one_level_of_theory_is_called_aflow(entry: dict[str, Any], kind: str) -> None:
    assert dft_type(entry) == kind
    assert as_row(entry)["energy_source"] == ("AFLOW" if kind == "PAW_PBE" else f"AFLOW-{kind}")


@pytest.mark.parametrize(
    ("entry", "source"),
    [({"aurl": "x:AFLOWDATA/LIB3_RAW/Bi_dRh_pvTi_sv/T0003.ABC:LDAU2"}, "AFLOW+U"), ({"ldau_type": 2}, "AFLOW+U"),
     ({"ldau_type": "2", "dft_type": ["PAW_LDA"]}, "AFLOW-PAW_LDA+U"), ({"ldau_type": 0}, "AFLOW"),
     ({"ldau_type": "0", "ldau_TLUJ": "0"}, "AFLOW"), ({"ldau_type": None}, "AFLOW"), ({"ldau_type": ""}, "AFLOW"),
     ({"ldau_TLUJ": "2;2,0,0;5,0,0;0,0,0"}, "AFLOW+U")],
)  # fmt: skip
def test_energies_with_a_hubbard_u_are_a_method_of_their_own(entry: dict[str, Any], source: str) -> None:
    assert as_row(entry)["energy_source"] == source


def test_a_summons_asks_for_what_was_picked() -> None:
    text = summons(Query(("B", "Ta", "W"), "all", (3, 3), (4, 60), (12, 225), (-5.0, 0.5), ("ICSD", "LIB3")))
    assert text.startswith(
        "species(B,Ta,W),nspecies(3),natoms(4*,*60),enthalpy_formation_atom(-5*,*0.5),spacegroup_relax(12:225),"
        "catalog(ICSD:LIB3),dft_type(PAW_PBE),"
    )
    for name in ("auid", "geometry", "positions_fractional", "composition"):
        assert f",{name}" in text
    only = summons(Query(("B", "W")))
    assert only.startswith("species((B:W),!H,")
    assert "!B," not in only
    assert summons(Query(("B", "W"), "any")).startswith("species(B:W),")
    exact = summons(Query(("B", "W"), nspecies=(2, 2)))
    assert exact.startswith("species(B,W),nspecies(2),"), "two of two elements: nothing needs to be ruled out"
    small = summons(Query(("B",), "any", natoms=(1, 2_000_000), energy=(-5e-5, 0.1234567)))
    assert "natoms(1*,*2000000),enthalpy_formation_atom(-0.00005*,*0.1234567)," in small


@pytest.mark.parametrize(
    ("query", "words"),
    [(Query(), "at least"), (Query(("Qq",)), "no element"), (Query(("B",), nspecies=(3, 2)), "is above"),
     (Query(("B",), "some"), "none of"), (Query(groups=(231,)), "1 to 230"),
     (Query(("B",), energy=(float("nan"), 0)), "no number")],
)  # fmt: skip
def test_a_query_that_cannot_be_asked_is_refused(query: Query, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        summons(query)


def test_a_summons_by_hand_is_made_ready_or_refused() -> None:
    pasted = "https://aflow.org/API/aflux/?species(Cr),\n catalog(ICSD),paging(1),format(json)"
    text = check_summons(pasted)
    assert text.startswith("species(Cr),catalog(ICSD),")
    assert "paging" not in text
    assert "format(" not in text
    assert "positions_fractional" in text
    assert check_summons(text) == text
    assert check_summons("species(Cr),$auid,$geometry,$catalog(ICSD)").startswith(
        "species(Cr),auid,geometry,catalog(ICSD)"
    )
    assert check_summons("$format(json),species(Cr),,$paging(1,5),$Egap").startswith("species(Cr),$Egap,")
    encoded = "aflow.org/API/aflux/?Pearson_symbol_relax(*%27F%27*),species(Cr%2CO)&"
    assert check_summons(encoded.rstrip("&")).startswith("Pearson_symbol_relax(*'F'*),species(Cr,O),")
    assert check_summons("http://aflow.org/API/aflux?species(Cr)") == check_summons("?species(Cr)")
    for bad in ("species)Cr(", "species(Cr)\nnspecies(2)", "species(Cr) nspecies(2)", "species(Cr)%23x", "$", "!"):
        with pytest.raises(ValueError, match=r"summons"):
            check_summons(bad)
    for bad in ("", "  ", "paging(1)", "species(Cr", "species(Cr)#x", "species(Cr)&x=1", "a" * 5000, "species(Cr)\x00"):
        with pytest.raises(ValueError, match=r"summons"):
            check_summons(bad)
