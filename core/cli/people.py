"""`people …`, `audit …`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from core.cli.common import add, is_json, table
from core.workflows.context import UserError


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    people = commands.add_parser("people", help="list people, give roles").add_subparsers(required=True)
    add(people, shared, "list", "everybody who has signed in", _people_list)
    parser = add(people, shared, "set-role", "give a person a role: none, viewer, editor or admin", _set_role)
    parser.add_argument("person", help="a number or an address, as `people list` shows them")
    parser.add_argument("role")
    parser = add(people, shared, "set-quota", "what a person may have; 0 is no limit", _set_quota)
    parser.add_argument("person", help="a number or an address, as `people list` shows them")
    parser.add_argument("--jobs", type=int, help="that run or wait; default: as the settings say")
    parser.add_argument("--gb", type=float, help="on the disk; default: as the settings say")
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
        rows = [
            [
                p.id,
                p.name,
                p.address,
                "yes" if p.verified else "no",
                role_of(p),
                *map(_moment, (p.first_seen, p.last_seen)),
            ]
            for p in found
        ]
        table(["id", "name", "address", "verified", "role", "first seen (UTC)", "last seen (UTC)"], rows)
    return {"people": [{"id": p.id, "name": p.name, "address": p.address, "role": role_of(p)} for p in found]}


def _set_role(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.people import person_named, set_role

    person = person_named(asked.person)
    set_role(person.id, asked.role)
    if not is_json(asked):
        print(f"{person.name or person.address} is {asked.role} now")
    return {"person": person.id, "role": asked.role}


def _set_quota(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.people import person_named, set_quotas

    person = person_named(asked.person)
    disk = None if asked.gb is None else _bytes(asked.gb)
    set_quotas(person.id, asked.jobs, disk)
    if not is_json(asked):
        said = ["as the settings say" if v is None else f"{v:g}" if v else "no limit" for v in (asked.jobs, asked.gb)]
        print(f"{person.name or person.address} may have jobs: {said[0]}; GB: {said[1]}")
    return {"person": person.id, "jobs": asked.jobs, "bytes": disk}


def _bytes(gigabytes: float) -> int:
    """Raises UserError for what is no amount."""
    if not 0 <= gigabytes <= 1e6:
        raise UserError("A quota is a number from 0 (no limit) on.")
    return round(gigabytes * 1e9)


def _audit_list(asked: argparse.Namespace) -> dict[str, Any]:
    from core.workflows.audit import actions_taken, list_entries

    found = list_entries(asked.find, asked.action, max(0, asked.limit), max(0, asked.offset))
    taken = actions_taken()
    for unknown in [action for action in asked.action if action not in taken]:
        print(f"Nobody did {unknown!r} so far; what was done: {', '.join(taken) or 'nothing'}.", file=sys.stderr)
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
