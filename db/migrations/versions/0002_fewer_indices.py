"""Structures are looked for in the arrays of their import, not by formula or system in SQL: two indices fewer."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_structures_import_formula", table_name="structures")
    op.drop_index("ix_structures_system", table_name="structures")


def downgrade() -> None:
    op.create_index("ix_structures_import_formula", "structures", ["import_id", "formula"])
    op.create_index("ix_structures_system", "structures", ["chemical_system"])
