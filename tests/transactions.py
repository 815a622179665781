"""SQLite ends a transaction that reads and then writes where another wrote in between: none of the app's may."""

from __future__ import annotations

import traceback
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session


def watch() -> None:
    """From now on such a transaction of the app fails, on whatever thread of this process it runs."""
    event.listen(Engine, "begin", lambda connection: connection.info.pop("first", None))
    event.listen(Session, "after_begin", _begin)
    event.listen(Engine, "before_cursor_execute", _judge)


def _begin(_: Session, __: Any, connection: Connection) -> None:
    connection.info["first"] = ""


def _judge(connection: Connection, _: Any, statement: str, *__: Any) -> None:
    first = connection.info.get("first")  # only in a session's transaction
    if connection.dialect.name != "sqlite" or first is None:
        return
    kind = statement.split(maxsplit=1)[0].upper()
    writes = kind in ("INSERT", "UPDATE", "DELETE")
    if writes and first == "SELECT":
        assert "/core/" not in _asker(), "it reads before it writes: store().writing() lets nobody write in between"
    if writes or kind == "SELECT":
        connection.info["first"] = first or kind


def _asker() -> str:
    """The file that asks the tables' functions."""
    files = [frame.filename for frame in traceback.extract_stack()]
    between = ("site-packages", "/lib/python", "/db/", __file__)
    return next((f for f in reversed(files) if not any(part in f for part in between)), "")
