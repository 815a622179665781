"""A database and its sessions: SQLite or Postgres behind one object."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    cast,
    create_engine,
    event,
    extract,
    func,
    literal_column,
    text,
)
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.orm import Session, sessionmaker

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_KEY = 7_365_626  # any number, the same in every server: Postgres' advisory lock of the migrations


class Database:
    """One database by SQLAlchemy URL. Cheap to make; connects when used."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls everything back if it raises."""
        with self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """As `session`, for what reads before it writes: SQLite ends it where another wrote in between, so none may."""
        with self.session() as session:
            if self.is_sqlite:
                write_lock(session)
            yield session

    def migrate(self) -> None:
        """Bring the tables up to date. Servers that start together wait for each other."""
        with self._migration_lock(), self.engine.connect() as connection:
            self.upgrade(connection, "head")
            connection.commit()

    def upgrade(self, connection: Connection, revision: str) -> None:
        """Run the migrations up to a revision ("head": all) on a connection, inside its transaction."""
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    def knows(self, revision: str) -> bool:
        """Is it a revision of the tables that this version of the project can bring up to date?"""
        return revision in {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _migration_lock(self) -> Iterator[None]:
        if self.is_sqlite:
            path = Path(f"{self.engine.url.database}.migrating")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            return
        with self.engine.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({_LOCK_KEY})"))
            try:
                yield
            finally:
                connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK_KEY})"))
                connection.commit()


def now(session: Session) -> ColumnElement[float]:
    """Seconds since 1970 by the database's clock, as an SQL expression: servers' clocks may differ."""
    if session.get_bind().dialect.name == "sqlite":
        return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float)
    return cast(extract("epoch", func.clock_timestamp()), Float)


def is_away(error: SQLAlchemyError) -> bool:
    """Can the same be asked again in a moment: is the server away, or SQLite's file locked?"""
    if not isinstance(error, DBAPIError):
        return isinstance(error, TimeoutError)  # no connection became free
    if error.connection_invalidated or "database is locked" in str(error.orig):
        return True
    state = getattr(error.orig, "sqlstate", "")  # None before there is a connection; SQLite knows none
    return isinstance(error, OperationalError) and (state is None or state[:2] in ("08", "57"))


def in_words(error: SQLAlchemyError) -> str:
    """What is wrong with the database, and what to do, in a sentence."""
    said = str(getattr(error, "orig", error))
    if "is full" in said or "No space left" in said or "DiskFull" in type(getattr(error, "orig", error)).__name__:
        return "The disk is full: make room on it, and go on."
    if "readonly" in said or "read-only" in said:
        return "The database can only be read: its file or its disk is read-only."
    if "disk I/O error" in said or "malformed" in said or "not a database" in said:
        return f"The database's file cannot be used ({said}): check the disk, and take a copy from before."
    refusal = re.search(r"FATAL:\s+(.*(?:does not exist|authentication failed|pg_hba|not permitted|denied).*)", said)
    if refusal:
        return f"The database's server refuses: {refusal[1].strip()}."
    if is_away(error):
        return "The database cannot be reached just now: try again in a moment."
    return f"The database refused what was asked: {type(error).__name__}. The log has the details."


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """WAL lets pages read while a job writes; without `isolation_level = None` sqlite3 begins when it likes."""
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "busy_timeout = 30000", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Deferred for reads; what reads first and writes then is `Database.writing`, or takes the `write_lock`."""
    connection.exec_driver_sql("BEGIN")


def write_lock(session: Session) -> None:
    """Make this transaction the only one of its kind before it reads what it is going to change."""
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text("UPDATE jobs SET id = id WHERE id < 0"))  # takes SQLite's one write lock
    else:
        session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY + 1})"))
