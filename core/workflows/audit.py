"""The audit log: written in the transaction of what it tells, so that neither is there without the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.workflows.acting import ADMIN, Acting, acting, require
from core.workflows.store import store
from db import people as rows
from db.tables import AuditEntry

_MOST = 500  # characters of a thing or a detail


def record(
    session: Session, action: str, kind: str, thing: object, detail: str = "", who: Acting | None = None
) -> None:
    """The one who acts (or `who`) did something to a thing: ("delete", "dataset", "mine"), now."""
    person = who or acting()
    rows.add_entry(
        session,
        person_id=person.id,
        who=_clean(person.name),
        action=action,
        kind=kind,
        thing=_clean(str(thing)),
        detail=_clean(detail),
    )


def record_alone(action: str, kind: str, thing: object, detail: str = "", who: Acting | None = None) -> None:
    """As `record`, of what changes no row: a download."""
    with store().session() as session:
        record(session, action, kind, thing, detail, who)


@dataclass(frozen=True)
class Entries:
    """A part of the log, newest first, and how many there are in all."""

    listed: list[AuditEntry]
    total: int


def list_entries(text: str = "", actions: Sequence[str] = (), limit: int = 50, offset: int = 0) -> Entries:
    """Those with `text` in who, thing or detail, of these actions or of all. Raises NotAllowed but for admins."""
    require(ADMIN)
    with store().session() as session:
        total = rows.count_entries(session, text, actions)
        return Entries(rows.list_entries(session, text, actions, limit, offset), total)


def actions_taken() -> list[str]:
    """Every kind of action that the log holds."""
    require(ADMIN)
    with store().session() as session:
        return rows.actions_taken(session)


def _clean(text: str) -> str:
    """As every database takes it: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_MOST]
