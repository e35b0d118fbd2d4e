"""Concurrency limits, their slots, and who waits for them."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Identifier, PlainText, Timestamp

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "concurrency_limit",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("slot_limit", sa.Integer, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("slot_decay_per_second", sa.Double, nullable=False),
        sa.Column("avg_slot_occupancy_seconds", sa.Double, nullable=False),
        sa.Column("decaying_slots", sa.Integer, nullable=False),
        sa.Column("decayed", Timestamp(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("name", name="uq_concurrency_limit__name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "concurrency_slot",
        sa.Column("limit_id", Identifier(), primary_key=True),
        sa.Column("lease_id", Identifier(), primary_key=True),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("owner_id", Identifier(), nullable=False),
        sa.Column("flow_run_id", Identifier()),
        sa.Column("task_run_id", Identifier()),
        sa.Column("acquired", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_concurrency_slot__lease_id", "concurrency_slot", ["lease_id"])
    op.create_table(
        "concurrency_waiter",
        sa.Column("limit_id", Identifier(), primary_key=True),
        sa.Column("lease_id", Identifier(), primary_key=True),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("seen", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_concurrency_waiter__lease_id", "concurrency_waiter", ["lease_id"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("concurrency_waiter", "concurrency_slot", "concurrency_limit"):
        op.drop_table(table)
