"""Questions about imports, structures and their energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from db.bulk import insert_rows, next_ids
from db.tables import Energy, Import, SkippedRow, Structure

_IDS_PER_QUERY = 5_000  # far under both databases' limits of bound values


def add_import(session: Session, name: str, source: str, owner_id: int | None = None) -> int:
    """An import that is not shown yet."""
    row = Import(name=name, source=source, notes={}, owner_id=owner_id)
    session.add(row)
    session.flush()
    return row.id


StructureValues = tuple[str, str, str, int, int, bytes]  # label, formula, chemical system, natoms, space group, cell
EnergyValues = tuple[int, str, float | None, float | None]  # index into the structures, method, total, formation


def add_structures(
    session: Session, import_id: int, structures: Sequence[StructureValues], energies: Sequence[EnergyValues] = ()
) -> list[int]:
    """Insert structures of an import with their energies (eV/atom). Returns ids in order."""
    ids = next_ids(session, Structure, len(structures))
    columns = ("id", "import_id", "label", "formula", "chemical_system", "natoms", "space_group", "cell")
    insert_rows(session, Structure, columns, ((i, import_id, *s) for i, s in zip(ids, structures, strict=True)))
    of_energies = ("structure_id", "method", "total", "formation", "reference")
    insert_rows(session, Energy, of_energies, ((ids[i], method, t, f, "") for i, method, t, f in energies))
    return ids


def add_skipped(session: Session, import_id: int, rows: Sequence[tuple[str, str, str]]) -> None:
    """(place, reason, detail) of what was not taken."""
    if rows:
        values = [{"import_id": import_id, "place": p, "reason": r, "detail": d} for p, r, d in rows]
        session.execute(insert(SkippedRow), values)


def finish_import(session: Session, import_id: int, **values: Any) -> None:
    """Show an import from now on, with its counts."""
    session.execute(update(Import).where(Import.id == import_id).values(ready=True, **values))


def drop_import(session: Session, import_id: int) -> None:
    """Remove an import with all that belongs to it."""
    session.execute(delete(Import).where(Import.id == import_id))


def get_import(session: Session, import_id: int) -> Import | None:
    return session.get(Import, import_id)


def skipped_rows(
    session: Session, import_ids: Sequence[int], limit: int = 200, offset: int = 0, reason: str | None = None
) -> list[SkippedRow]:
    query = select(SkippedRow).where(SkippedRow.import_id.in_(import_ids)).order_by(SkippedRow.id)
    if reason is not None:
        query = query.where(SkippedRow.reason == reason)
    return list(session.scalars(query.limit(limit).offset(offset)))


def count_skipped(session: Session, import_ids: Sequence[int]) -> dict[str, int]:
    """Reason -> rows."""
    query = select(SkippedRow.reason, func.count()).where(SkippedRow.import_id.in_(import_ids))
    return {reason: int(n) for reason, n in session.execute(query.group_by(SkippedRow.reason))}


def structures_of_import(session: Session, import_id: int) -> list[int]:
    """Ids in the order they came."""
    query = select(Structure.id).where(Structure.import_id == import_id).order_by(Structure.id)
    return [int(i) for i in session.scalars(query)]


def get_structures(session: Session, ids: Sequence[int]) -> list[Structure]:
    """The structures of these ids, in that order; ids that are gone are left out."""
    found: dict[int, Structure] = {}
    for start in range(0, len(ids), _IDS_PER_QUERY):
        part = ids[start : start + _IDS_PER_QUERY]
        for row in session.scalars(select(Structure).where(Structure.id.in_(part))):
            found[row.id] = row
    return [found[i] for i in ids if i in found]


def structures_by_label(session: Session, labels: Sequence[str]) -> list[Structure]:
    """Structures of these labels in any import that is shown, newest import first."""
    imports = session.scalars(select(Import.id).where(Import.ready).order_by(Import.id.desc())).all()
    found: list[Structure] = []
    for import_id in imports:  # one by one: the index is on (import, label)
        for start in range(0, len(labels), _IDS_PER_QUERY):
            part = labels[start : start + _IDS_PER_QUERY]
            query = select(Structure).where(Structure.import_id == import_id, Structure.label.in_(part))
            found += session.scalars(query)
    return found


def get_energies(session: Session, ids: Sequence[int], method: str | None = None) -> list[Energy]:
    """Energies of these structures, of one method or of all."""
    rows: list[Energy] = []
    for start in range(0, len(ids), _IDS_PER_QUERY):
        query = select(Energy).where(Energy.structure_id.in_(ids[start : start + _IDS_PER_QUERY]))
        if method is not None:
            query = query.where(Energy.method == method)
        rows += session.scalars(query)
    return rows


def methods_of_import(session: Session, import_id: int) -> dict[str, int]:
    """Energy method -> structures of the import that have it."""
    query = (
        select(Energy.method, func.count())
        .join(Structure, Structure.id == Energy.structure_id)
        .where(Structure.import_id == import_id)
        .group_by(Energy.method)
    )
    return {m: int(n) for m, n in session.execute(query)}


def list_imports(session: Session) -> list[Import]:
    """Those that are shown, newest first."""
    return list(session.scalars(select(Import).where(Import.ready).order_by(Import.id.desc())))


def unfinished_imports(session: Session) -> list[Import]:
    """Imports that are not shown: running, or left behind by a killed job."""
    return list(session.scalars(select(Import).where(~Import.ready)))


def note_import(session: Session, import_id: int, notes: dict[str, Any]) -> None:
    session.execute(update(Import).where(Import.id == import_id).values(notes=notes))
