"""The store of this process: one database, migrated on first use, and the folders beside it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from core.settings import settings
from db.session import Database


def store() -> Database:
    """The database that the settings name, its tables up to date."""
    return _open(settings().database_url)


@lru_cache(maxsize=8)
def _open(url: str) -> Database:
    database = Database(url)
    database.migrate()
    return database


def folder(kind: str) -> Path:
    """A folder of files beside the database: "jobs", "datasets", "models" or "uploads"."""
    path = settings().var / kind
    path.mkdir(parents=True, exist_ok=True)
    return path
