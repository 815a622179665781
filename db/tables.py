"""The tables. Structures belong to an import, a dataset is a recipe over imports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    UniqueConstraint,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON().with_variant(JSONB(), "postgresql")
BigId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite autoincrements INTEGER keys only


class Base(DeclarativeBase):
    """Constraint names are fixed so that migrations can name them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Json, datetime: DateTime(timezone=True)}  # noqa: RUF012


def _created() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


class Import(Base):
    """One act of bringing structures in: a file, a query, a set of prototypes. Shown once `ready`."""

    __tablename__ = "imports"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    source: Mapped[str]  # file names, a summons, "prototypes"
    sha256: Mapped[str] = mapped_column(default="")  # of the source's bytes
    ready: Mapped[bool] = mapped_column(default=False)
    structures: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)  # licence, citation, counts by reason
    owner_id: Mapped[int | None]  # a person; NULL: nobody's, which is the administrators'
    created_at: Mapped[datetime] = _created()


class SkippedRow(Base):
    """A row of a source that was not taken, where it stood and why, in words."""

    __tablename__ = "skipped_rows"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), index=True)
    place: Mapped[str]  # "line 12", "a.cif"
    reason: Mapped[str]  # short, to be counted: "malformed", "duplicate", "unknown element"
    detail: Mapped[str]  # the sentence


