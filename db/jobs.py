"""Questions about jobs and their metrics. State changes are compare-and-set: two ticks never both win."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from db.session import now
from db.tables import Job, Metric

ACTIVE = ("queued", "running")
ENDED = ("done", "failed", "cancelled", "lost")


def add_job(session: Session, **values: Any) -> int:
    """Insert a queued job by the database's clock; returns its id."""
    statement = insert(Job).values(status="queued", message="", error="", created_at=now(session), **values)
    return int(session.execute(statement.returning(Job.id)).scalar_one())


def get_job(session: Session, job_id: int) -> Job | None:
    """The job, fresh from the database."""
    return session.get(Job, job_id, populate_existing=True)


def list_jobs(
    session: Session,
    statuses: Sequence[str] = (),
    kinds: Sequence[str] = (),
    limit: int = 100,
    offset: int = 0,
) -> list[Job]:
    """Newest first."""
    query = select(Job).order_by(Job.id.desc()).limit(limit).offset(offset)
    if statuses:
        query = query.where(Job.status.in_(statuses))
    if kinds:
        query = query.where(Job.kind.in_(kinds))
    return list(session.scalars(query))


def count_jobs(session: Session, statuses: Sequence[str] = (), kinds: Sequence[str] = ()) -> int:
    query = select(func.count()).select_from(Job)
    if statuses:
        query = query.where(Job.status.in_(statuses))
    if kinds:
        query = query.where(Job.kind.in_(kinds))
    return int(session.scalar(query) or 0)


def queue_position(session: Session, job: Job) -> int:
    """How many jobs stand before it on its device: 0 is next."""
    query = select(func.count()).where(Job.status == "queued", Job.device == job.device, Job.id < job.id)
    return int(session.scalar(query) or 0)


def running_on(session: Session, device: str) -> int:
    return int(session.scalar(select(func.count()).where(Job.status == "running", Job.device == device)) or 0)


def next_queued(session: Session) -> list[Job]:
    """Every queued job, oldest first."""
    return list(session.scalars(select(Job).where(Job.status == "queued").order_by(Job.id)))


def change_status(session: Session, job_id: int, old: str, new: str, attempt: int | None = None, **values: Any) -> bool:
    """Compare-and-set: True if the job was `old` (and at `attempt`, where given) and is now `new`."""
    statement = update(Job).where(Job.id == job_id, Job.status == old)
    if attempt is not None:
        statement = statement.where(Job.attempts == attempt)
    result = session.execute(statement.values(status=new, **values))
    return bool(result.rowcount == 1)  # type: ignore[attr-defined]


def update_job(session: Session, job_id: int, **values: Any) -> None:
    """Change columns of a job; the status only through `change_status`."""
    session.execute(update(Job).where(Job.id == job_id).values(**values))


def keep_where(session: Session, job_id: int, attempt: int, **values: Any) -> bool:
    """Write where an attempt runs, unless another one has begun. The worker may have ended by now."""
    result = session.execute(update(Job).where(Job.id == job_id, Job.attempts == attempt).values(**values))
    return bool(result.rowcount == 1)  # type: ignore[attr-defined]


def away(session: Session) -> list[Job]:
    """Ended jobs whose files a worker left in the artefacts."""
    return list(session.scalars(select(Job).where(Job.away, Job.status.in_(ENDED)).order_by(Job.id)))


def beat(session: Session, job_id: int, attempt: int) -> float | None:
    """Write the heartbeat; returns when cancelling was asked for, or None. Raises LookupError if the run was taken."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status == "running", Job.attempts == attempt)
        .values(heartbeat=now(session))
        .returning(Job.cancel_requested_at)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        raise LookupError(f"job {job_id} is no longer run by this worker")
    return None if row[0] is None else float(row[0])


def ages(session: Session) -> list[tuple[Job, float, float | None]]:
    """Running jobs with (seconds since the heartbeat, seconds since cancelling was asked for or None)."""
    clock = now(session)
    query = select(Job, clock - Job.heartbeat, clock - Job.cancel_requested_at).where(Job.status == "running")
    return [
        (job, float(age if age is not None else 0.0), None if asked is None else float(asked))
        for job, age, asked in session.execute(query)
    ]


def write_metrics(session: Session, job_id: int, rows: Sequence[tuple[int, str, float]]) -> None:
    """(step, name, value) rows; what stands at the same step and name is replaced."""
    if not rows:
        return
    latest = {(name, step): value for step, name, value in rows}
    for name in sorted({name for name, _ in latest}):  # others of the same step stay: some come later than others
        steps = sorted(step for n, step in latest if n == name)
        session.execute(delete(Metric).where(Metric.job_id == job_id, Metric.name == name, Metric.step.in_(steps)))
    values = [{"job_id": job_id, "name": n, "step": s, "value": v} for (n, s), v in latest.items()]
    session.execute(insert(Metric), values)


def drop_metrics_after(session: Session, job_id: int, step: int) -> None:
    """Forget what a run wrote after the checkpoint that it resumes from."""
    session.execute(delete(Metric).where(Metric.job_id == job_id, Metric.step > step))


def read_metrics(
    session: Session, job_id: int, names: Sequence[str] = (), after: int = -1
) -> list[tuple[int, str, float]]:
    """(step, name, value) by step."""
    query = select(Metric.step, Metric.name, Metric.value).where(Metric.job_id == job_id, Metric.step > after)
    if names:
        query = query.where(Metric.name.in_(names))
    return [(int(s), n, float(v)) for s, n, v in session.execute(query.order_by(Metric.step, Metric.name))]


def thinned_metrics(
    session: Session, job_id: int, names: Sequence[str], most: int, after: int = -1
) -> list[tuple[int, str, float]]:
    """As `read_metrics`, but of long series every k-th row, so that `most` of a name are left; the last one stays."""
    wanted = [Metric.job_id == job_id, Metric.name.in_(names), Metric.step > after]
    counts = session.execute(select(func.count()).where(*wanted).group_by(Metric.name)).scalars()
    stride = -(-max(counts, default=0) // most)
    if stride <= 1:
        return read_metrics(session, job_id, names, after)
    place = func.row_number().over(partition_by=Metric.name, order_by=Metric.step.desc()).label("place")
    numbered = select(Metric.step, Metric.name, Metric.value, place).where(*wanted).subquery()
    query = select(numbered.c.step, numbered.c.name, numbered.c.value).where((numbered.c.place - 1) % stride == 0)
    return [(int(s), n, float(v)) for s, n, v in session.execute(query.order_by(numbered.c.step, numbered.c.name))]


def extreme_metrics(
    session: Session, job_ids: Sequence[int], names: Sequence[str], highest: bool
) -> dict[tuple[int, str], tuple[int, float]]:
    """{(job, name): (step, value)} of the highest or lowest value of each series, the earliest of equals."""
    value = Metric.value.desc() if highest else Metric.value
    order = func.row_number().over(partition_by=(Metric.job_id, Metric.name), order_by=(value, Metric.step))
    ranked = (
        select(Metric.job_id, Metric.name, Metric.step, Metric.value, order.label("place"))
        .where(Metric.job_id.in_(job_ids), Metric.name.in_(names))
        .subquery()
    )
    query = select(ranked.c.job_id, ranked.c.name, ranked.c.step, ranked.c.value).where(ranked.c.place == 1)
    return {(int(j), n): (int(s), float(v)) for j, n, s, v in session.execute(query)}
