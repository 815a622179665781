"""Lists of candidates on SQLite and Postgres, against the same questions asked of a table in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import insert

from db import candidate_counts, candidates, hulls, jobs
from db.candidate_lists import ORDERS, CandidateFilter, Placing
from db.session import Database
from db.tables import Candidate, Relaxation

GONE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SYSTEMS = {"TaB2": "B-Ta", "TaB": "B-Ta", "WB2": "B-W", "TaWB6": "B-Ta-W"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, pd.DataFrame, Placing]]:
    folder: Path = tmp_path_factory.mktemp("db")
    url = f"sqlite:///{folder / 'x.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server")
    database = Database(url)
    database.migrate()
    yield database, *fill(database)
    database.dispose()


def fill(database: Database) -> tuple[pd.DataFrame, Placing]:
    """300 candidates of three runs, most of their properties unknown now and then; two thirds relaxed."""
    rng = np.random.default_rng(1)
    with database.session() as session:
        runs = [jobs.add_job(session, kind="generate", title="t", params={}, device="cpu") for _ in range(3)]
        hull_ids = {}
        for system in ("B-Ta", "B-Ta-W"):
            hull_ids[system] = hulls.add_hull(session, [], chemical_system=system, method="M", name="x", notes={})
        levels = {"TaB2": -0.6, "TaB": -0.5, "TaWB6": -0.3}
        for formula, level in levels.items():
            hulls.add_levels(session, hull_ids[SYSTEMS[formula]], {formula: level})
        values = [values_of(i, runs, rng) for i in range(300)]
        candidates.add_candidates(session, values)
        data = pd.DataFrame(values)
        asked = (CandidateFilter(), CandidateFilter(deleted=True))
        data["id"] = sorted(i for wanted in asked for i in candidates.ordered_ids(session, wanted, 300))
        relaxed = [relaxed_values(int(i), rng) for i in data["id"] if rng.random() < 0.66]
        session.execute(insert(Relaxation), relaxed)
    known = pd.DataFrame(relaxed)
    mine = known[known["method"] == "M"].set_index("candidate_id")
    data["energy"] = data["id"].map(mine["formation_after"])
    data["drawn"] = data["id"].map(mine["formation_before"])
    data["relaxed"] = data["id"].map(mine["total_after"]).notna()
    data["relaxed by any"] = data["id"].isin(known.loc[known["total_after"].notna(), "candidate_id"])
    data["above"] = data["energy"] - data["reduced_formula"].map(levels)
    return data, Placing("M", (("B-Ta", hull_ids["B-Ta"]), ("B-Ta-W", hull_ids["B-Ta-W"])))


def values_of(number: int, runs: list[int], rng: np.random.Generator) -> dict[str, Any]:
    formula = str(rng.choice(list(SYSTEMS)))

    def maybe(value: Any) -> Any:
        return value if rng.random() < 0.8 else None

    return {
        "job_id": runs[number % 3],
        "index": number // 3,
        "model": f"m{rng.integers(2)}",
        "formula": formula,
        "reduced_formula": formula,
        "chemical_system": SYSTEMS[formula],
        "natoms": int(rng.integers(2, 20)),
        "group_asked": maybe(int(rng.choice([12, 62, 191]))),
        "group_found": maybe(int(rng.choice([1, 12, 191]))),
        "energy_asked": maybe(-float(rng.integers(1, 9)) / 10),
        "min_distance": maybe(float(rng.random())),
        "volume": maybe(float(rng.random())),
        "valid": bool(rng.random() < 0.7),
        "novel": maybe(bool(rng.random() < 0.7)),
        "unique": maybe(bool(rng.random() < 0.7)),
        "charge_balanced": maybe(bool(rng.random() < 0.5)),
        "displacement": maybe(float(rng.random())),
        "volume_change": maybe(float(rng.random())),
        "starred": bool(rng.random() < 0.2),
        "series": str(rng.choice(["", "0.01"])),
        "note": str(rng.choice(["", "look", "poor"])),
        "deleted_at": GONE if rng.random() < 0.15 else None,
        "cell": b"x",
    }


def relaxed_values(candidate: int, rng: np.random.Generator) -> dict[str, Any]:
    """By M or another method; some with no more than an energy as drawn, or none by the elements' references."""
    energy, kind = float(rng.normal(-0.5, 0.2)), rng.random()
    after = None if kind < 0.2 else energy
    return {
        "candidate_id": candidate,
        "method": "M" if rng.random() < 0.8 else "N",
        "status": "converged" if after is not None else "energy as drawn",
        "total_before": energy,
        "total_after": None if after is None else energy - 5,
        "formation_before": energy + 0.1,
        "formation_after": None if kind < 0.3 else after,
        "cell": None if after is None else b"y",
    }


