"""Back-up and restore: everything is compared, row by row and byte by byte, between and across SQLite and Postgres."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from core.export.bundle import cif_text
from core.jobs.tick import tick
from core.workflows import backup
from core.workflows.backup import back_up, restore
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, load_tensors
from core.workflows.generate import GenerateParams, candidates_of, generate
from core.workflows.modify import ModifyParams, modify
from core.workflows.relax import RelaxParams, relax_candidates
from core.workflows.store import store
from db import dump
from db import jobs as job_rows
from db.tables import Base, Job, Structure
from tests.ui.test_modify_page import SALT
from tests.workflows.test_workflows import run_of


@pytest.fixture
def worked(starter: Path) -> Path:
    """A store with what ships, candidates that are relaxed, metrics and a kept start."""
    context = run_of("generate", GenerateParams("starter-generator", ("Ta1B2",), count=2, steps=3))
    generate(GenerateParams("starter-generator", ("Ta1B2",), count=2, steps=3), context)
    change = ModifyParams("starter-modifier", cif_text(SALT, {}), "TiC.cif", count=1, steps=2, potential="chgnet",
                          relax="none")  # fmt: skip
    modified = run_of("modify", change)
    modify(change, modified)
    asked = RelaxParams(tuple(candidates_of(context.job_id)), "chgnet", steps=2)
    relaxing = run_of("relax", asked)
    relax_candidates(asked, relaxing)
    with store().session() as session:
        for one in (context, modified, relaxing):
            job_rows.update_job(session, one.job_id, status="done", folder=str(one.folder), result={"Å": [1, None]})
        job_rows.write_metrics(session, context.job_id, [(1, "loss", 0.5), (2, "loss", 0.25)])
    return starter


def everything(var: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Every row of every table, and the SHA-256 of every file; paths as below the store."""
    with dump.snapshot(store()) as connection:
        rows = {name: [r for part in dump.read_rows(connection, name) for r in part] for name in dump.TABLES}
    named = {table: [_said(row, var) for row in found] for table, found in rows.items()}
    files = {str(f.relative_to(var)): hashlib.sha256(f.read_bytes()).hexdigest() for f in backup._files(var)}
    return named, files


def _said(row: dict[str, Any], var: Path) -> dict[str, str]:
    return {k: json.dumps(v, default=str, sort_keys=True).replace(str(var), "VAR") for k, v in row.items()}


def open_store(monkeypatch: pytest.MonkeyPatch, var: Path, url: str = "") -> None:
    monkeypatch.setenv("SUBHULL_VAR", str(var))
    monkeypatch.setenv("SUBHULL_DATABASE_URL", url or f"sqlite:///{var / 'subhull.db'}")


