"""The store on SQLite and on a real Postgres: the same questions, the same answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.errors import UniqueViolation
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from db import candidates, datasets, jobs, structures
from db.session import Database, now, write_lock
from db.tables import Base, Candidate, Energy, Structure


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres")
    made = Database(url)
    made.migrate()
    yield made
    made.dispose()


def add_job(database: Database, **values: object) -> int:
    given = {"kind": "train", "title": "t", "params": {"a": [1, 2]}, "device": "cpu", **values}
    with database.session() as session:
        return jobs.add_job(session, **given)


def structure(label: str, formula: str = "TaB2") -> structures.StructureValues:
    return (label, formula, "B-Ta", 3, 191, b"\x00\x01" + label.encode())


def test_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    database.migrate()  # a second time changes nothing
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_servers_that_start_together_migrate_once(tmp_path: Path) -> None:
    url, failures = f"sqlite:///{tmp_path / 'y.db'}", []

    def start() -> None:
        try:
            Database(url).migrate()
        except Exception as error:  # collected for the assertion
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_failed_block_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.session() as session:
            structures.add_import(session, "x", "file")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.session() as session:
        assert structures.unfinished_imports(session) == []


def test_structures_come_back_in_the_order_asked_with_their_energies(database: Database) -> None:
    with database.session() as session:
        import_id = structures.add_import(session, "x", "file")
        made = [structure(f"s{i}") for i in range(3000)]
        energies = [(i, "M", None, -0.1 * i) for i in range(0, 3000, 2)]
        ids = structures.add_structures(session, import_id, made, energies)
    with database.session() as session:
        wanted = [ids[7], ids[2999], ids[0], 10**9]
        assert [s.label for s in structures.get_structures(session, wanted)] == ["s7", "s2999", "s0"]
        assert structures.structures_of_import(session, import_id) == ids
        found = {e.structure_id: e.formation for e in structures.get_energies(session, [ids[2], ids[3]], "M")}
        assert found == {ids[2]: pytest.approx(-0.2)}
        assert structures.methods_of_import(session, import_id) == {"M": 1500}
        assert structures.get_structures(session, [ids[5]])[0].cell == b"\x00\x01s5"


def test_a_label_stands_once_in_an_import(database: Database) -> None:
    with database.session() as session:
        first, second = (structures.add_import(session, n, "file") for n in "ab")
        for import_id in (first, second):
            structures.add_structures(session, import_id, [structure("same")])
    with pytest.raises((IntegrityError, UniqueViolation)), database.session() as session:
        structures.add_structures(session, first, [structure("same")])


def test_dropping_an_import_takes_all_that_belongs_to_it(database: Database) -> None:
    with database.session() as session:
        import_id = structures.add_import(session, "x", "file")
        structures.add_structures(session, import_id, [structure("a")], [(0, "M", 1.0, 0.0)])
        structures.add_skipped(session, import_id, [("line 2", "malformed", "it is no JSON")])
    with database.session() as session:
        assert structures.count_skipped(session, [import_id]) == {"malformed": 1}
        structures.drop_import(session, import_id)
    with database.session() as session:
        for table in (Structure, Energy):
            assert session.scalar(select(func.count()).select_from(table)) == 0
        assert structures.count_skipped(session, [import_id]) == {}


def test_an_import_in_use_cannot_be_dropped(database: Database) -> None:
    with database.session() as session:
        import_id = structures.add_import(session, "x", "file")
        datasets.add_dataset(session, [import_id], name="d", hash="h", method="", recipe={}, summary={"n": 1})
    with pytest.raises(IntegrityError), database.session() as session:
        structures.drop_import(session, import_id)
    with database.session() as session:
        found = datasets.find_dataset(session, "h")
        assert found is not None
        assert (found.name, found.summary) == ("d", {"n": 1})
        datasets.drop_dataset(session, found.id)
        structures.drop_import(session, import_id)


def test_a_status_changes_once(database: Database) -> None:
    job_id = add_job(database)
    with database.session() as session:
        assert jobs.change_status(session, job_id, "queued", "running", attempts=1, heartbeat=now(session))
        assert not jobs.change_status(session, job_id, "queued", "running", attempts=2)
        assert not jobs.change_status(session, job_id, "running", "done", 7), "another attempt's worker has no say"


def test_only_one_of_many_claims_a_job(database: Database) -> None:
    """Ten sessions at once: the lock and the compare-and-set let one win."""
    job_id, won = add_job(database), []

    def claim() -> None:
        with database.session() as session:
            write_lock(session)
            if jobs.running_on(session, "cpu") == 0 and jobs.change_status(session, job_id, "queued", "running"):
                won.append(1)

    threads = [threading.Thread(target=claim) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_what_reads_before_it_writes_is_not_ended_by_another_writer(database: Database) -> None:
    """As SQLite does with a plain session: "database is locked" at once."""
    job_id = add_job(database)

    def beat() -> None:
        with database.session() as session:
            jobs.update_job(session, job_id, progress=0.5)

    heart = threading.Thread(target=beat)
    with database.writing() as session:
        assert jobs.get_job(session, job_id) is not None
        heart.start()
        heart.join(timeout=0.5)
        jobs.update_job(session, job_id, message="read")
        session.commit()
    heart.join()
    with database.session() as session:
        job = jobs.get_job(session, job_id)
        assert job is not None
        assert (job.message, job.progress) == ("read", 0.5)


def test_a_heartbeat_belongs_to_its_attempt_and_tells_of_cancelling(database: Database) -> None:
    job_id = add_job(database)
    with database.session() as session:
        jobs.change_status(session, job_id, "queued", "running", attempts=1, heartbeat=now(session))
        assert jobs.beat(session, job_id, 1) is None
        jobs.update_job(session, job_id, cancel_requested_at=now(session))
        assert jobs.beat(session, job_id, 1) is not None
        ((job, age, asked),) = jobs.ages(session)
        assert job.id == job_id
        assert 0 <= age < 5
        assert asked is not None
        assert 0 <= asked < 5
    with pytest.raises(LookupError), database.session() as session:
        jobs.beat(session, job_id, 2)


def test_metrics_of_a_step_are_replaced(database: Database) -> None:
    job_id = add_job(database)
    with database.session() as session:
        jobs.write_metrics(session, job_id, [(1, "loss", 3.0), (2, "loss", 2.0), (2, "rate", 9.0)])
        jobs.write_metrics(session, job_id, [(2, "loss", 1.5)])
        assert jobs.read_metrics(session, job_id, ["loss"]) == [(1, "loss", 3.0), (2, "loss", 1.5)]
        assert jobs.read_metrics(session, job_id, ["loss"], after=1) == [(2, "loss", 1.5)]
        jobs.write_metrics(session, job_id, [(1, "rate", 8.0), (3, "loss", 1.0)])
        assert jobs.read_metrics(session, job_id, ["rate"]) == [(1, "rate", 8.0), (2, "rate", 9.0)], "others stay"
        assert len(jobs.read_metrics(session, job_id, ["loss"])) == 3


def test_long_series_are_thinned_and_their_extremes_are_known(database: Database) -> None:
    first, second = add_job(database), add_job(database)
    rows = [(s, "loss", abs(s - 700.0)) for s in range(1000)] + [(s, "rate", s % 500) for s in range(0, 1000, 100)]
    with database.session() as session:
        jobs.write_metrics(session, first, rows)
        jobs.write_metrics(session, second, [(5, "loss", 2.0)])
        thin = jobs.thinned_metrics(session, first, ["loss", "rate"], most=100)
        losses = [(s, v) for s, n, v in thin if n == "loss"]
        assert len(losses) == 100
        assert losses[-1] == (999, 299.0)
        assert losses == sorted(losses)
        assert jobs.thinned_metrics(session, first, ["loss"], 100, after=950) == rows[951:1000]
        lowest = jobs.extreme_metrics(session, [first, second], ["loss"], highest=False)
        assert lowest == {(first, "loss"): (700, 0.0), (second, "loss"): (5, 2.0)}
        assert jobs.extreme_metrics(session, [first], ["rate"], highest=True) == {(first, "rate"): (400, 400.0)}


def candidate(job_id: int, index: int, **values: object) -> dict[str, object]:
    given = {
        "job_id": job_id,
        "index": index,
        "model": "m",
        "formula": "Ta1B2",
        "reduced_formula": "TaB2",
        "chemical_system": "B-Ta",
        "natoms": 3,
        "energy_method": "M",
        "valid": True,
        "problem": "",
        "cell": b"x",
    }
    return {**given, **values}


def test_candidates_are_filtered_and_paged_by_the_database(database: Database) -> None:
    job_id = add_job(database)
    with database.session() as session:
        made = [candidate(job_id, i, valid=i % 2 == 0, chemical_system="B-Ta" if i < 80 else "B-W") for i in range(100)]
        candidates.add_candidates(session, made)
    wanted = candidates.CandidateFilter(job_id=job_id, chemical_system="B-Ta", valid=True)
    with database.session() as session:
        assert candidates.count_candidates(session, wanted) == 40
        assert [c.index for c in candidates.page_candidates(session, wanted, limit=3, offset=2)] == [4, 6, 8]
        assert candidates.runs(session) == [(job_id, "m", 100)]
        assert candidates.candidate_indices(session, job_id) == set(range(100))


def test_a_second_relaxation_by_a_method_replaces_the_first(database: Database) -> None:
    job_id = add_job(database)
    with database.session() as session:
        candidates.add_candidates(session, [candidate(job_id, 0)])
        (found,) = session.scalars(select(Candidate))
        for steps in (5, 9):
            candidates.put_relaxation(session, candidate_id=found.id, method="M", status="converged", steps=steps)
        candidates.put_relaxation(session, candidate_id=found.id, method="N", status="converged", steps=1)
        assert [r.steps for r in candidates.relaxations(session, [found.id], "M")] == [9]
        assert len(candidates.relaxations(session, [found.id])) == 2
