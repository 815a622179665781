"""What is known of a candidate, what its owner thinks of it, and the energy of hulls at its composition."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("novelty", JSON, nullable=False, server_default="{}"),
        sa.Column("groups", JSON, nullable=False, server_default="{}"),
        sa.Column("symmetrised", sa.Double()),
        sa.Column("charge_balanced", sa.Boolean()),
        sa.Column("displacement", sa.Double()),
        sa.Column("volume_change", sa.Double()),
        sa.Column("same_as_start", sa.Boolean()),
        sa.Column("series", sa.String(64), nullable=False, server_default=""),
        sa.Column("starred", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("note", sa.String(), nullable=False, server_default=""),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
    ]


LISTED = [
    "deleted_at", "job_id", "index", "id", "model", "reduced_formula", "chemical_system", "natoms", "group_asked",
    "group_found", "energy_asked", "min_distance", "volume", "valid", "novel", "unique", "charge_balanced", "starred",
    "series",
]  # fmt: skip
RELAXED = ["method", "candidate_id", "formation_after", "formation_before", "total_after"]


def upgrade() -> None:
    for column in columns():
        op.add_column("candidates", column)
    op.drop_index("ix_candidates_chemical_system", "candidates")
    op.create_index("ix_candidates_system_formula", "candidates", ["chemical_system", "reduced_formula"])
    op.create_index("ix_candidates_listed", "candidates", LISTED)
    op.create_index("ix_relaxations_method", "relaxations", RELAXED)
    op.create_table(
        "hull_levels",
        sa.Column("hull_id", sa.Integer(), nullable=False),
        sa.Column("reduced_formula", sa.String(), nullable=False),
        sa.Column("energy", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["hull_id"], ["hulls.id"], name="fk_hull_levels_hull_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hull_id", "reduced_formula", name="pk_hull_levels"),
    )


def downgrade() -> None:
    op.drop_table("hull_levels")
    op.drop_index("ix_relaxations_method", "relaxations")
    op.drop_index("ix_candidates_listed", "candidates")
    op.drop_index("ix_candidates_system_formula", "candidates")
    op.create_index("ix_candidates_chemical_system", "candidates", ["chemical_system"])
    for column in columns():
        op.drop_column("candidates", column.name)