Passes = Callable[[pd.DataFrame], pd.Series]
FILTERS: list[tuple[CandidateFilter, Passes]] = [
    (CandidateFilter(), lambda d: d["valid"] | True),
    (CandidateFilter(model="m1"), lambda d: d["model"] == "m1"),
    (CandidateFilter(reduced_formula="TaB2"), lambda d: d["reduced_formula"] == "TaB2"),
    (CandidateFilter(chemical_system="B-Ta"), lambda d: d["chemical_system"] == "B-Ta"),
    (CandidateFilter(valid=False), lambda d: ~d["valid"]),
    (CandidateFilter(group_asked=62), lambda d: d["group_asked"] == 62),
    (CandidateFilter(group_found=191), lambda d: d["group_found"] == 191),
    (CandidateFilter(novel=True), lambda d: d["novel"].eq(True)),
    (CandidateFilter(novel=False), lambda d: d["novel"].eq(False)),
    (CandidateFilter(unique=True), lambda d: d["unique"].eq(True)),
    (CandidateFilter(charge_balanced=False), lambda d: d["charge_balanced"].eq(False)),
    (CandidateFilter(starred=True), lambda d: d["starred"]),
    (CandidateFilter(series="0.01"), lambda d: d["series"] == "0.01"),
    (CandidateFilter(relaxed=True), lambda d: d["relaxed"]),
    (CandidateFilter(relaxed=False), lambda d: ~d["relaxed"]),
    (CandidateFilter(usable=True), lambda d: d["valid"] | d["relaxed by any"]),
    (CandidateFilter(usable=False), lambda d: ~(d["valid"] | d["relaxed by any"])),
    (CandidateFilter(above=0.0), lambda d: d["above"] <= 0.0),
    (
        CandidateFilter(chemical_system="B-Ta", valid=True, novel=True, relaxed=True, above=0.1),
        lambda d: (d["chemical_system"] == "B-Ta") & d["valid"] & d["novel"].eq(True) & (d["above"] <= 0.1),
    ),
    (CandidateFilter(reduced_formula="x'; DROP TABLE candidates --"), lambda d: d["valid"] & False),
]


def test_every_filter_lets_through_what_a_table_in_memory_does(filled: tuple[Database, pd.DataFrame, Placing]) -> None:
    database, data, placing = filled
    with database.session() as session:
        for wanted, passes in FILTERS:
            for deleted in (False, True):
                there = data[passes(data) & (data["deleted_at"].notna() == deleted)]
                asked = CandidateFilter(**{**vars(wanted), "deleted": deleted})
                found = candidates.ordered_ids(session, asked, 1000, placing=placing)
                assert sorted(found) == sorted(there["id"].tolist()), asked
                assert candidates.count_candidates(session, asked, placing) == len(there)
        for run in data["job_id"].unique().tolist():
            expected = int(((data["job_id"] == run) & data["deleted_at"].isna()).sum())
            assert candidates.count_candidates(session, CandidateFilter(job_id=run)) == expected
            assert len(candidates.candidate_indices(session, run)) == 100, "what is in the bin was drawn already"


@pytest.mark.parametrize("descending", [False, True])
def test_every_order_is_that_of_a_table_in_memory(
    filled: tuple[Database, pd.DataFrame, Placing], descending: bool
) -> None:
    database, data, placing = filled
    there = data[data["deleted_at"].isna()]
    with database.session() as session:
        for order, columns in ORDERS.items():
            found = candidates.ordered_ids(session, CandidateFilter(), 1000, 0, order, descending, placing)
            assert sorted(found) == sorted(there["id"].tolist())
            by_id = there.set_index("id").loc[found]
            keys = [tuple(key(by_id[c].iloc[i], descending) for c in columns) for i in range(len(found))]
            ties = [(-j if columns or not descending else j, i)
                    for j, i in zip(by_id["job_id"], by_id["index"], strict=True)]  # fmt: skip
            both = list(zip(keys, ties, strict=True))
            assert both == sorted(both), order
            pages = [
                i
                for start in range(0, len(found), 37)
                for i in candidates.ordered_ids(session, CandidateFilter(), 37, start, order, descending, placing)
            ]
            assert pages == found, "pages hold each candidate once"


