"""stacking: a job's fitted layer, and its accuracy on the images that it was fitted to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Applies this revision."""
    # Columns that may be empty: SQLite adds them in place, without copying the table.
    op.add_column("jobs", sa.Column("val_accuracy_refit", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("stacker", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("stacker_sha256", sa.String(length=64), nullable=True))
