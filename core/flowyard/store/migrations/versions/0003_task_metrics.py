"""What was measured about task runs."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Json

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("task_run", sa.Column("metrics", Json()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("task_run", "metrics")