class Structure(Base):
    """One crystal. `cell` is what `core.crystals.pack_cells` writes."""

    __tablename__ = "structures"
    __table_args__ = (UniqueConstraint("import_id", "label"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"))
    label: Mapped[str]  # auid, file name or content hash: unique within its import
    formula: Mapped[str]  # reduced, as pymatgen writes it
    chemical_system: Mapped[str]  # "B-Ta-W"
    natoms: Mapped[int]
    space_group: Mapped[int]  # 0 where unknown
    cell: Mapped[bytes]


class Energy(Base):
    """The energy of a structure by a method, eV/atom."""

    __tablename__ = "energies"
    structure_id: Mapped[int] = mapped_column(BigId, ForeignKey("structures.id", ondelete="CASCADE"), primary_key=True)
    method: Mapped[str] = mapped_column(String(64), primary_key=True)
    total: Mapped[float | None]
    formation: Mapped[float | None]
    reference: Mapped[str] = mapped_column(String(64), default="")  # the set of elemental references


class Dataset(Base):
    """An immutable recipe over imports; membership and tensors lie in a file named by the hash."""

    __tablename__ = "datasets"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    hash: Mapped[str] = mapped_column(String(64), index=True)
    method: Mapped[str] = mapped_column(String(64))  # energy method, "" where it has no energies
    recipe: Mapped[dict[str, Any]]
    summary: Mapped[dict[str, Any]]  # structures, formulas, elements, groups, ... counted once
    owner_id: Mapped[int | None]  # a person; NULL: nobody's, which is the administrators'
    created_at: Mapped[datetime] = _created()


class DatasetImport(Base):
    __tablename__ = "dataset_imports"
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"), primary_key=True)


class Job(Base):
    """Work in a process of its own; the row is its whole state. Times: seconds since 1970 there."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_status", "status"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    title: Mapped[str]
    params: Mapped[dict[str, Any]]
    device: Mapped[str] = mapped_column(String(32))  # its queue: "cpu", "cuda:0", "io", "slurm-gpu"
    runner: Mapped[str] = mapped_column(String(16), default="local")
    status: Mapped[str] = mapped_column(String(16), default="queued")
    progress: Mapped[float | None]
    message: Mapped[str] = mapped_column(default="")
    eta_s: Mapped[float | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str] = mapped_column(default="")  # the sentence; the traceback is in the log
    owner: Mapped[str] = mapped_column(default="")
    owner_id: Mapped[int | None]  # a person; NULL: nobody's, which is the administrators'
    attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested_at: Mapped[float | None]
    heartbeat: Mapped[float | None]
    host: Mapped[str] = mapped_column(default="")
    pid: Mapped[int | None]
    process_started: Mapped[float | None]  # seconds since the machine's start: a pid alone may be reused
    cluster_id: Mapped[str] = mapped_column(String(128), default="", server_default="")  # what Slurm or Ray calls it
    preempted: Mapped[int] = mapped_column(default=0, server_default="0")  # attempts that a cluster ended
    away: Mapped[bool] = mapped_column(default=False, server_default=false())  # its files wait in the artefacts
    folder: Mapped[str] = mapped_column(default="")
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Metric(Base):
    __tablename__ = "metrics"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[int] = mapped_column(BigId, primary_key=True)
    value: Mapped[float]


class Model(Base):
    """A trained network: a folder with model.safetensors, config.json and card.json."""

    __tablename__ = "models"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    task: Mapped[str] = mapped_column(String(32))  # generation, modification
    hash: Mapped[str] = mapped_column(String(64))  # of the weights
    energy_method: Mapped[str] = mapped_column(String(64), default="")
    folder: Mapped[str]
    card: Mapped[dict[str, Any]]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    owner_id: Mapped[int | None]  # a person; NULL: nobody's, which is the administrators'
    created_at: Mapped[datetime] = _created()


LISTED = (
    "deleted_at", "job_id", "index", "id", "model", "reduced_formula", "chemical_system", "natoms", "group_asked",
    "group_found", "energy_asked", "min_distance", "volume", "valid", "novel", "unique", "charge_balanced", "starred",
    "series",
)  # fmt: skip


class Candidate(Base):
    """A crystal that a model made. Energies in eV/atom, distances in Å."""

    __tablename__ = "candidates"
    __table_args__ = (
        Index("ix_candidates_system_formula", "chemical_system", "reduced_formula"),
        Index("ix_candidates_listed", *LISTED),  # lists are made from it alone: the cells are not read
    )
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    index: Mapped[int]  # number within its run; with the seed it names the sample
    model: Mapped[str]
    formula: Mapped[str]  # cell content
    reduced_formula: Mapped[str] = mapped_column(index=True)
    chemical_system: Mapped[str]
    natoms: Mapped[int]
    group_asked: Mapped[int | None]
    group_found: Mapped[int | None]
    symprec: Mapped[float | None]  # Å, the tolerance of group_found
    energy_asked: Mapped[float | None]
    energy_method: Mapped[str] = mapped_column(default="")  # of energy_asked
    min_distance: Mapped[float | None]
    volume: Mapped[float | None]  # Å³ per atom
    valid: Mapped[bool]
    problem: Mapped[str] = mapped_column(default="")  # why it is not valid, or what is unusual where it is, in words
    novel: Mapped[bool | None]  # new against every dataset in `novelty`
    unique: Mapped[bool | None]
    novelty: Mapped[dict[str, Any]] = mapped_column(default=dict)  # name of a dataset -> is it new there?
    groups: Mapped[dict[str, Any]] = mapped_column(default=dict)  # symprec in Å, as text -> space group found as drawn
    symmetrised: Mapped[float | None]  # Å, the farthest a site was moved onto the group; NULL as drawn
    charge_balanced: Mapped[bool | None]  # NULL where SMACT cannot say
    displacement: Mapped[float | None]  # Å, of the sites from the structure that was modified, root mean square
    volume_change: Mapped[float | None]  # of that structure's, as a share
    same_as_start: Mapped[bool | None]  # does the paper's matcher find that structure again?
    series: Mapped[str] = mapped_column(String(64), default="")  # which ladder of an experiment asked for it
    cell: Mapped[bytes]
    starred: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str] = mapped_column(default="")
    deleted_at: Mapped[datetime | None]  # in the bin since then
    created_at: Mapped[datetime] = _created()


class Relaxation(Base):
    """A candidate relaxed with a potential. Energies in eV/atom by that method; NULL where it failed."""

    __tablename__ = "relaxations"
    __table_args__ = (
        Index(
            "ix_relaxations_method",
            "method",
            "candidate_id",
            "formation_after",
            "formation_before",
            "total_after",
        ),
    )
    candidate_id: Mapped[int] = mapped_column(BigId, ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    method: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    status: Mapped[str] = mapped_column(String(32))  # converged, stopped at the step limit, failed: ...
    steps: Mapped[int] = mapped_column(default=0)
    total_before: Mapped[float | None]
    total_after: Mapped[float | None]
    formation_before: Mapped[float | None]
    formation_after: Mapped[float | None]
    max_force: Mapped[float | None]  # eV/Å
    group_found: Mapped[int | None]
    cell: Mapped[bytes | None]
    created_at: Mapped[datetime] = _created()


class Hull(Base):
    """The known phases of a chemical system by one method."""

    __tablename__ = "hulls"
    __table_args__ = (UniqueConstraint("chemical_system", "method", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    chemical_system: Mapped[str] = mapped_column(index=True)
    method: Mapped[str] = mapped_column(String(64))
    name: Mapped[str]
    source: Mapped[str] = mapped_column(default="")
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    owner_id: Mapped[int | None]  # a person; NULL: nobody's, which is the administrators'
    created_at: Mapped[datetime] = _created()


class HullEntry(Base):
    """One phase of a hull; formation energy and distance above that hull in eV/atom."""

    __tablename__ = "hull_entries"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    hull_id: Mapped[int] = mapped_column(ForeignKey("hulls.id", ondelete="CASCADE"), index=True)
    label: Mapped[str]
    formula: Mapped[str]  # reduced
    composition: Mapped[dict[str, Any]]  # element -> amount
    formation: Mapped[float]
    above_hull: Mapped[float]
    space_group: Mapped[int] = mapped_column(default=0)
    source: Mapped[str] = mapped_column(default="")  # prototype name, citation
    flag: Mapped[str] = mapped_column(default="", server_default="")  # why it does not shape the hull, "" where it does
    cell: Mapped[bytes | None]


class HullLevel(Base):
    """The energy of a hull at a composition, eV/atom: found once, so that candidates are sorted by SQL."""

    __tablename__ = "hull_levels"
    hull_id: Mapped[int] = mapped_column(ForeignKey("hulls.id", ondelete="CASCADE"), primary_key=True)
    reduced_formula: Mapped[str] = mapped_column(primary_key=True)
    energy: Mapped[float]


class Person(Base):
    """Somebody who has signed in. A provider knows them by its subject; addresses and names change."""

    __tablename__ = "people"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    address: Mapped[str] = mapped_column(default="")
    verified: Mapped[bool] = mapped_column(default=False)  # the provider does not doubt the address
    name: Mapped[str] = mapped_column(default="")
    role: Mapped[str] = mapped_column(String(16))  # none, viewer, editor, admin
    max_jobs: Mapped[int | None]  # running and queued; NULL: as the settings say, 0: no limit
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    first_seen: Mapped[float]
    last_seen: Mapped[float]
    signed_out: Mapped[float | None]  # cookies that were signed before it are worth nothing


class AuditEntry(Base):
    """Who did what to which thing, and when. Entries are added, never changed."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    person_id: Mapped[int | None]
    who: Mapped[str]
    action: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(32))  # job, dataset, model, hull, candidates, person
    thing: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
