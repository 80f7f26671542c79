"""slots of a lease: how many slots a controller has, once it has found its cluster."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Applies this revision."""
    op.add_column("leases", sa.Column("slots", sa.Integer(), nullable=True))
