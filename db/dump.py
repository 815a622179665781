"""Every row of a database out of it and into another: one snapshot, one transaction, SQLite and Postgres alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Connection, DateTime, MetaData, Table, func, insert, inspect, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from db.session import Database
from db.tables import Base, Candidate, Job

TABLES = tuple(table.name for table in Base.metadata.sorted_tables)  # parents before their children
_VERSION = "alembic_version"
_CHUNK = 5_000

Rows = list[dict[str, Any]]


@contextmanager
def snapshot(database: Database) -> Iterator[Connection]:
    """A connection that sees the database as it is now, whatever is written meanwhile."""
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            connection.execute(select(func.count()).select_from(Job))  # the first read fixes what is seen
            yield connection


def revision(connection: Connection) -> str:
    """Of its tables, as Alembic counts them; "" where there are none."""
    if not inspect(connection).has_table(_VERSION):
        return ""
    return str(connection.scalar(text(f"SELECT version_num FROM {_VERSION}")) or "")


def read_rows(connection: Connection, name: str) -> Iterator[Rows]:
    """The rows of a table by their key, some thousand at a time; times are aware and in UTC."""
    table = Base.metadata.tables[name]
    times = [c.name for c in table.columns if isinstance(c.type, DateTime)]
    result = connection.execution_options(yield_per=_CHUNK).execute(select(table).order_by(*table.primary_key.columns))
    for part in result.mappings().partitions():
        rows = [dict(row) for row in part]
        for row in rows:
            row |= {c: _aware(row[c]) for c in times}
        yield rows


def _aware(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


@contextmanager
def rebuilt(database: Database, at: str) -> Iterator[Connection]:
    """A transaction in which every table was made anew and empty, as of revision `at`, and is brought up to date at
    its end. If it fails the database is what it was."""
    with database.engine.begin() as connection:
        found = MetaData()
        found.reflect(connection, only=lambda name, _: name in (*TABLES, _VERSION))
        found.drop_all(connection)
        database.upgrade(connection, at)
        yield connection
        database.upgrade(connection, "head")
        if not database.is_sqlite:
            _count_on(connection)


def write_rows(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows with the columns of `table`, see `reflected`."""
    times = [c.name for c in table.columns if isinstance(c.type, DateTime)]
    naive = connection.dialect.name == "sqlite"  # its times are text without a zone, in UTC
    values = [dict(row) for row in rows]
    for row in values:
        for name in times:
            if naive and row[name] is not None:
                row[name] = row[name].astimezone(UTC).replace(tzinfo=None)
    if values:
        connection.execute(insert(table), values)


def reflected(connection: Connection, name: str) -> Table:
    """A table as it is in this database at this moment, which may be of an older revision than the code."""
    table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
    for column in table.columns:
        if isinstance(column.type, JSON):
            column.type = (JSONB if connection.dialect.name == "postgresql" else JSON)(none_as_null=True)
        elif isinstance(column.type, DateTime):
            column.type = DateTime(timezone=True)
    return table


def stop_running(connection: Connection) -> None:
    """What ran when the copy was made runs nowhere here: it is lost, and goes on if it can."""
    connection.execute(
        update(Job)
        .where(Job.status == "running")
        .values(status="lost", pid=None, process_started=None, message="Its store was restored")
    )


def in_use(connection: Connection, shipped: Sequence[str]) -> str:
    """What a restore would destroy, in words: "" in a store that holds only what ships (names of its parts)."""
    metadata = Base.metadata.tables
    counts = {
        "jobs": select(func.count()).select_from(Job),
        "candidates": select(func.count()).select_from(Candidate),
    }
    for name in ("imports", "models"):
        table = metadata[name]
        counts[name] = select(func.count()).select_from(table).where(table.c.name.not_in(shipped))
    found = {name: int(connection.scalar(query) or 0) for name, query in counts.items()}
    return ", ".join(f"{n:,} {name if n > 1 else name[:-1]}" for name, n in found.items() if n)


def _count_on(connection: Connection) -> None:
    """Postgres' sequences go on behind the highest number that was written."""
    for table in Base.metadata.sorted_tables:
        key = list(table.primary_key.columns)
        if len(key) != 1 or key[0].name != "id":
            continue
        sequence = connection.scalar(text(f"SELECT pg_get_serial_sequence('{table.name}', 'id')"))
        if sequence:
            highest = f"(SELECT max(id) FROM {table.name})"
            connection.execute(text(f"SELECT setval('{sequence}', coalesce({highest}, 1), {highest} IS NOT NULL)"))
