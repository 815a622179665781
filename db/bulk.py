"""Many rows in one go: executemany on SQLite, COPY on Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.session import write_lock
from db.tables import Base

# indices of two million rows outgrow SQLite's usual 2 MB, and checkpoints every 4 MB write their pages again and again
_BULK = ("PRAGMA cache_size = -262144", "PRAGMA wal_autocheckpoint = 20000")


def next_ids(session: Session, table: type[Base], count: int) -> list[int]:
    """Ids for rows to come, taken in this transaction; they rise, on Postgres not always by one."""
    name = table.__tablename__
    if session.get_bind().dialect.name == "sqlite":
        write_lock(session)
        last = session.scalar(select(func.max(table.__table__.c.id))) or 0
        return list(range(last + 1, last + 1 + count))
    drawn = session.execute(text(f"SELECT nextval('{name}_id_seq') FROM generate_series(1, {int(count)})"))
    return sorted(int(row[0]) for row in drawn)


def insert_rows(session: Session, table: type[Base], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows of values in the order of `columns`."""
    connection = session.connection()
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(columns))
        values = [tuple(row) for row in rows]
        if values:
            for pragma in _BULK:
                connection.exec_driver_sql(pragma)
            connection.exec_driver_sql(f"INSERT INTO {table.__tablename__} ({names}) VALUES ({places})", values)
        return
    cursor: Any = connection.connection.cursor()
    with cursor, cursor.copy(f"COPY {table.__tablename__} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
