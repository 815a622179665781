"""Questions about people, what is theirs, and the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, insert, or_, select, update
from sqlalchemy.orm import Session

from db.jobs import ACTIVE
from db.session import now
from db.tables import AuditEntry, Dataset, Import, Job, Model, Person


def find_person(session: Session, issuer: str, subject: str) -> Person | None:
    return session.scalar(select(Person).where(Person.issuer == issuer, Person.subject == subject))


def get_person(session: Session, person_id: int) -> Person | None:
    return session.get(Person, person_id, populate_existing=True)


def people_at(session: Session, address: str) -> list[Person]:
    """Those with this address, however it is written."""
    return list(session.scalars(select(Person).where(func.lower(Person.address) == address.lower())))


def list_people(session: Session) -> list[Person]:
    """By name."""
    return list(session.scalars(select(Person).order_by(func.lower(Person.name), Person.id)))


def add_person(session: Session, **values: Any) -> int:
    """Seen now, by the database's clock; returns the id."""
    clock = now(session)
    statement = insert(Person).values(first_seen=clock, last_seen=clock, **values)
    return int(session.execute(statement.returning(Person.id)).scalar_one())


def seconds_since(session: Session, moment: float) -> float:
    """By the database's clock."""
    return float(session.scalar(select(now(session))) or 0.0) - moment


def update_person(session: Session, person_id: int, **values: Any) -> None:
    session.execute(update(Person).where(Person.id == person_id).values(**values))


def active_jobs_of(session: Session, person_id: int) -> int:
    """How many of their jobs run or wait."""
    query = select(func.count()).select_from(Job).where(Job.owner_id == person_id, Job.status.in_(ACTIVE))
    return int(session.scalar(query) or 0)


def job_folders_of(session: Session, person_id: int) -> list[str]:
    return list(session.scalars(select(Job.folder).where(Job.owner_id == person_id, Job.folder != "")))


def model_folders_of(session: Session, person_id: int) -> list[str]:
    return list(session.scalars(select(Model.folder).where(Model.owner_id == person_id)))


def dataset_hashes_of(session: Session, person_id: int) -> list[str]:
    return list(session.scalars(select(Dataset.hash).where(Dataset.owner_id == person_id).distinct()))


def imports_of(session: Session, person_id: int) -> list[int]:
    return [int(i) for i in session.scalars(select(Import.id).where(Import.owner_id == person_id))]


def add_entry(session: Session, **values: Any) -> None:
    """Now, by the database's clock."""
    session.execute(insert(AuditEntry).values(at=now(session), **values))


def list_entries(
    session: Session, text: str = "", actions: Sequence[str] = (), limit: int = 50, offset: int = 0
) -> list[AuditEntry]:
    """Newest first. text: in who, thing or detail, however it is written."""
    query = _entries(select(AuditEntry), text, actions).order_by(AuditEntry.id.desc())
    return list(session.scalars(query.limit(limit).offset(offset)))


def count_entries(session: Session, text: str = "", actions: Sequence[str] = ()) -> int:
    return int(session.scalar(_entries(select(func.count(AuditEntry.id)), text, actions)) or 0)


def actions_taken(session: Session) -> list[str]:
    """Every kind of action that the log holds."""
    return list(session.scalars(select(AuditEntry.action).distinct().order_by(AuditEntry.action)))


def _entries(query: Select[Any], text: str, actions: Sequence[str]) -> Select[Any]:
    if actions:
        query = query.where(AuditEntry.action.in_(actions))
    if text:
        columns = (AuditEntry.who, AuditEntry.thing, AuditEntry.detail)
        query = query.where(or_(*(func.lower(c).contains(text.lower(), autoescape=True) for c in columns)))
    return query
