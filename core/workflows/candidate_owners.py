"""Whose candidates are: those of a run are its owner's."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from core.workflows.acting import ADMIN, EDITOR, NotAllowed, require
from db import candidates as rows
from db.candidate_lists import CandidateFilter, Placing

_NAMED = 50  # candidates that the audit log names one by one


def require_own(session: Session, which: rows.Which | datetime, placing: Placing | None) -> None:
    """The one who acts may delete all of these, or of one deletion. Raises NotAllowed."""
    who = require(EDITOR)
    others = 0 if who.may(ADMIN) else rows.not_of(session, which, who.id, placing)
    if others:
        raise NotAllowed(
            f"{others:,} of them {'belongs' if others == 1 else 'belong'} to others: "
            "only the owner of a run or an administrator can delete its candidates or bring them back."
        )


def words_of(which: rows.Which | datetime) -> str:
    """Which candidates, for the audit log."""
    if isinstance(which, datetime):
        return "those of one deletion"
    if isinstance(which, CandidateFilter):
        return "all that pass a filter"
    return ", ".join(map(str, list(which)[:_NAMED])) + (" …" if len(which) > _NAMED else "")