@pytest.mark.slow
def test_everything_comes_back_and_crosses_from_one_database_to_the_other(
    worked: Path, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = everything(worked)
    assert min(len(first[0][name]) for name in ("structures", "candidates", "relaxations", "metrics", "models")) > 0
    assert any(name.endswith(".safetensors") for name in first[1])
    back_up(tmp_path / "one.tar")
    open_store(monkeypatch, tmp_path / "there", postgres)
    restore(tmp_path / "one.tar")
    assert everything(tmp_path / "there") == first
    with store().session() as session:  # rows go on being counted behind those that came
        new = job_rows.add_job(session, kind="relax", title="", params={}, device="cpu", owner="")
        assert new > max(int(row["id"]) for row in first[0]["jobs"])
        session.rollback()
    assert len(load_tensors(get_dataset("starter"))) > 1000
    back_up(tmp_path / "two.tar")
    open_store(monkeypatch, tmp_path / "again")
    restore(tmp_path / "two.tar")
    assert everything(tmp_path / "again") == first


def test_what_is_held_is_kept_unless_it_is_given_up(starter: Path, tmp_path: Path) -> None:
    back_up(tmp_path / "empty.tar")
    before = everything(starter)
    with store().session() as session:
        job = job_rows.add_job(session, kind="relax", title="mine", params={}, device="cpu", owner="")
        job_rows.update_job(session, job, status="done")
    (starter / "uploads" / "mine.txt").parent.mkdir(exist_ok=True)
    (starter / "uploads" / "mine.txt").write_text("x")
    held = everything(starter)
    with pytest.raises(UserError, match=r"holds 1 job: restore into an empty one, or say --replace"):
        restore(tmp_path / "empty.tar")
    assert everything(starter) == held
    restore(tmp_path / "empty.tar", replace=True)
    assert everything(starter) == before
    assert not list(starter.glob(".restoring-*"))


@pytest.mark.slow
def test_a_damaged_archive_changes_nothing(starter: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.tar"
    back_up(good)
    before = everything(starter)
    whole = good.read_bytes()
    rng = np.random.default_rng(0)
    for name, data, said in [
        ("cut", whole[: len(whole) // 2], "cut off|cannot be read"),
        ("text", b"no archive at all" * 100, "cannot be read"),
        ("empty", b"", "cut off|cannot be read"),
        ("flipped", _flipped(good, rng), "damaged"),
    ]:
        bad = tmp_path / f"{name}.tar"
        bad.write_bytes(data)
        with pytest.raises(UserError, match=said):
            restore(bad, replace=True)
        assert everything(starter) == before


def _flipped(path: Path, rng: np.random.Generator) -> bytes:
    """One byte of the content of one member changed."""
    with tarfile.open(path) as archive:
        member = max(archive.getmembers(), key=lambda m: m.size)
    data = bytearray(path.read_bytes())
    data[member.offset_data + int(rng.integers(member.size))] ^= 0xFF
    return bytes(data)


def test_names_that_lead_elsewhere_are_refused(starter: Path, tmp_path: Path) -> None:
    manifest = back_up(tmp_path / "good.tar")
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        (tmp_path / "x").write_text("x")
        archive.add(tmp_path / "x", "files/../../../escaped")
        manifest.sha256["files/../../../escaped"] = hashlib.sha256(b"x").hexdigest()
        (tmp_path / "m").write_text(json.dumps(manifest.__dict__))
        archive.add(tmp_path / "m", "manifest.json")
    with pytest.raises(UserError, match="does not belong there"):
        restore(evil)
    assert not (starter.parent / "escaped").exists()


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that takes no right away."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder", "link to a folder"])
@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_regular_file_is_never_replaced(var: Path, tmp_path: Path, kind: str, replace: bool) -> None:
    thing, target = tmp_path / "thing", tmp_path / "lab.tar"
    if kind.endswith("pipe"):
        os.mkfifo(thing)
    else:
        thing.mkdir()
    if kind.startswith("link"):
        target.symlink_to(thing)
    else:
        thing = thing.rename(target)
    before = os.lstat(target)
    with pytest.raises(UserError, match="no regular file" if kind.endswith("pipe") else "is a folder"):
        back_up(target, replace)
    after = os.lstat(target)
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert not list(tmp_path.rglob("*.part"))
    assert not var.exists(), "it was refused before the store was opened"


def test_an_earlier_back_up_is_kept_until_the_next_is_whole(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lab.tar"
    target.write_bytes(b"the one before")
    with pytest.raises(UserError, match=r"lab.tar is there already: name another file, or say --replace to give it up"):
        back_up(target)

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_files", fails)
        with pytest.raises(UserError, match="No space left on device"):
            back_up(target, replace=True)
    assert target.read_bytes() == b"the one before"
    seen = set()
    (tmp_path / "link.tar").symlink_to(target)
    made = back_up(tmp_path / "link.tar", replace=True, tell=lambda _: seen.add(target.read_bytes()))
    assert seen == {b"the one before"}
    assert (tmp_path / "link.tar").is_symlink()
    with tarfile.open(target) as archive:
        assert len(archive.getnames()) == len(made.sha256) + 1
    assert not list(tmp_path.glob(".backup-*"))


def test_one_that_somebody_else_made_meanwhile_is_kept(starter: Path, tmp_path: Path) -> None:
    target = tmp_path / "lab.tar"
    with pytest.raises(UserError, match="is there already"):
        back_up(target, tell=lambda _: target.write_text("theirs"))
    assert target.read_text() == "theirs"
    assert not list(tmp_path.glob(".backup-*"))


@pytest.mark.parametrize("folder", ["backsup", "file", "unmounted"])
def test_a_folder_that_is_not_there_is_not_made(var: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "unmounted").symlink_to(tmp_path / "disk" / "backups")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"There is no folder .*: make it, or see whether its disk is mounted"):
        back_up(tmp_path / folder / "lab.tar")
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_that_became_read_only_is_said_and_not_lost(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving the file fails and then removing it, too: the first is what is told."""
    for name, why in (("replace", errno.EROFS), ("unlink", errno.EACCES)):
        real = getattr(os, name)

        def fails(path: Any, *rest: Any, real: Any = real, why: int = why, **named: Any) -> None:
            if str(path).endswith(".part"):
                raise OSError(why, os.strerror(why), str(path))
            real(path, *rest, **named)

        monkeypatch.setattr(os, name, fails)
    with pytest.raises(UserError, match=r"could not be written to .*lab.tar: Read-only file system\.$"):
        back_up(tmp_path / "lab.tar")
    assert not (tmp_path / "lab.tar").exists()


def test_an_archive_is_its_users_alone_from_the_beginning(starter: Path, tmp_path: Path, open_umask: None) -> None:
    seen = set()
    back_up(tmp_path / "lab.tar", tell=lambda _: seen.update(p.stat().st_mode & 0o777 for p in tmp_path.glob(".b*")))
    assert seen == {0o600}
    assert (tmp_path / "lab.tar").stat().st_mode & 0o777 == 0o600


def test_a_failure_at_the_end_takes_everything_back(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(tmp_path / "good.tar")
    (starter / "uploads").mkdir(exist_ok=True)
    (starter / "uploads" / "later.txt").write_text("later")
    before = everything(starter)
    real = store().upgrade

    def fails(connection: Any, revision: str) -> None:
        if revision == "head":
            raise OSError(28, "No space left on device")
        real(connection, revision)

    monkeypatch.setattr(store(), "upgrade", fails)
    with pytest.raises(UserError, match=r"No space left on device. It is as it was"):
        restore(tmp_path / "good.tar", replace=True)
    assert everything(starter) == before


def test_a_job_that_ran_is_lost_and_one_that_runs_is_in_the_way(starter: Path, tmp_path: Path) -> None:
    with store().session() as session:
        job = job_rows.add_job(session, kind="relax", title="", params={}, device="cpu", owner="")
        clock = job_rows.now(session)
        job_rows.update_job(session, job, status="running", heartbeat=clock, pid=1, host="elsewhere", attempts=3)
    back_up(tmp_path / "one.tar")
    with pytest.raises(UserError, match="Jobs run on this store"):
        restore(tmp_path / "one.tar", replace=True)
    with store().session() as session:
        job_rows.update_job(session, job, heartbeat=clock - 3600)
    restore(tmp_path / "one.tar", replace=True)
    with store().session() as session:
        found = session.scalars(select(Job)).one()
        assert (found.status, found.pid, found.message) == ("lost", None, "Its store was restored")
    tick()


@pytest.mark.slow
def test_an_older_archive_is_brought_up_to_date(starter: Path, tmp_path: Path) -> None:
    """Rows of the first revision, which has neither the newer columns nor the newer tables."""
    back_up(tmp_path / "now.tar")
    with tarfile.open(tmp_path / "now.tar") as archive:
        archive.extractall(tmp_path / "parts", filter="data")
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    kept = ["imports", "structures", "energies"]
    old = manifest | {"revision": "0001", "rows": {k: manifest["rows"][k] for k in kept}}
    old["sha256"] = {f"rows/{k}.parquet": manifest["sha256"][f"rows/{k}.parquet"] for k in kept}
    (tmp_path / "parts" / "manifest.json").write_text(json.dumps(old))
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        for name in [*old["sha256"], "manifest.json"]:
            archive.add(tmp_path / "parts" / name, name)
    with store().session() as session:
        structures = session.query(Structure).count()
    restore(tmp_path / "old.tar", replace=True)
    with store().session() as session:
        assert session.query(Structure).count() == structures
        assert {t.name for t in Base.metadata.sorted_tables} == set(dump.TABLES)
        assert dump.revision(session.connection()) not in ("", "0001")
    newer = old | {"revision": "9999"}
    (tmp_path / "parts" / "manifest.json").write_text(json.dumps(newer))
    with tarfile.open(tmp_path / "newer.tar", "w") as archive:
        archive.add(tmp_path / "parts" / "manifest.json", "manifest.json")
    with pytest.raises(UserError, match="newer version"):
        restore(tmp_path / "newer.tar", replace=True)
