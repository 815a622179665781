"""Those who have signed in: found by what their provider says, given roles and quotas."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError

from core.settings import Accounts, accounts
from core.workflows.acting import ADMIN, NONE, ROLES, Acting, require
from core.workflows.audit import record
from core.workflows.context import UserError
from core.workflows.store import store
from db import people as rows
from db.session import now
from db.tables import Person

_SEEN_EVERY_S = 60.0


def sign_in(claims: Mapping[str, Any]) -> Acting:
    """Somebody came back from the provider: kept, with what it says of them now. Raises UserError for no subject."""
    with store().writing() as session:
        person_id, fresh = _kept(session, claims)
        person = rows.get_person(session, person_id)
        assert person is not None
        who = as_acting(person)
        record(session, "sign in", "person", person.address or person.name, "for the first time" * fresh, who)
    return who


def sign_out(claims: Mapping[str, Any]) -> float:
    """Every cookie that they were given until now is worth nothing. Returns when new ones count, s since 1970.

    Cookies know whole seconds of this machine's clock: those of the present one end too, so the next one has to come
    before they may sign in again.
    """
    with store().writing() as session:
        person = rows.find_person(session, *identity(claims))
        ends = math.floor(time.time()) + 1.0
        if person is not None:
            rows.update_person(session, person.id, signed_out=ends)
            record(session, "sign out", "person", person.address or person.name, who=as_acting(person))
    return ends


def find(claims: Mapping[str, Any]) -> Person | None:
    """Who these claims are about. Changes nothing: it is asked in the middle of other transactions."""
    with store().session() as session:
        return rows.find_person(session, *identity(claims))


def note_seen(person: Person) -> None:
    """That they were here is noted once a minute."""
    with store().session() as session:
        if rows.seconds_since(session, person.last_seen) > _SEEN_EVERY_S:
            rows.update_person(session, person.id, last_seen=now(session))


def identity(claims: Mapping[str, Any]) -> tuple[str, str]:
    """(issuer, subject): what alone names a person for good. Raises UserError where the provider says none."""
    subject, issuer = claims.get("sub"), claims.get("iss")
    if not isinstance(subject, str) or not subject or not isinstance(issuer, str) or not issuer:
        raise UserError("The provider does not say who this is: its ID token has no sub or no iss.")
    return issuer, subject


def as_acting(person: Person) -> Acting:
    """With the role that counts: that of the table, or admin by the settings."""
    return Acting(person.id, person.name or person.address or person.subject, role_of(person))


def role_of(person: Person) -> str:
    """The addresses in SUBHULL_ADMINS are administrators where the provider has verified that they are theirs."""
    if is_admin_by_settings(person):
        return ADMIN
    return person.role if person.role in ROLES else NONE


def is_admin_by_settings(person: Person) -> bool:
    here = accounts()
    return bool(here and person.verified and person.address.lower() in here.admins)


def list_people() -> list[Person]:
    """By name. Raises NotAllowed but for administrators."""
    require(ADMIN)
    with store().session() as session:
        return rows.list_people(session)


def person_named(text: str) -> Person:
    """By number or address. Raises UserError where there is none, or more than one of that address."""
    with store().session() as session:
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
        one = rows.get_person(session, number) if number is not None else None
        found = [one] if one else rows.people_at(session, text)
    if not found:
        raise UserError(f"Nobody here is called {text!r}: `people list` shows numbers and addresses.")
    if len(found) > 1:
        numbers = ", ".join(str(p.id) for p in found)
        raise UserError(f"Several people have the address {text}: name one of the numbers {numbers}.")
    return found[0]


def set_role(person_id: int, role: str) -> None:
    """Give a person a role. Raises NotAllowed but for administrators, UserError for what cannot be."""
    me = require(ADMIN)
    if role not in ROLES:
        raise UserError(f"There is no role {role!r}: use one of {', '.join(ROLES)}.")
    with store().writing() as session:
        person = _need(rows.get_person(session, person_id), person_id)
        if is_admin_by_settings(person) and role != ADMIN:
            raise UserError(f"{person.address} is an administrator by SUBHULL_ADMINS: take the address away there.")
        if person.id == me.id and role != ADMIN:
            raise UserError("You cannot take your own role away: ask another administrator.")
        before = person.role
        if before != role:
            rows.update_person(session, person.id, role=role)
            record(session, "change role", "person", person.address or person.name, f"{before} to {role}")


def set_quotas(person_id: int, jobs: int | None, disk: int | None) -> None:
    """What a person may have: jobs running and queued, bytes on disk. None: as the settings say; 0: no limit."""
    require(ADMIN)
    if any(value is not None and not 0 <= value < 2**62 for value in (jobs, disk)) or (jobs or 0) > 10**6:
        raise UserError("A quota is a number from 0 (no limit) on.")
    with store().writing() as session:
        person = _need(rows.get_person(session, person_id), person_id)
        if (person.max_jobs, person.max_bytes) != (jobs, disk):
            rows.update_person(session, person.id, max_jobs=jobs, max_bytes=disk)
            detail = f"jobs: {_words(jobs)}, bytes: {_words(disk)}"
            record(session, "change quota", "person", person.address or person.name, detail)


def _kept(session: Any, claims: Mapping[str, Any]) -> tuple[int, bool]:
    """(id, is it their first time) of the row, with the address and name of today."""
    issuer, subject = identity(claims)
    address, name = str(claims.get("email") or "")[:200], str(claims.get("name") or "")[:200]
    values = {"address": address, "name": name, "verified": claims.get("email_verified") in (True, "true")}
    known = rows.find_person(session, issuer, subject)
    if known is None:
        here = accounts() or Accounts("", "", "", "", "", default_role=NONE)
        try:
            with session.begin_nested():
                made = rows.add_person(session, issuer=issuer, subject=subject, role=here.default_role, **values)
            return made, True
        except IntegrityError:  # the same person in two windows
            known = rows.find_person(session, issuer, subject)
            assert known is not None
    rows.update_person(session, known.id, last_seen=now(session), **values)
    return known.id, False


def _need(person: Person | None, person_id: int) -> Person:
    if person is None:
        raise UserError(f"There is no person {person_id}.")
    return person


def _words(value: int | None) -> str:
    return "as the settings say" if value is None else f"{value:,}" if value else "no limit"