def key(value: Any, descending: bool) -> tuple[bool, Any]:
    """What sorts like the database: unknown values last, whatever the direction."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True, 0
    if isinstance(value, str):
        return False, tuple(-ord(c) for c in value) + ((1,) if descending else ()) if descending else value
    return False, -float(value) if descending else float(value)


def test_counts_and_samples_are_those_of_a_table_in_memory(filled: tuple[Database, pd.DataFrame, Placing]) -> None:
    database, data, placing = filled
    there = data[data["deleted_at"].isna()]
    with database.session() as session:
        for column in candidate_counts.COLUMNS:
            counted = there[column].dropna()
            expected = counted[counted != ""].value_counts().to_dict()
            assert dict(candidate_counts.values_of(session, column)) == expected
        found = candidate_counts.summary(session, CandidateFilter(), placing)
        valid = there[there["valid"]]
        assert (found.count, found.valid, found.novel, found.unique, found.relaxed, found.placed) == (
            len(there), len(valid), int(valid["novel"].eq(True).sum()), int(valid["unique"].eq(True).sum()),
            int(there["relaxed"].sum()), int(there["above"].notna().sum()),
        )  # fmt: skip
        assert found.lowest == pytest.approx(there["above"].min())
        placed = there.dropna(subset=["above"])
        above = candidate_counts.above_hulls(session, CandidateFilter(), placing, 10_000)
        assert sorted(a for _, _, a in above) == pytest.approx(sorted(placed["above"]))
        assert {f for f, _, _ in above} == set(placed["reduced_formula"])
        few = candidate_counts.above_hulls(session, CandidateFilter(), placing, 10)
        assert len(few) == 10
        assert few == candidate_counts.above_hulls(session, CandidateFilter(), placing, 10)
        for v in candidate_counts.verdicts(session, "group_asked", CandidateFilter()):
            some = there[there["group_asked"] == v.value]
            fresh = some["valid"] & some["novel"].eq(True) & some["unique"].eq(True)
            assert (v.count, v.valid, v.fresh) == (len(some), int(some["valid"].sum()), int(fresh.sum()))
        sample = candidate_counts.sample(session, CandidateFilter(), placing, 10_000)
        energies = there.dropna(subset=["energy"]).set_index("id")["energy"].to_dict()
        assert {s["id"]: s["energy"] for s in sample} == pytest.approx(energies)
        few = candidate_counts.sample(session, CandidateFilter(), placing, 20)
        assert few == sample[:20], "the same ones each time"
        assert candidate_counts.sample(session, CandidateFilter(), placing, 10, kind="modify") == []


def test_stars_notes_and_the_bin(filled: tuple[Database, pd.DataFrame, Placing]) -> None:
    database, data, placing = filled
    low = CandidateFilter(above=0.0)
    at = datetime(2026, 2, 3, 4, 5, 6, 1, tzinfo=UTC)
    with database.session() as session:
        ids = candidates.ordered_ids(session, low, 1000, placing=placing)
        before = candidates.count_candidates(session, CandidateFilter())
        starred = candidates.count_candidates(session, CandidateFilter(above=0.0, starred=True), placing)
        assert candidates.star(session, low, True, placing) == len(ids) - starred
        assert candidates.put_note(session, ids[:2], "mine") == 2
        assert candidates.put_in_bin(session, low, at, placing) == len(ids) > 3
        assert candidates.put_in_bin(session, ids, GONE) == 0, "they lie in it already, by the first deletion"
        assert candidates.get_candidates(session, ids) == []
        assert candidates.find_candidate(session, *position(session, ids[0])) is None
        assert candidates.deleted_at(session, at) == len(ids)
        assert not set(candidates.relaxed_candidates(session, list(SYSTEMS.values()), "M", limit=1000)) & set(ids)
        assert sum(n for _, _, n in candidates.runs(session)) == before - len(ids)
    with database.session() as session:
        assert candidates.restore(session, at) == len(ids)
        assert candidates.count_candidates(session, CandidateFilter()) == before
        back = candidates.get_candidates(session, ids)
        assert [c.note for c in back[:2]] == ["mine", "mine"]
        assert all(c.starred for c in back)
        assert candidates.count_candidates(session, CandidateFilter(deleted=True)) == data["deleted_at"].notna().sum()


def position(session: Any, candidate: int) -> tuple[int, int]:
    row = session.get(Candidate, candidate)
    return row.job_id, row.index
