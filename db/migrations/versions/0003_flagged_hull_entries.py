"""Entries of a hull that its source keeps off it: listed, with the reason."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hull_entries", sa.Column("flag", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("hull_entries", "flag")
