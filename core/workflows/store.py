"""The store of this process: one database, migrated on first use, and the folders beside it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from core.settings import settings
from core.workflows.context import UserError
from db.session import Database, in_words


def store() -> Database:
    """The database that the settings name, its tables up to date."""
    return _open(settings().database_url)


@lru_cache(maxsize=8)
def _open(url: str) -> Database:
    try:
        made_var()
        database = Database(url)
        database.migrate()
    except (OSError, DBAPIError) as error:
        why = in_words(error) if isinstance(error, DBAPIError) else f"{error.strerror or error}."
        raise UserError(_unusable(why)) from error
    return database


def made_var() -> Path:
    """The folder SUBHULL_VAR; where it is made anew, it is its user's alone. Raises OSError."""
    var = settings().var
    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    return var


def folder(kind: str) -> Path:
    """A folder of files beside the database: "jobs", "datasets", "models" or "uploads"."""
    path = settings().var / kind
    try:
        made_var()
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(_unusable(f"{error.strerror or error}.")) from error
    return path


def _unusable(why: str) -> str:
    return (
        f"The store cannot be opened: {why} It is {settings().shown_database} with the folder {settings().var}; "
        "SUBHULL_VAR and SUBHULL_DATABASE_URL name another one."
    )
