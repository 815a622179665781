"""Asking for a change while a worker writes its heartbeat: SQLite refuses whoever read before the other wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from core.jobs import queue
from core.workflows.store import store
from db import jobs as rows


@pytest.mark.parametrize(("status", "ask"), [("running", queue.cancel), ("cancelled", queue.resume)])
def test_what_is_asked_is_not_lost_to_a_heartbeat(
    status: str, ask: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with store().session() as session:
        job_id = rows.add_job(session, kind="train", title="t", params={}, device="cpu")
        rows.update_job(session, job_id, status=status)
    read, writers = rows.get_job, list[threading.Thread]()

    def heartbeat() -> None:
        with store().session() as session:
            rows.update_job(session, job_id, message="Step 2")

    def read_while_another_writes(*args: Any) -> Any:
        job = read(*args)
        writers.append(threading.Thread(target=heartbeat))
        writers[-1].start()
        writers[-1].join(0.5)
        return job

    with monkeypatch.context() as patched:
        patched.setattr(queue, "tick", lambda: None)
        patched.setattr(rows, "get_job", read_while_another_writes)
        ask(job_id)
    for writer in writers:
        writer.join(20)
    with store().session() as session:
        job = rows.get_job(session, job_id)
    assert job is not None
    assert job.message == "Step 2", "the other one wrote too, a little later"
    assert job.status == ("running" if status == "running" else "queued")
    assert (job.cancel_requested_at is not None) == (status == "running")
