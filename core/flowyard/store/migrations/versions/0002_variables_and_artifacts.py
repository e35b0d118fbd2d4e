"""Variables and artifacts."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Identifier, Json, PlainText, Timestamp

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "artifact",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("key", PlainText()),
        sa.Column("type", PlainText()),
        sa.Column("data", Json()),
        sa.Column("description", PlainText()),
        sa.Column("metadata", Json()),
        sa.Column("flow_run_id", Identifier()),
        sa.Column("task_run_id", Identifier()),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
    )
    op.create_index("ix_artifact__key", "artifact", ["key", "id"])
    op.create_index("ix_artifact__flow_run_id", "artifact", ["flow_run_id", "id"])
    op.create_index("ix_artifact__task_run_id", "artifact", ["task_run_id", "id"])
    op.create_table(
        "artifact_collection",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("key", PlainText(), nullable=False),
        sa.Column("latest_id", Identifier(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("key", name="uq_artifact_collection__key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_artifact_collection__latest_id", "artifact_collection", ["latest_id"])
    op.create_table(
        "variable",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("value", Json()),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("name", name="uq_variable__name"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("variable", "artifact_collection", "artifact"):
        op.drop_table(table)
