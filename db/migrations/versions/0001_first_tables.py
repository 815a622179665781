"""First tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("recipe", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("summary", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("(CURRENT_TIMESTAMP)"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_datasets_hash"), ["hash"], unique=False)

    op.create_table(
        "hulls",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("chemical_system", sa.String(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("notes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("(CURRENT_TIMESTAMP)"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hulls")),
        sa.UniqueConstraint("chemical_system", "method", "name", name=op.f("uq_hulls_chemical_system")),
    )
    with op.batch_alter_table("hulls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_hulls_chemical_system"), ["chemical_system"], unique=False)

    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("structures", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("notes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("(CURRENT_TIMESTAMP)"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("params", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("runner", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.Double(), nullable=True),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("eta_s", sa.Double(), nullable=True),
        sa.Column("result", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested_at", sa.Double(), nullable=True),
        sa.Column("heartbeat", sa.Double(), nullable=True),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("process_started", sa.Double(), nullable=True),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_status", ["status"], unique=False)

    op.create_table(
        "candidates",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("formula", sa.String(), nullable=False),
        sa.Column("reduced_formula", sa.String(), nullable=False),
        sa.Column("chemical_system", sa.String(), nullable=False),
        sa.Column("natoms", sa.Integer(), nullable=False),
        sa.Column("group_asked", sa.Integer(), nullable=True),
        sa.Column("group_found", sa.Integer(), nullable=True),
        sa.Column("symprec", sa.Double(), nullable=True),
        sa.Column("energy_asked", sa.Double(), nullable=True),
        sa.Column("energy_method", sa.String(), nullable=False),
        sa.Column("min_distance", sa.Double(), nullable=True),
        sa.Column("volume", sa.Double(), nullable=True),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("novel", sa.Boolean(), nullable=True),
        sa.Column("unique", sa.Boolean(), nullable=True),
        sa.Column("cell", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("(CURRENT_TIMESTAMP)"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_candidates_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidates")),
    )
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_candidates_chemical_system"), ["chemical_system"], unique=False)
        batch_op.create_index(batch_op.f("ix_candidates_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_candidates_reduced_formula"), ["reduced_formula"], unique=False)

    op.create_table(
        "dataset_imports",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_imports_dataset_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_dataset_imports_import_id")),
        sa.PrimaryKeyConstraint("dataset_id", "import_id", name=op.f("pk_dataset_imports")),
    )
    op.create_table(
        "hull_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hull_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("formula", sa.String(), nullable=False),
        sa.Column("composition", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("formation", sa.Double(), nullable=False),
        sa.Column("above_hull", sa.Double(), nullable=False),
        sa.Column("space_group", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("cell", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["hull_id"], ["hulls.id"], name=op.f("fk_hull_entries_hull_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hull_entries")),
    )
    with op.batch_alter_table("hull_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_hull_entries_hull_id"), ["hull_id"], unique=False)

    op.create_table(
        "metrics",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_metrics_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", "step", name=op.f("pk_metrics")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("energy_method", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("card", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("(CURRENT_TIMESTAMP)"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_models_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    op.create_table(
        "skipped_rows",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_skipped_rows_import_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_skipped_rows")),
    )
    with op.batch_alter_table("skipped_rows", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_skipped_rows_import_id"), ["import_id"], unique=False)

    op.create_table(
        "structures",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("formula", sa.String(), nullable=False),
        sa.Column("chemical_system", sa.String(), nullable=False),
        sa.Column("natoms", sa.Integer(), nullable=False),
        sa.Column("space_group", sa.Integer(), nullable=False),
        sa.Column("cell", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_structures_import_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_structures")),
        sa.UniqueConstraint("import_id", "label", name=op.f("uq_structures_import_id")),
    )
    with op.batch_alter_table("structures", schema=None) as batch_op:
        batch_op.create_index("ix_structures_import_formula", ["import_id", "formula"], unique=False)
        batch_op.create_index("ix_structures_system", ["chemical_system"], unique=False)

    op.create_table(
        "energies",
        sa.Column("structure_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("total", sa.Double(), nullable=True),
        sa.Column("formation", sa.Double(), nullable=True),
        sa.Column("reference", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structures.id"], name=op.f("fk_energies_structure_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("structure_id", "method", name=op.f("pk_energies")),
    )
    op.create_table(
        "relaxations",
        sa.Column("candidate_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("total_before", sa.Double(), nullable=True),
        sa.Column("total_after", sa.Double(), nullable=True),
        sa.Column("formation_before", sa.Double(), nullable=True),
        sa.Column("formation_after", sa.Double(), nullable=True),
        sa.Column("max_force", sa.Double(), nullable=True),
        sa.Column("group_found", sa.Integer(), nullable=True),
        sa.Column("cell", sa.LargeBinary(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("(CURRENT_TIMESTAMP)"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name=op.f("fk_relaxations_candidate_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_relaxations_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("candidate_id", "method", name=op.f("pk_relaxations")),
    )


def downgrade() -> None:

    op.drop_table("relaxations")
    op.drop_table("energies")
    with op.batch_alter_table("structures", schema=None) as batch_op:
        batch_op.drop_index("ix_structures_system")
        batch_op.drop_index("ix_structures_import_formula")

    op.drop_table("structures")
    with op.batch_alter_table("skipped_rows", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_skipped_rows_import_id"))

    op.drop_table("skipped_rows")
    op.drop_table("models")
    op.drop_table("metrics")
    with op.batch_alter_table("hull_entries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_hull_entries_hull_id"))

    op.drop_table("hull_entries")
    op.drop_table("dataset_imports")
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_candidates_reduced_formula"))
        batch_op.drop_index(batch_op.f("ix_candidates_job_id"))
        batch_op.drop_index(batch_op.f("ix_candidates_chemical_system"))

    op.drop_table("candidates")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_status")

    op.drop_table("jobs")
    op.drop_table("imports")
    with op.batch_alter_table("hulls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_hulls_chemical_system"))

    op.drop_table("hulls")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_datasets_hash"))

    op.drop_table("datasets")
