"""Roles, owners, quotas and the audit log in the workflows, on SQLite and on a real Postgres."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.cli.main import main
from core.jobs import queue
from core.jobs.shards import submit_relaxation
from core.workflows import acting, audit, candidates, people, quotas
from core.workflows.acting import ADMIN, EDITOR, NOBODY, VIEWER, Acting, NotAllowed, acting_as
from core.workflows.candidates import Scope
from core.workflows.context import UserError
from core.workflows.datasets import delete_dataset, get_dataset
from core.workflows.generate import GenerateParams
from core.workflows.hulls import delete_hull
from core.workflows.imports import ImportParams, import_files
from core.workflows.models import delete_model, rename_model
from core.workflows.relax import RelaxParams
from core.workflows.store import folder, store
from core.workflows.trainings import finish, give_up
from db import candidates as candidate_rows
from db import datasets as dataset_rows
from db import hulls as hull_rows
from db import jobs as rows
from db.tables import Job
from tests.accounts.conftest import ADA, BEN, POSCAR, claims_of
from tests.conftest import TestContext

EVE = {"sub": "eve", "email": "eve@lab.example", "name": "Eve"}
CELL = b""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], autouse=True)
def _database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, with_accounts: None) -> Iterator[None]:
    if request.param == "postgres":
        monkeypatch.setenv("SUBHULL_DATABASE_URL", request.getfixturevalue("postgres"))
    monkeypatch.setattr(queue, "tick", lambda: None)  # no worker is wanted here
    yield
    store().dispose()


def signed_in(person: dict, role: str = "") -> Acting:
    who = people.sign_in(claims_of(person))
    if role:
        people.set_role(who.id or 0, role)
    found = people.find(claims_of(person))
    assert found
    return people.as_acting(found)


def a_job(owner: Acting, status: str = "queued", kind: str = "train") -> int:
    with store().session() as session:
        job_id = rows.add_job(
            session, kind=kind, title="t", params={}, device="cpu", owner=owner.name, owner_id=owner.id
        )
        rows.update_job(session, job_id, status=status, folder=str(folder("jobs") / str(job_id)))
    return job_id


def a_candidate(job_id: int, index: int = 0) -> int:
    values = {
        "job_id": job_id, "index": index, "model": "m", "formula": "TaB2", "reduced_formula": "TaB2",
        "chemical_system": "B-Ta", "natoms": 3, "valid": True, "cell": b"",
    }  # fmt: skip
    with store().session() as session:
        candidate_rows.add_candidates(session, [values])
        found = candidate_rows.find_candidate(session, job_id, index)
    assert found
    return found.id


def done(action: str) -> list[tuple[str, str, str]]:
    return [(e.who, e.kind, e.thing) for e in audit.list_entries(actions=[action]).listed]


def import_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "POSCAR").write_text(POSCAR)
    import_files(ImportParams((str(tmp_path / "POSCAR"),), name), TestContext(tmp_path / "job"))


def test_who_signs_in_is_kept_with_a_role() -> None:
    assert signed_in(ADA).role == ADMIN, "by SUBHULL_ADMINS"
    ben = signed_in(BEN)
    assert (ben.role, ben.name) == (VIEWER, "Ben Ten")
    assert signed_in({**BEN, "name": "Benjamin"}).id == ben.id, "the subject names a person, not the name"
    unsaid = {key: value for key, value in ADA.items() if key != "email_verified"}
    for number, doubted in enumerate(({**ADA, "email_verified": False}, {**ADA, "email_verified": "no"}, unsaid)):
        role = signed_in({**doubted, "sub": f"another {number}"}).role
        assert role == VIEWER, "an address that the provider has not verified makes nobody an administrator"
    assert people.sign_in({**claims_of(BEN, "https://other.example")}).id != ben.id, "nor is a subject elsewhere"
    with pytest.raises(UserError, match="no sub"):
        people.sign_in({"email": ADA["email"]})
    assert len(done("sign in")) == 7


def test_a_viewer_may_change_nothing(tmp_path: Path) -> None:
    viewer = signed_in(BEN)
    job = a_job(viewer)
    one = a_candidate(job)
    with acting_as(viewer):
        for attempt in (
            lambda: queue.submit("generate", "t", GenerateParams("m", ("TaB2",))),
            lambda: queue.cancel(job),
            lambda: queue.resume(job),
            lambda: import_one(tmp_path, "mine"),
            lambda: candidates.star(Scope(ids=(one,))),
            lambda: candidates.put_note(Scope(ids=(one,)), "x"),
            lambda: candidates.delete(Scope(ids=(one,))),
            lambda: candidates.empty_bin(),
            lambda: people.set_role(viewer.id or 0, ADMIN),
            lambda: people.list_people(),
            lambda: audit.list_entries(),
        ):
            with pytest.raises(NotAllowed, match="viewer"):
                attempt()
        assert candidates.count(candidate_rows.CandidateFilter()) == 1, "looking is allowed"
    with acting_as(NOBODY), pytest.raises(NotAllowed, match="sign in"):
        queue.submit("generate", "t", GenerateParams("m", ("TaB2",)))


def test_only_owners_and_administrators_stop_rename_and_delete(tmp_path: Path) -> None:
    ben, eve, ada = signed_in(BEN, EDITOR), signed_in(EVE, EDITOR), signed_in(ADA)
    with acting_as(ben):
        import_one(tmp_path, "bens")
        job = queue.submit("generate", "t", GenerateParams("m", ("TaB2",)))
    assert get_dataset("bens").owner_id == ben.id
    assert (queue.get(job).owner, queue.get(job).owner_id) == ("Ben Ten", ben.id)
    running = a_job(ben, "running")
    with store().session() as session:
        values = {"task": "generation", "hash": "x", "folder": str(tmp_path / "m"), "card": {}}
        dataset_rows.add_model(session, name="bens", owner_id=ben.id, **values)
        hull = hull_rows.add_hull(session, [], chemical_system="B-Ta", method="PBE", name="h", owner_id=ben.id)
    attempts = (
        lambda: queue.cancel(job),
        lambda: finish(running),
        lambda: give_up(queue.get(running)),
        lambda: rename_model("bens", "eves"),
        lambda: delete_model("bens"),
        lambda: delete_hull(hull),
        lambda: delete_dataset("bens"),
    )
    with acting_as(eve):
        for attempt in attempts:
            with pytest.raises(NotAllowed, match="belongs to Ben Ten: only its owner or an administrator"):
                attempt()
    with acting_as(ben):
        queue.cancel(job)
        rename_model("bens", "renamed")
        delete_dataset("bens")
    with acting_as(ada):
        delete_model("renamed")
        delete_hull(hull)
    assert done("cancel") == [("Ben Ten", "job", str(job))]
    assert done("rename") == [("Ben Ten", "model", "bens")]
    assert [(who, kind) for who, kind, _ in done("delete")] == [
        ("Ada Lovelace", "hull"), ("Ada Lovelace", "model"), ("Ben Ten", "dataset"),
    ]  # fmt: skip


def test_what_was_made_before_accounts_is_the_administrators() -> None:
    nobodys = a_job(Acting(None, "lab", ADMIN))
    with acting_as(signed_in(BEN, EDITOR)), pytest.raises(NotAllowed, match="belongs to nobody"):
        queue.cancel(nobodys)
    with acting_as(signed_in(ADA)):
        queue.cancel(nobodys)


def test_candidates_are_of_the_owner_of_their_run() -> None:
    ben, eve = signed_in(BEN, EDITOR), signed_in(EVE, EDITOR)
    mine, theirs = a_candidate(a_job(ben)), a_candidate(a_job(eve))
    both = Scope(ids=(mine, theirs))
    with acting_as(ben):
        with pytest.raises(NotAllowed, match="1 of them belongs to others"):
            candidates.delete(both)
        with pytest.raises(NotAllowed, match="1 of them belongs to others"):
            candidates.delete(Scope(ids=(), wanted=candidate_rows.CandidateFilter()))
        gone, number = candidates.delete(Scope(ids=(mine,)))
        assert gone == 1
    with acting_as(eve), pytest.raises(NotAllowed, match="to others"):
        candidates.restore(number)
    with acting_as(ben):
        assert candidates.restore(number) == 1
        assert candidates.star(both) == 2, "a star is for everybody who may work here"
        with pytest.raises(NotAllowed, match="Only administrators"):
            candidates.empty_bin()


def test_jobs_are_counted_against_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_QUOTA_JOBS", "2")
    ben = signed_in(BEN, EDITOR)
    params = GenerateParams("m", ("TaB2",))
    with acting_as(ben):
        first = queue.submit("generate", "t", params)
        queue.submit("generate", "t", params)
        with pytest.raises(UserError, match="You have 2 jobs running or waiting, and 2 are allowed"):
            queue.submit("generate", "t", params)
        queue.cancel(first)
        queue.submit("generate", "t", params)
        with pytest.raises(UserError, match="2 are allowed"):
            queue.resume(first)
        queue.cancel(first + 1)
        with pytest.raises(UserError, match="this needs 2 more and was not begun"):
            submit_relaxation(RelaxParams((1, 2), "chgnet"), "cpu", 2)
        queue.submit("generate", "t", params)
    people.set_quotas(ben.id or 0, 3, None)
    with acting_as(ben):
        queue.resume(first)
    queue.submit("generate", "t", params)  # the local administrator has no quota
    with store().session() as session:
        assert rows.count_jobs(session) == 5, "what was refused left nothing"


def test_the_disk_is_counted_against_a_quota() -> None:
    ben = signed_in(BEN, EDITOR)
    job = queue.get(a_job(ben, "done"))
    Path(job.folder).mkdir()
    (Path(job.folder) / "log.txt").write_bytes(b"x" * 3_000_000)
    (folder("uploads") / f"{quotas.upload_prefix(ben.id)}abc").write_bytes(b"x" * 1_000_000)
    (folder("uploads") / f"{ben.id}9-of-another").write_bytes(b"x" * 1_000_000)
    assert quotas.disk_of(ben.id or 0) == 4_000_000
    people.set_quotas(ben.id or 0, None, 4_500_000)
    with acting_as(ben):
        queue.submit("generate", "t", GenerateParams("m", ("TaB2",)))
        with pytest.raises(UserError, match=r"takes 4\.00 MB of the 4\.50 MB that you are allowed, this needs 0\.60"):
            quotas.check_disk(600_000)
    people.set_quotas(ben.id or 0, None, 3_000_000)
    with acting_as(ben), pytest.raises(UserError, match=r"4\.00 MB of the 3\.00 MB"):
        queue.submit("generate", "t", GenerateParams("m", ("TaB2",)))


def test_roles_are_changed_by_administrators_and_never_ones_own() -> None:
    ada, ben = signed_in(ADA), signed_in(BEN)
    with acting_as(ada):
        people.set_role(ben.id or 0, ADMIN)
        with pytest.raises(UserError, match="by SUBHULL_ADMINS"):
            people.set_role(ada.id or 0, VIEWER)
    with acting_as(signed_in(BEN)), pytest.raises(UserError, match="your own role"):
        people.set_role(ben.id or 0, VIEWER)
    with pytest.raises(UserError, match="no role 'king'"):
        people.set_role(ben.id or 0, "king")
    entry = audit.list_entries(actions=["change role"]).listed[0]
    assert (entry.who, entry.thing, entry.detail) == ("Ada Lovelace", BEN["email"], "viewer to admin")


def test_the_log_is_found_by_words_and_pages_and_fails_with_what_it_tells() -> None:
    ben = signed_in(BEN, EDITOR)
    with acting_as(ben):
        for i in range(5):
            queue.submit("generate", f"title 100% {i}", GenerateParams("m", ("TaB2",)))
    assert audit.list_entries("100% 3").total == 1
    assert audit.list_entries("BEN TEN", ["submit"]).total == 5
    page = audit.list_entries("", ["submit"], limit=2, offset=2)
    assert (page.total, [e.detail for e in page.listed]) == (5, ["title 100% 2", "title 100% 1"])

    def fails() -> None:
        with store().session() as session:
            audit.record(session, "delete", "dataset", "x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert audit.list_entries(actions=["delete"]).total == 0


def test_the_command_line_is_the_local_administrators(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUBHULL_OWNER", "operator")
    monkeypatch.setattr("core.workflows.starter.install", lambda: None)
    ben = signed_in(BEN)
    assert main(["people", "set-role", BEN["email"], "editor"]) == 0
    assert main(["people", "list", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown["people"] == [{"id": ben.id, "name": "Ben Ten", "address": BEN["email"], "role": "editor"}]
    assert main(["audit", "list", "--action", "change role", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(e["who"], e["detail"]) for e in told["entries"]] == [("operator", "viewer to editor")]
    assert main(["people", "set-role", "nobody@x", "editor"]) == 2
    assert "Nobody here is called" in capsys.readouterr().err
    assert main(["people", "set-quota", BEN["email"], "--jobs", "3", "--gb", "0"]) == 0
    ben = people.person_named(BEN["email"])
    assert (ben.max_jobs, ben.max_bytes) == (3, 0)
    assert main(["people", "set-quota", BEN["email"], "--gb", "nan"]) == 2
    assert "A quota is a number" in capsys.readouterr().err
    assert main(["audit", "list", "--action", "sumbit"]) == 0
    assert "Nobody did 'sumbit' so far; what was done: " in capsys.readouterr().err


def test_a_worker_acts_for_the_owner_of_its_job() -> None:
    from core.jobs.worker import _owner

    ben = signed_in(BEN, EDITOR)
    of_ben, of_nobody = Job(owner_id=ben.id, owner=ben.name), Job(owner_id=None, owner="lab")
    people.set_role(ben.id or 0, VIEWER)
    assert _owner(of_ben) == Acting(ben.id, "Ben Ten", EDITOR), "what they were allowed to start is finished"
    assert _owner(of_nobody) == acting.local_administrator()
