"""Deployments, their schedules, work pools, queues and workers."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Identifier, Json, PlainText, Timestamp

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "work_pool",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("description", PlainText()),
        sa.Column("type", PlainText(), nullable=False),
        sa.Column("base_job_template", Json(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("concurrency_limit", sa.Integer()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("default_queue_id", Identifier(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("name", name="uq_work_pool__name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "work_queue",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("filter", Json()),
        sa.Column("description", PlainText(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("concurrency_limit", sa.Integer()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("last_polled", Timestamp()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("work_pool_id", Identifier(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("work_pool_id", "name", name="uq_work_queue__work_pool_id_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "worker",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("work_pool_id", Identifier(), nullable=False),
        sa.Column("last_heartbeat_time", Timestamp(), nullable=False),
        sa.Column("heartbeat_interval_seconds", sa.Integer()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("work_pool_id", "name", name="uq_worker__work_pool_id_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deployment",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("flow_id", Identifier(), nullable=False),
        sa.Column("version", PlainText()),
        sa.Column("description", PlainText()),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("job_variables", Json(), nullable=False),
        sa.Column("parameters", Json(), nullable=False),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("work_queue_id", Identifier()),
        sa.Column("last_polled", Timestamp()),
        sa.Column("parameter_openapi_schema", Json()),
        sa.Column("enforce_parameter_schema", sa.Boolean(), nullable=False),
        sa.Column("path", PlainText()),
        sa.Column("pull_steps", Json()),
        sa.Column("entrypoint", PlainText()),
        sa.Column("manifest_path", PlainText()),
        sa.Column("storage_document_id", Identifier()),
        sa.Column("infrastructure_document_id", Identifier()),
        sa.Column("created_by", Json()),
        sa.Column("updated_by", Json()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("flow_id", "name", name="uq_deployment__flow_id_name"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_deployment__work_queue_id", "deployment", ["work_queue_id"])
    op.create_index("ix_deployment__updated", "deployment", ["updated"])
    op.create_table(
        "deployment_schedule",
        sa.Column("deployment_id", Identifier(), primary_key=True),
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("schedule", Json(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("max_active_runs", sa.Integer()),
        sa.Column("max_scheduled_runs", sa.Integer()),
        sa.Column("catchup", sa.Boolean(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("deployment_schedule", "deployment", "worker", "work_queue", "work_pool"):
        op.drop_table(table)
