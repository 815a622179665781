"""Jobs on clusters: what the cluster calls them, how often it ended them, whether their files are still away."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("cluster_id", sa.String(128), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("preempted", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("away", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    for name in ("away", "preempted", "cluster_id"):
        op.drop_column("jobs", name)
