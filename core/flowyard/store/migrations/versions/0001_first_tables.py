"""The first tables: flows, runs, states, logs, leases, rollups."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Duration, Identifier, Json, PlainText, Timestamp

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "flow",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("name", name="uq_flow__name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "flow_run",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("flow_id", Identifier(), nullable=False),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("flow_version", PlainText()),
        sa.Column("parameters", Json(), nullable=False),
        sa.Column("context", Json(), nullable=False),
        sa.Column("empirical_policy", Json(), nullable=False),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("parent_task_run_id", Identifier()),
        sa.Column("deployment_id", Identifier()),
        sa.Column("infrastructure_pid", sa.Text()),
        sa.Column("idempotency_key", PlainText()),
        sa.Column("start_info", Json(), nullable=False),
        sa.Column("state_id", Identifier()),
        sa.Column("state_type", sa.Text()),
        sa.Column("state_name", PlainText()),
        sa.Column("state_timestamp", Timestamp()),
        sa.Column("run_count", sa.Integer(), nullable=False),
        sa.Column("expected_start_time", Timestamp()),
        sa.Column("next_scheduled_start_time", Timestamp()),
        sa.Column("start_time", Timestamp()),
        sa.Column("end_time", Timestamp()),
        sa.Column("total_run_time", Duration(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
    )
    op.create_index("ix_flow_run__flow_id", "flow_run", ["flow_id", "id"])
    op.create_index("uq_flow_run__flow_id_idempotency_key", "flow_run", ["flow_id", "idempotency_key"], unique=True)
    op.create_index("ix_flow_run__state_type", "flow_run", ["state_type", "id"])
    op.create_index("ix_flow_run__parent_task_run_id", "flow_run", ["parent_task_run_id"])
    for table, owner in (("flow_run_state", "flow_run_id"), ("task_run_state", "task_run_id")):
        op.create_table(
            table,
            sa.Column(owner, Identifier(), primary_key=True),
            sa.Column("id", Identifier(), primary_key=True),
            sa.Column("type", sa.Text(), nullable=False),
            sa.Column("name", PlainText(), nullable=False),
            sa.Column("message", PlainText()),
            sa.Column("timestamp", Timestamp(), nullable=False),
            sa.Column("state_details", Json()),
            sa.Column("data", Json()),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "task_run",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("flow_run_id", Identifier()),
        sa.Column("parent_task_run_id", Identifier()),
        sa.Column("task_key", PlainText(), nullable=False),
        sa.Column("dynamic_key", PlainText(), nullable=False),
        sa.Column("task_name", PlainText(), nullable=False),
        sa.Column("task_version", PlainText()),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("empirical_policy", Json(), nullable=False),
        sa.Column("task_inputs", Json(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("cache_key", PlainText()),
        sa.Column("cache_expiration", Timestamp()),
        sa.Column("flow_run_run_count", sa.Integer(), nullable=False),
        sa.Column("state_id", Identifier()),
        sa.Column("state_type", sa.Text()),
        sa.Column("state_name", PlainText()),
        sa.Column("state_timestamp", Timestamp()),
        sa.Column("run_count", sa.Integer(), nullable=False),
        sa.Column("expected_start_time", Timestamp()),
        sa.Column("next_scheduled_start_time", Timestamp()),
        sa.Column("start_time", Timestamp()),
        sa.Column("end_time", Timestamp()),
        sa.Column("total_run_time", Duration(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_task_run__flow_run_id", "task_run", ["flow_run_id", "id"])
    op.create_table(
        "log",
        sa.Column("flow_run_id", Identifier(), primary_key=True),
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("task_run_id", Identifier()),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("message", PlainText(), nullable=False),
        sa.Column("timestamp", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lease",
        sa.Column("flow_run_id", Identifier(), primary_key=True),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("last_batch", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", Identifier()),
        sa.Column("host", PlainText()),
        sa.Column("pid", sa.Integer()),
        sa.Column("process_start_time", Timestamp()),
        sa.Column("lock_path", PlainText()),
        sa.Column("acquired", Timestamp()),
        sa.Column("expires", Timestamp()),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lease__owner_id", "lease", ["owner_id"])
    op.create_table(
        "rollup",
        sa.Column("flow_run_id", Identifier(), primary_key=True),
        sa.Column("task_name", PlainText(), primary_key=True),
        sa.Column("state_name", PlainText(), primary_key=True),
        sa.Column("state_type", sa.Text(), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("rollup", "lease", "log", "task_run_state", "task_run", "flow_run_state", "flow_run", "flow"):
        op.drop_table(table)
