"""Questions about datasets and models."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.tables import Candidate, Dataset, DatasetImport, Model


def add_dataset(session: Session, import_ids: list[int], **values: Any) -> int:
    row = Dataset(**values)
    session.add(row)
    session.flush()
    session.add_all(DatasetImport(dataset_id=row.id, import_id=i) for i in import_ids)
    return row.id


def list_datasets(session: Session) -> list[Dataset]:
    """Newest first."""
    return list(session.scalars(select(Dataset).order_by(Dataset.id.desc())))


def find_dataset(session: Session, name_or_hash: str) -> Dataset | None:
    """By name, else by content hash."""
    found = session.scalar(select(Dataset).where(Dataset.name == name_or_hash))
    return found or session.scalar(select(Dataset).where(Dataset.hash == name_or_hash).limit(1))


def imports_of(session: Session, dataset_id: int) -> list[int]:
    query = select(DatasetImport.import_id).where(DatasetImport.dataset_id == dataset_id)
    return [int(i) for i in session.scalars(query)]


def datasets_of_import(session: Session, import_id: int) -> int:
    """How many datasets share an import."""
    query = select(func.count()).where(DatasetImport.import_id == import_id)
    return int(session.scalar(query) or 0)


def datasets_with_hash(session: Session, content: str) -> int:
    """How many datasets (of different names) have the same content."""
    return int(session.scalar(select(func.count()).where(Dataset.hash == content)) or 0)


def drop_dataset(session: Session, dataset_id: int) -> None:
    session.execute(delete(DatasetImport).where(DatasetImport.dataset_id == dataset_id))
    session.execute(delete(Dataset).where(Dataset.id == dataset_id))


def add_model(session: Session, **values: Any) -> int:
    row = Model(**values)
    session.add(row)
    session.flush()
    return row.id


def list_models(session: Session, task: str | None = None) -> list[Model]:
    """Newest first."""
    query = select(Model).order_by(Model.id.desc())
    return list(session.scalars(query.where(Model.task == task) if task else query))


def find_model(session: Session, name: str) -> Model | None:
    return session.scalar(select(Model).where(Model.name == name))


def model_of_job(session: Session, job_id: int) -> Model | None:
    """What a training made."""
    return session.scalar(select(Model).where(Model.job_id == job_id).limit(1))


def rename_model(session: Session, model_id: int, old: str, new: str) -> None:
    """The model and the candidates that carry its name."""
    session.execute(update(Model).where(Model.id == model_id).values(name=new))
    session.execute(update(Candidate).where(Candidate.model == old).values(model=new))


def drop_model(session: Session, model_id: int) -> None:
    session.execute(delete(Model).where(Model.id == model_id))


def candidates_of_model(session: Session, name: str) -> int:
    return int(session.scalar(select(func.count()).where(Candidate.model == name)) or 0)
