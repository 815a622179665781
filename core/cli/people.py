"""`people …`, `audit …`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from core.cli.common import add, is_json, table


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    people = commands.add_parser("people", help="list people, give roles").add_subparsers(required=True)
    add(people, shared, "list", "everybody who has signed in", _people_list)
    parser = add(people, shared, "set-role", "give a person a role: none, viewer, editor or admin", _set_role)
    parser.add_argument("person", help="a number or an address, as `people list` shows them")
    parser.add_argument("role")
    audit = commands.add_parser("audit", help="what was done by whom").add_subparsers(required=True)
    parser = add(audit, shared, "list", "the audit log, newest first", _audit_list)
    parser.add_argument("--find", default="", metavar="TEXT", help="in who, thing or detail")
    parser.add_argument("--action", nargs="+", default=[], help="such as submit, delete, 'sign in'")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--offset", type=int, default=0)


def _people_list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.people import list_people, role_of

    found = list_people()
    if not is_json(asked):
        rows = [[p.id, p.name, p.address, role_of(p), _moment(p.first_seen), _moment(p.last_seen)] for p in found]
        table(["id", "name", "address", "role", "first seen (UTC)", "last seen (UTC)"], rows)
    return {"people": [{"id": p.id, "name": p.name, "address": p.address, "role": role_of(p)} for p in found]}


def _set_role(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.people import person_named, set_role

    person = person_named(asked.person)
    set_role(person.id, asked.role)
    if not is_json(asked):
        print(f"{person.name or person.address} is {asked.role} now")
    return {"person": person.id, "role": asked.role}


def _audit_list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.audit import list_entries

    found = list_entries(asked.find, asked.action, max(0, asked.limit), max(0, asked.offset))
    if not is_json(asked):
        rows = [[_moment(e.at), e.who, e.action, e.kind, e.thing, e.detail] for e in found.listed]
        table(["when (UTC)", "who", "did", "to a", "thing", "detail"], rows)
    entries = [
        {"at": e.at, "who": e.who, "action": e.action, "kind": e.kind, "thing": e.thing, "detail": e.detail}
        for e in found.listed
    ]
    return {"entries": entries, "total": found.total}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
