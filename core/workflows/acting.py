"""Who does what is being done, and whether they may.

On the command line that is the local administrator, in a worker whoever the job belongs to, in a block of `acting_as`
the one it names. A server says through `answer_with` how to find out who a script runs for; where it cannot tell,
nobody is acting, who may do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from core.settings import settings
from core.workflows.context import UserError
from core.workflows.store import store
from db import people as rows

NONE, VIEWER, EDITOR, ADMIN = ROLES = ("none", "viewer", "editor", "admin")
_ABLE = {
    VIEWER: "look at anything here",
    EDITOR: "import, train, generate or change anything",
    ADMIN: "do this",
}


class NotAllowed(UserError):
    """The one who acts may not do this; the message says why."""


@dataclass(frozen=True)
class Acting:
    """id: of a person in the store, None without an account; name: written on what they do; role: one of ROLES."""

    id: int | None
    name: str
    role: str

    def may(self, role: str) -> bool:
        """Is that their role, or less than it?"""
        return ROLES.index(self.role) >= ROLES.index(role)


NOBODY = Acting(None, "nobody", NONE)
THE_APP = Acting(None, "Subhull", ADMIN)  # what ships is put into the store by it

_here: ContextVar[Acting | None] = ContextVar("acting", default=None)
_answer: list[Callable[[], Acting]] = []  # at most one


def local_administrator() -> Acting:
    """Whoever runs the program: nobody else is there to ask."""
    return Acting(None, settings().owner, ADMIN)


def acting() -> Acting:
    """The one who acts here and now."""
    return _here.get() or (_answer[0]() if _answer else local_administrator())


@contextmanager
def acting_as(person: Acting) -> Iterator[None]:
    """In this block, and in what it calls in this thread, that person acts."""
    token = _here.set(person)
    try:
        yield
    finally:
        _here.reset(token)


def answer_with(find_out: Callable[[], Acting] | None) -> None:
    """From now on `find_out` says in this process, in any thread, who acts; None: the local administrator again."""
    _answer[:] = [find_out] if find_out else []


def refusal(role: str) -> str:
    """Why the one who acts may not do what needs a role, in a sentence; "" where they may."""
    person = acting()
    if person.may(role):
        return ""
    if person == NOBODY:
        return "Nobody is signed in: sign in first."
    who = "Only administrators can" if role == ADMIN else "Only editors and administrators can"
    if role == VIEWER:
        who = "Only those whom an administrator gave a role can"
    return f"{who} {_ABLE[role]}; your role is {person.role}."


def refusal_to_change(what: str, owner_id: int | None) -> str:
    """Why the one who acts may not delete, rename or stop something of an owner; "" where they may."""
    person = acting()
    if person.may(ADMIN):
        return ""
    if not person.may(EDITOR):
        return refusal(EDITOR)
    if owner_id is not None and owner_id == person.id:
        return ""
    return f"{what} belongs to {name_of(owner_id)}: only its owner or an administrator can do this."


def require(role: str) -> Acting:
    """The one who acts, who has that role at least. Raises NotAllowed."""
    if why := refusal(role):
        raise NotAllowed(why)
    return acting()


def require_owner(what: str, owner_id: int | None) -> Acting:
    """The one who acts, who owns it or is an administrator. Raises NotAllowed."""
    if why := refusal_to_change(what, owner_id):
        raise NotAllowed(why)
    return acting()


def name_of(person_id: int | None) -> str:
    """The name or address of a person; "nobody" for what was made before there were accounts."""
    if person_id is None:
        return "nobody"
    with store().session() as session:
        person = rows.get_person(session, person_id)
    return (person.name or person.address) if person else "nobody"
