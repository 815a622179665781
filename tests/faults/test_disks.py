"""Full and read-only disks: a sentence, nothing half-written, and it goes on when there is room."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.jobs import queue
from core.models.checkpoint import write_tensor_file
from core.settings import ASSETS
from core.workflows.backup import back_up
from core.workflows.context import UserError
from core.workflows.datasets import get_dataset, list_datasets
from core.workflows.imports import ImportParams
from core.workflows.store import store
from db import structures
from tests.conftest import ROOT
from tests.faults.conftest import Disk

pytestmark = pytest.mark.slow
ROWS = ASSETS / "starter" / "structures.jsonl.gz"


def test_an_import_onto_a_full_disk_fails_in_words_and_goes_on_with_room(
    disk: Disk, forked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBHULL_VAR", str(disk.place / "var"))
    store()
    disk.fill(left=700_000)
    job_id = queue.submit("import", "i", ImportParams((str(ROWS),), "full", "M"), "io")
    failed = queue.follow(job_id)
    assert failed.status == "failed", failed.message
    assert "disk is full" in failed.error or "No space left" in failed.error
    assert "Traceback" not in failed.error
    assert queue.can_resume(failed)
    assert list_datasets() == []
    with store().session() as session:
        assert structures.list_imports(session) == []
    disk.clear()
    queue.resume(job_id)
    done = queue.follow(job_id)
    assert done.status == "done", done.error
    assert get_dataset("full").summary["structures"] == 3085
    with store().session() as session:
        assert structures.unfinished_imports(session) == [], "what the first one left was taken away"


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(disk: Disk) -> None:
    path = disk.place / "checkpoint.safetensors"
    write_tensor_file(path, {"a": torch.zeros(10)})
    before = path.read_bytes()
    disk.fill(left=100_000)
    with pytest.raises(OSError, match=r"No space left|cannot be written"):
        write_tensor_file(path, {"a": torch.zeros(1_000_000)})
    assert path.read_bytes() == before
    assert sorted(p.name for p in disk.place.iterdir()) == ["checkpoint.safetensors", "filler"]


def test_a_read_only_disk_is_a_sentence_at_the_start(disk: Disk) -> None:
    var = disk.place / "var"
    var.mkdir()
    disk.read_only()
    env = {**os.environ, "SUBHULL_VAR": str(var)}
    command = [sys.executable, "-W", "ignore", "-m", "core", "jobs", "list"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "cannot be opened" in done.stderr
    assert "ead-only" in done.stderr
    assert "SUBHULL_VAR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_back_up_onto_a_read_only_disk_is_a_sentence(disk: Disk, starter: Path) -> None:
    disk.read_only()
    with pytest.raises(UserError, match=r"could not be written to .*Read-only file system"):
        back_up(disk.place / "lab.tar")


@pytest.mark.parametrize("harm", ["directory", "no database", "cut"])
def test_a_database_that_is_none_is_a_sentence(var: Path, harm: str, starter: Path) -> None:
    file = var / "subhull.db"
    store().dispose()
    for beside in var.glob("subhull.db-*"):
        beside.unlink()
    if harm == "directory":
        file.unlink()
        file.mkdir()
    elif harm == "no database":
        file.write_bytes(b"no database" * 1000)
    else:
        file.write_bytes(file.read_bytes()[:5000])
        with pytest.raises(sqlite3.DatabaseError):
            sqlite3.connect(file).execute("PRAGMA integrity_check; ").fetchall() and sqlite3.connect(file).execute(
                "SELECT * FROM jobs"
            ).fetchall()
    from core.workflows import store as module

    module._open.cache_clear()
    with pytest.raises(UserError, match="The store cannot be opened"):
        store()
    shutil.rmtree(file, ignore_errors=True)
